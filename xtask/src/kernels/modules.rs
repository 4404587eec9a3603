//! Which of a kernel's modules go into a guest: the wanted ones and what they depend on, read from
//! the modules themselves (Debian's packages carry no modules.dep). Missing ones are built in.

use crate::job::Module;
use anyhow::{Context as _, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Loaded at boot: the ports that we talk over, and what the lab's sandboxes are made of.
const EAGER: &[&str] = &[
    "virtio_pci",
    "virtio_console",
    "veth",
    "dummy",
    "loop",
    "tun",
];

/// Loaded when the kernel or a test asks for them by name or alias.
const ON_DEMAND: &[&str] = &[
    "act_bpf",
    "act_gact",
    "act_mirred",
    "brd",
    "btrfs",
    "bridge",
    "cls_bpf",
    "cls_matchall",
    "cls_u32",
    "dm_delay",
    "dm_flakey",
    "dm_mod",
    "fuse",
    "inet_diag",
    "ipvlan",
    "macvlan",
    "nf_conntrack",
    "nf_nat",
    "nf_tables",
    "nft_chain_nat",
    "nft_compat",
    "nft_ct",
    "nft_limit",
    "nft_masq",
    "nft_nat",
    "nft_reject_inet",
    "nft_counter",
    "null_blk",
    "overlay",
    "sch_cake",
    "sch_fq",
    "sch_fq_codel",
    "sch_htb",
    "sch_ingress",
    "sch_netem",
    "sch_prio",
    "sch_tbf",
    "scsi_debug",
    "tcp_bbr",
    "tcp_diag",
    "tcp_dctcp",
    "tls",
    "udp_diag",
    "unix_diag",
    "virtio_blk",
    "xfs",
];

/// A module and its bytes, ready for a guest.
#[derive(Debug)]
pub struct Packed {
    pub module: Module,
    pub bytes: Vec<u8>,
}

/// Changes when another choice of modules would be packed.
#[must_use]
pub fn choice() -> String {
    format!("v1 {EAGER:?} {ON_DEMAND:?}")
}

/// The wanted modules in an order in which they can be loaded.
pub fn pack(dir: &Path) -> Result<Vec<Packed>> {
    let mut files = BTreeMap::new();
    index(&dir.join("kernel"), &mut files)?;
    let mut packer = Packer {
        files,
        seen: BTreeSet::new(),
        out: Vec::new(),
    };
    for name in EAGER {
        packer.add(name, true)?;
    }
    for name in ON_DEMAND {
        packer.add(name, false)?;
    }
    Ok(packer.out)
}

struct Packer {
    files: BTreeMap<String, PathBuf>,
    seen: BTreeSet<String>,
    out: Vec<Packed>,
}

impl Packer {
    /// Depth first, so that what a module needs stands before it.
    fn add(&mut self, name: &str, eager: bool) -> Result<()> {
        let Some(path) = self.files.get(name).cloned() else {
            return Ok(());
        };
        if !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let bytes = read(&path)?;
        let (depends, aliases) = modinfo(&bytes);
        for needed in &depends {
            self.add(needed, eager)?;
        }
        self.out.push(Packed {
            module: Module {
                name: name.to_owned(),
                file: format!("{name}.ko"),
                depends,
                aliases,
                eager,
            },
            bytes,
        });
        Ok(())
    }
}

/// Every module under a folder by its name as the kernel spells it.
fn index(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(dir)
        .with_context(|| format!("could not read the modules folder {}", dir.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            index(&entry.path(), files)?;
        } else if let Some((name, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
            files.insert(name.replace('-', "_"), entry.path());
        }
    }
    Ok(())
}

/// A module's bytes, unpacked here so that the guest needs no decompressor.
fn read(path: &Path) -> Result<Vec<u8>> {
    let tool = match path.extension().and_then(|ext| ext.to_str()) {
        Some("ko") => {
            return std::fs::read(path)
                .with_context(|| format!("could not read {}", path.display()));
        }
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => bail!("could not unpack {}: unknown compression", path.display()),
    };
    let out = Command::new(tool)
        .arg("-dc")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start {tool}; try installing it"))?;
    if !out.status.success() {
        bail!("could not unpack {} with {tool}", path.display());
    }
    Ok(out.stdout)
}

/// `depends=` and `alias=` of a module's information section, found as the strings they are.
fn modinfo(bytes: &[u8]) -> (Vec<String>, Vec<String>) {
    let mut depends = Vec::new();
    let mut aliases = Vec::new();
    for text in bytes.split(|byte| *byte == 0) {
        if let Some(list) = text.strip_prefix(b"depends=") {
            let list = String::from_utf8_lossy(list).replace('-', "_");
            depends.extend(
                list.split(',')
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned),
            );
        } else if let Some(alias) = text.strip_prefix(b"alias=")
            && let Ok(alias) = std::str::from_utf8(alias)
        {
            aliases.push(alias.to_owned());
        }
    }
    (depends, aliases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_and_aliases_are_read_from_the_module() {
        let bytes =
            b"\x7fELF\0license=GPL\0alias=rtnl-link-veth\0depends=virtio,virtio-ring\0name=x\0";
        let (depends, aliases) = modinfo(bytes);
        assert_eq!(depends, ["virtio", "virtio_ring"]);
        assert_eq!(aliases, ["rtnl-link-veth"]);
    }

    #[test]
    fn what_a_module_needs_stands_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("kernel/drivers");
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(
            home.join("virtio_pci.ko"),
            b"\0depends=virtio_ring,virtio\0",
        )
        .unwrap();
        std::fs::write(home.join("virtio_ring.ko"), b"\0depends=virtio\0").unwrap();
        std::fs::write(home.join("virtio.ko"), b"\0depends=\0").unwrap();
        std::fs::write(home.join("dm-delay.ko"), b"\0depends=dm-mod\0").unwrap();
        let packed = pack(dir.path()).unwrap();
        let names: Vec<_> = packed
            .iter()
            .map(|p| (&*p.module.name, p.module.eager))
            .collect();
        assert_eq!(
            names,
            [
                ("virtio", true),
                ("virtio_ring", true),
                ("virtio_pci", true),
                ("dm_delay", false)
            ]
        );
    }
}
