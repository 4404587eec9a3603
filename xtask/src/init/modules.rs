//! Loading modules: the eager ones at boot in the order of the list, any other when somebody asks
//! for it by name or by one of its aliases.

use rustix::system::{finit_module, init_module};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File};
use std::path::Path;
use xtask::job::{MODULES_DIR, MODULES_PATH, Module};

fn list() -> Vec<Module> {
    let text = fs::read(MODULES_PATH).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

pub fn load_eager() -> Vec<String> {
    let eager = list().into_iter().filter(|module| module.eager);
    eager.filter_map(|module| load(&module, "").err()).collect()
}

/// `modprobe [-q] [--] NAME [PARAM=VALUE...]`: zero when it is loaded or built in.
pub fn modprobe(args: impl Iterator<Item = String>) -> i32 {
    let mut words = args.filter(|word| !word.starts_with('-'));
    let Some(name) = words.next() else {
        eprintln!("modprobe: which module?");
        return 2;
    };
    let params = words.collect::<Vec<_>>().join(" ");
    let list = list();
    let plain = name.replace('-', "_");
    let found = |module: &&Module| {
        module.name == plain || module.aliases.iter().any(|alias| matches(alias, &name))
    };
    let wanted: Vec<&Module> = list.iter().filter(found).collect();
    if wanted.is_empty() {
        let built_in = Path::new("/sys/module").join(plain).is_dir();
        return i32::from(!built_in);
    }
    let mut failed = 0;
    for module in wanted {
        if let Err(error) = load_with_depends(&list, module, &params, &mut BTreeSet::new()) {
            eprintln!("modprobe: {error}");
            failed = 1;
        }
    }
    failed
}

fn load_with_depends<'a>(
    list: &'a [Module],
    module: &'a Module,
    params: &str,
    seen: &mut BTreeSet<&'a str>,
) -> Result<(), String> {
    for name in &module.depends {
        let needed = list.iter().find(|other| other.name == *name);
        if let Some(needed) = needed.filter(|needed| seen.insert(&needed.name)) {
            load_with_depends(list, needed, "", seen)?;
        }
    }
    load(module, params)
}

fn load(module: &Module, params: &str) -> Result<(), String> {
    let fail = |error: &dyn std::fmt::Display| format!("could not load {}: {error}", module.name);
    let path = Path::new(MODULES_DIR).join(&module.file);
    let params = CString::new(params).map_err(|error| fail(&error))?;
    let file = File::open(&path).map_err(|error| fail(&error))?;
    let done = match finit_module(&file, &params, 0) {
        // Some configurations refuse a file that is not on a trusted file system.
        Err(rustix::io::Errno::PERM) => {
            let image = fs::read(&path).map_err(|error| fail(&error))?;
            init_module(&image, &params)
        }
        other => other,
    };
    match done {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(fail(&error)),
    }
}

/// Aliases are shell patterns; only `*` occurs in those that people ask for.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern.replace('-', "_") == name.replace('-', "_");
    };
    let Some(mut left) = name.strip_prefix(head) else {
        return false;
    };
    if rest.is_empty() {
        return true;
    }
    loop {
        if matches(rest, left) {
            return true;
        }
        let mut chars = left.chars();
        if chars.next().is_none() {
            return false;
        }
        left = chars.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn an_alias_is_matched_as_a_pattern() {
        assert!(matches("rtnl-link-veth", "rtnl-link-veth"));
        assert!(matches("fs-*", "fs-xfs"));
        assert!(matches("virtio:d*v*", "virtio:d00000003v00001AF4"));
        assert!(!matches("fs-xfs", "fs-xfs2"));
        assert!(!matches("virtio:d*v", "virtio:d3x"));
    }
}
