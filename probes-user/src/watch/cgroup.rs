//! Members of a control group: the processes in it and in the groups below it.
//!
//! A v1 hierarchy and the unified one look the same here: directories with a `cgroup.procs` each. In a
//! threaded group of v2 that file cannot be read; its processes stand in the domain group above it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The directory meant by `path`: itself, or below one of the mounts (as /proc/PID/cgroup writes it).
pub fn resolve(path: &Path, mounts: &[PathBuf]) -> Option<PathBuf> {
    let below = path.strip_prefix("/").unwrap_or(path);
    let itself = path.is_absolute().then(|| path.to_owned());
    let candidates = itself
        .into_iter()
        .chain(mounts.iter().map(|mount| mount.join(below)));
    candidates
        .into_iter()
        .find(|directory| directory.join("cgroup.procs").is_file())
}

/// Thread groups in the group and all groups below. A group that vanishes meanwhile has no members.
pub fn members(directory: &Path) -> BTreeSet<u32> {
    let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let mut found: BTreeSet<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.append(&mut members(&entry.path()));
        }
    }
    // 0 stands for a process that this pid namespace does not see.
    found.remove(&0);
    found
}

/// Where the group of the unified hierarchy with this id lies; its id is the inode number of its folder.
pub fn path_of(id: u64) -> Option<String> {
    let root = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .iter()
        .map(Path::new)
        .find(|path| path.join("cgroup.controllers").is_file())?;
    below(root, id).map(|path| {
        let below = path.strip_prefix(root).unwrap_or(&path);
        format!("/{}", below.display())
    })
}

fn below(folder: &Path, id: u64) -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    if std::fs::metadata(folder).is_ok_and(|meta| meta.ino() == id) {
        return Some(folder.to_owned());
    }
    let entries = std::fs::read_dir(folder).ok()?;
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .find_map(|entry| below(&entry.path(), id))
}
