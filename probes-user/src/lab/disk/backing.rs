//! The file below a loop device: unlinked from its first moment on, all its blocks allocated.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, ftruncate, open, statvfs};
use rustix::io::Errno;

/// Folders to look in, those in memory first.
const FOLDERS: [&str; 4] = ["/dev/shm", "/run", "/var/tmp", "/tmp"];
/// What must stay free beside the file: half as much again.
const SPARE: u64 = 2;

/// # Errors
/// No folder has the room, or none takes a file without a name.
pub fn file(size: u64) -> Result<File> {
    if size == 0 || !size.is_multiple_of(4096) {
        bail!("a disk of {size} bytes: the size must be a multiple of 4096 and not 0");
    }
    let mut refused = Vec::new();
    for folder in FOLDERS {
        match try_in(Path::new(folder), size) {
            Ok(file) => return Ok(file),
            Err(why) => refused.push(format!("{folder}: {why}")),
        }
    }
    let room = size >> 20;
    Err(anyhow!(
        "no room for a disk of {room} MiB: {}; try a smaller --size",
        refused.join(", ")
    ))
}

fn try_in(folder: &Path, size: u64) -> Result<File, String> {
    let room = room(folder).map_err(|errno| errno.to_string())?;
    if room < size.saturating_add(size / SPARE) {
        return Err(format!("{} MiB free", room >> 20));
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let fd = open(folder, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| errno.to_string())?;
    ftruncate(&fd, size).map_err(|errno| errno.to_string())?;
    match fallocate(&fd, FallocateFlags::empty(), 0, size) {
        // Where the file system cannot preallocate, the file stays sparse.
        Ok(()) | Err(Errno::OPNOTSUPP) => Ok(File::from(fd)),
        Err(errno) => Err(errno.to_string()),
    }
}

/// What the file system gives, and of one in memory what the machine has.
fn room(folder: &Path) -> Result<u64, Errno> {
    let free = statvfs(folder)?;
    let free = free.f_bavail.saturating_mul(free.f_frsize);
    let device = std::fs::metadata(folder).map_or(0, |meta| meta.dev());
    // Device numbers of file systems without a device have major 0.
    if rustix::fs::major(device) != 0 {
        return Ok(free);
    }
    Ok(free.min(available().unwrap_or(free)))
}

fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}
