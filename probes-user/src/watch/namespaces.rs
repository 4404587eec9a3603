//! Network namespaces that processes live in, as descriptors that a thread can enter.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::procfs;

/// By inode number, each once. A process may end meanwhile: its namespace is then nobody's or another's too.
pub fn of(processes: impl IntoIterator<Item = u32>) -> BTreeMap<u32, OwnedFd> {
    let mut found = BTreeMap::new();
    for pid in processes {
        if let Some(inum) = procfs::netns(pid)
            && !found.contains_key(&inum)
            && let Some(fd) = open(Path::new(&format!("/proc/{pid}/ns/net")), inum)
        {
            found.insert(inum, fd);
        }
    }
    found
}

/// One by its inode number: of some process, or named by ip-netns(8).
pub fn find(inum: u32) -> Option<OwnedFd> {
    let of_process = procfs::pids().into_iter().find_map(|pid| {
        let here = procfs::netns(pid) == Some(inum);
        here.then(|| open(Path::new(&format!("/proc/{pid}/ns/net")), inum))?
    });
    of_process.or_else(|| {
        let named = std::fs::read_dir("/run/netns")
            .into_iter()
            .flatten()
            .flatten();
        named
            .into_iter()
            .find_map(|entry| open(&entry.path(), inum))
    })
}

/// The number is that of what was opened, not of what stood there a moment before.
fn open(path: &Path, inum: u32) -> Option<OwnedFd> {
    let file = File::open(path).ok()?;
    let inode = rustix::fs::fstat(&file).ok()?.st_ino;
    (inode == u64::from(inum)).then(|| file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_namespace_is_found_by_pid_and_by_number() {
        let own = of([std::process::id()]);
        assert_eq!(own.len(), 1);
        let inum = *own.keys().next().unwrap();
        assert!(find(inum).is_some() && find(1).is_none());
    }
}
