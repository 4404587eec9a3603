//! A control group whose memory is limited, the page cache of its members included: where reclaim must work.
//!
//! Version 1 or 2, whichever has the memory controller; nothing is mounted or switched on for it. A page is
//! charged to whoever brought it in first, so start with cold files. Members are processes: threads of one
//! process cannot be in different groups of version 2.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use procfs::process::Process;
use rustix::io::Errno;

use super::cgroup::{self, Group};

pub struct MemoryGroup {
    group: Group,
    members: OwnedFd,
    version: u8,
}

/// Where groups with a memory limit are made.
struct Place {
    root: PathBuf,
    version: u8,
}

impl MemoryGroup {
    /// # Errors
    /// No memory controller that may be used, or no permission.
    pub fn new(bytes: u64) -> Result<MemoryGroup> {
        let place = place()?;
        let group = Group::below(&place.root)?;
        let members = group.members()?;
        let limited = MemoryGroup {
            group,
            members,
            version: place.version,
        };
        let limit = match place.version {
            1 => "memory.limit_in_bytes",
            _ => "memory.max",
        };
        limited.write(limit, bytes)?;
        // What is swapped out would not count; where there is no swap accounting there is no such file.
        if place.version != 1 && limited.path("memory.swap.max").exists() {
            limited.write("memory.swap.max", 0)?;
        }
        Ok(limited)
    }

    pub fn version(&self) -> u8 {
        self.version
    }

    /// The group's folder.
    pub fn folder(&self) -> &Path {
        &self.group.path
    }

    /// Inode number of the folder: of version 2 what `bpf_get_current_cgroup_id` gives.
    pub fn id(&self) -> Result<u64> {
        use std::os::unix::fs::MetadataExt;
        Ok(fs::metadata(&self.group.path)?.ino())
    }

    /// For [`join`], also after a fork.
    pub fn members(&self) -> BorrowedFd<'_> {
        self.members.as_fd()
    }

    /// A line of memory.stat (`pgfault`, version 2's `file`, version 1's `cache`).
    ///
    /// # Errors
    /// No such line.
    pub fn stat(&self, name: &str) -> Result<u64> {
        let text = fs::read_to_string(self.path("memory.stat")).context("no memory.stat")?;
        let line = text.lines().find_map(|line| {
            let (key, value) = line.split_once(' ')?;
            (key == name).then(|| value.trim().parse().ok()).flatten()
        });
        line.with_context(|| format!("no {name} in memory.stat"))
    }

    /// Bytes charged now.
    ///
    /// # Errors
    /// The group is gone.
    pub fn usage(&self) -> Result<u64> {
        let name = match self.version {
            1 => "memory.usage_in_bytes",
            _ => "memory.current",
        };
        let text = fs::read_to_string(self.path(name)).with_context(|| format!("no {name}"))?;
        text.trim()
            .parse()
            .with_context(|| format!("{name}: {text}"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.group.path.join(name)
    }

    fn write(&self, name: &str, value: u64) -> Result<()> {
        fs::write(self.path(name), value.to_string())
            .with_context(|| format!("could not set {name} to {value}"))
    }
}

/// Moves the calling process into the group. For forked children: allocates nothing.
///
/// # Errors
/// The kernel's.
pub fn join(members: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::io::write(members, b"0").map(drop)
}

fn place() -> Result<Place> {
    let has = |file: &Path| {
        let words = fs::read_to_string(file).unwrap_or_default();
        words.split_whitespace().any(|word| word == "memory")
    };
    if let Some(root) = cgroup::hierarchy() {
        if has(&root.join("cgroup.subtree_control")) {
            return Ok(Place { root, version: 2 });
        }
        if has(&root.join("cgroup.controllers")) {
            return Err(anyhow!(
                "memory is not switched on for groups; try: echo +memory > {}",
                root.join("cgroup.subtree_control").display()
            ));
        }
    }
    version_1()
        .map(|root| Place { root, version: 1 })
        .ok_or_else(|| anyhow!("no control group hierarchy with the memory controller is mounted"))
}

fn version_1() -> Option<PathBuf> {
    let mounts = Process::myself().ok()?.mountinfo().ok()?;
    let mut memory = mounts
        .into_iter()
        .filter(|mount| mount.fs_type == "cgroup" && mount.super_options.contains_key("memory"));
    memory.next().map(|mount| mount.mount_point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::child::Child;
    use crate::lab::disk::{Disk, Fs};
    use std::time::Duration;

    #[test]
    fn a_member_is_charged_for_what_it_brings_in_and_the_limit_holds() {
        const LIMIT: u64 = 8 << 20;
        let group = MemoryGroup::new(LIMIT).expect("needs root and the memory controller");
        let path = group.folder().to_owned();
        let disk = Disk::new(LIMIT * 4, Fs::Raw).expect("needs root");
        let file = disk.fd();
        let page = vec![1u8; 4096];
        // SAFETY: system calls on memory and descriptors made before.
        let mut child = unsafe {
            Child::fork(|| {
                let joined = join(group.members());
                let pages = (0..LIMIT * 2).step_by(4096);
                let written =
                    pages.map(|at| rustix::io::pwrite(file, &page, at).is_ok_and(|n| n == 4096));
                i32::from(joined.is_err() || !written.into_iter().all(|whole| whole))
            })
        }
        .unwrap();
        let status = child.wait(Duration::from_secs(60)).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
        let usage = group.usage().unwrap();
        assert!(usage > 0 && usage <= LIMIT, "{usage}");
        assert!(group.stat("pgfault").is_ok());
        drop(group);
        assert!(!path.exists());
    }
}
