//! Real programs for the guests, out of the host's installed Debian packages: the files of a
//! package and of all it depends on, without what only people read.

use super::tree::Tree;
use crate::sh;
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Never needed to run a program; their own dependencies would pull in half a system.
const LEFT_OUT: &[&str] = &[
    "adduser",
    "apt",
    "base-files",
    "base-passwd",
    "ca-certificates",
    "cdebconf",
    "coreutils",
    "dash",
    "debconf",
    "debconf-2.0",
    "debianutils",
    "dpkg",
    "fontconfig-config",
    "gcc-12-base",
    "init-system-helpers",
    "iproute2",
    "libc-bin",
    "login",
    "lsb-base",
    "mailcap",
    "media-types",
    "mount",
    "passwd",
    "perl",
    "perl-base",
    "readline-common",
    "sensible-utils",
    "sysvinit-utils",
    "tar",
    "tzdata",
    "ucf",
    "util-linux",
];

/// Folders that only people read.
const UNREAD: &[&str] = &[
    "/usr/share/doc",
    "/usr/share/man",
    "/usr/share/locale",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/fonts",
    "/usr/share/icons",
    "/usr/share/bug",
    "/usr/share/applications",
    "/usr/share/pixmaps",
    "/usr/share/bash-completion",
    "/usr/lib/python3.11/test",
    "/usr/lib/x86_64-linux-gnu/perl",
    "/usr/lib/systemd",
    "/lib/systemd",
    "/var",
];

/// What one installed package says of itself.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Installed {
    version: String,
    depends: Vec<Vec<String>>,
}

/// All installed packages, with what they stand in for.
#[derive(Debug, Default)]
pub struct Database {
    packages: BTreeMap<String, Installed>,
    provides: BTreeMap<String, String>,
}

impl Database {
    pub fn read() -> Result<Self> {
        let format = "${Package}\t${Version}\t${Pre-Depends}, ${Depends}\t${Provides}\t${db:Status-Abbrev}\n";
        let text = sh::output(Command::new("dpkg-query").args(["-W", "-f", format]))
            .context("could not read the installed packages; try `cargo xtask vm --bare`")?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut database = Self::default();
        for line in text.lines() {
            let mut fields = line.split('\t');
            let mut next = || fields.next().unwrap_or_default();
            let (name, version, depends, provides, status) =
                (next(), next(), next(), next(), next());
            if !status.starts_with("ii") {
                continue;
            }
            for other in alternatives(provides).into_iter().flatten() {
                database.provides.entry(other).or_insert(name.to_owned());
            }
            let installed = Installed {
                version: version.to_owned(),
                depends: alternatives(depends),
            };
            database.packages.insert(name.to_owned(), installed);
        }
        database
    }

    /// The installed ones of these packages and all they depend on, by name and version.
    #[must_use]
    pub fn closure(&self, wanted: &[String]) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut todo: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let mut seen = BTreeSet::new();
        while let Some(name) = todo.pop() {
            let left_out = LEFT_OUT.contains(&name) && !wanted.iter().any(|w| w == name);
            if left_out || !seen.insert(name) {
                continue;
            }
            let Some(package) = self.packages.get(name) else {
                if let Some(provider) = self.provides.get(name) {
                    todo.push(provider);
                }
                continue;
            };
            found.insert(name.to_owned(), package.version.clone());
            for choice in &package.depends {
                let one = choice.iter().find(|name| self.has(name));
                todo.extend(one.map(String::as_str));
            }
        }
        found
    }

    fn has(&self, name: &str) -> bool {
        self.packages.contains_key(name) || self.provides.contains_key(name)
    }
}

/// `a (>= 1) | b, c:any` as lists of names to choose from.
fn alternatives(field: &str) -> Vec<Vec<String>> {
    let name = |word: &str| {
        let word = word.split_whitespace().next()?;
        Some(word.split(':').next()?.to_owned())
    };
    field
        .split(',')
        .map(|choice| choice.split('|').filter_map(name).collect::<Vec<_>>())
        .filter(|choice| !choice.is_empty())
        .collect()
}

/// Adds the files of these packages as dpkg lists them, and Python's compiled forms of them.
pub fn add_files<'a>(tree: &mut Tree, packages: impl Iterator<Item = &'a String>) -> Result<()> {
    let list = sh::output(Command::new("dpkg-query").arg("-L").args(packages))?;
    for line in list.lines().filter(|line| wanted(line)) {
        let path = Path::new(line);
        tree.host(path)?;
        add_compiled(tree, path)?;
    }
    Ok(())
}

fn wanted(path: &str) -> bool {
    path.starts_with('/')
        && path != "/."
        && !UNREAD.iter().any(|dir| {
            path.strip_prefix(dir)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
}

/// An emulated guest takes seconds to compile what the host has compiled already.
fn add_compiled(tree: &mut Tree, path: &Path) -> Result<()> {
    if path.extension().is_none_or(|ext| ext != "py") {
        return Ok(());
    }
    let Some((dir, stem)) = path.parent().zip(path.file_stem()) else {
        return Ok(());
    };
    let prefix = format!("{}.cpython-", stem.to_string_lossy());
    for entry in std::fs::read_dir(dir.join("__pycache__"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&prefix) && !name.contains(".opt-") {
            tree.host(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Database {
        Database::parse(
            "nginx-light\t1.22\tlibc6 (>= 2.34), nginx | nginx-other, debconf\t\tii \n\
             nginx\t1.22\tlibssl3:any, virtual-thing\t\tii \n\
             libc6\t2.36\t\t\tii \n\
             libssl3\t3.0\tlibc6\t\tii \n\
             real-thing\t1\t\tvirtual-thing (= 1)\tii \n\
             removed\t1\t\t\trc \n\
             debconf\t1\tperl-base\t\tii \n",
        )
    }

    #[test]
    fn a_closure_follows_alternatives_and_virtual_packages() {
        let names: Vec<_> = database()
            .closure(&["nginx-light".into()])
            .into_keys()
            .collect();
        assert_eq!(
            names,
            ["libc6", "libssl3", "nginx", "nginx-light", "real-thing"]
        );
    }

    #[test]
    fn removed_and_unknown_packages_are_not_taken() {
        let found = database().closure(&["removed".into(), "never-heard-of".into()]);
        assert!(found.is_empty());
    }

    #[test]
    fn documents_are_left_out() {
        assert!(!wanted("/usr/share/doc/nginx/copyright"));
        assert!(!wanted("/."));
        assert!(wanted("/usr/share/docker-thing"));
        assert!(wanted("/usr/sbin/nginx"));
    }
}
