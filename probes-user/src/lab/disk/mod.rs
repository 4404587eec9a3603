//! A disk of the lab's own: a loop device over an unlinked file, raw or with a file system by the real mkfs,
//! mounted where only the thread that made it (and what that thread starts) can see it.
//!
//! The device clears itself at its last close, the mount goes with the namespace and the namespace with the
//! thread: kill -9 leaves nothing. The backing file is preallocated, best in memory, so that nothing of the
//! lab waits for the machine's own disks and no page of it is charged to a group that the lab limits.

mod backing;
mod loopdev;
mod mkfs;
mod mounting;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fs;
use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::shared::await_fact;
use loopdev::LoopDevice;
pub use mkfs::lacks;

/// How long the kernel may take to let go of a device that nobody holds any more.
const LETTING_GO: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fs {
    Raw,
    Ext4,
    Xfs,
}

impl Fs {
    pub const ALL: [Fs; 3] = [Fs::Ext4, Fs::Xfs, Fs::Raw];

    pub fn name(self) -> &'static str {
        match self {
            Fs::Raw => "raw",
            Fs::Ext4 => "ext4",
            Fs::Xfs => "xfs",
        }
    }
}

/// This machine or this kernel cannot make such a disk at all: why, and what would help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack(pub String);

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Lack {}

const READ_AHEAD: &str = "read_ahead_kb";
/// VM_READAHEAD_PAGES (include/linux/mm.h).
const READ_AHEAD_KIB: u64 = 128;

/// Not `Send`: its mount is in the namespace of the thread that made it.
pub struct Disk {
    fs: Fs,
    mountpoint: Option<PathBuf>,
    device: LoopDevice,
    mounted: Cell<bool>,
    nomerges: u64,
    /// In KiB, before the lab set it to the kernel's own default.
    read_ahead: u64,
    /// After the device: it waits until the kernel has let go.
    _gone: AwaitGone,
    _thread: PhantomData<*const ()>,
}

/// khugepaged brings in pages of whatever file a process has mapped, read-ahead and all (collapse_file,
/// mm/khugepaged.c; seen of plain files on 7.2): behind the lab's back, and the lab counts who brings in what.
/// Programs that the lab starts inherit it.
fn keep_khugepaged_off() -> Result<()> {
    // SAFETY: takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error()).context("prctl(PR_SET_THP_DISABLE)");
    }
    Ok(())
}

impl Disk {
    /// Moves the calling thread into a mount namespace of its own, if it has a file system to mount.
    ///
    /// # Errors
    /// No permission, no loop driver, no room, no mkfs, or this kernel lacks the file system; each said so.
    pub fn new(size: u64, fs: Fs) -> Result<Disk> {
        if let Some(lack) = lacks(fs) {
            return Err(Lack(lack).into());
        }
        keep_khugepaged_off()?;
        let device = LoopDevice::new(backing::file(size)?)?;
        let gone = AwaitGone::new(device.number());
        // Up to some 6.x the loop driver forbids merging on its own queue; a disk does not.
        let nomerges = device.queue("nomerges").unwrap_or(0);
        if nomerges != 0 {
            device.set_queue("nomerges", 0)?;
        }
        // A loop device keeps what it had with another file before.
        let read_ahead = device.queue(READ_AHEAD).unwrap_or(READ_AHEAD_KIB);
        if read_ahead != READ_AHEAD_KIB {
            device.set_queue(READ_AHEAD, READ_AHEAD_KIB)?;
        }
        mkfs::make(fs, device.path(), size)?;
        let mut disk = Disk {
            fs,
            mountpoint: None,
            device,
            mounted: Cell::new(false),
            nomerges,
            read_ahead,
            _gone: gone,
            _thread: PhantomData,
        };
        if fs != Fs::Raw {
            let folder = mounting::folder(disk.device.number())?;
            disk.mountpoint = Some(folder);
            disk.mount()?;
        }
        Ok(disk)
    }

    pub fn fs(&self) -> Fs {
        self.fs
    }

    /// `/dev/loopN`
    pub fn device(&self) -> &Path {
        self.device.path()
    }

    /// The opened device, for reads and writes of it raw.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.device.fd()
    }

    /// Major and minor number.
    pub fn numbers(&self) -> (u32, u32) {
        self.device.numbers()
    }

    /// As the kernel's own `dev_t`: 12 bits major, 20 bits minor.
    pub fn dev(&self) -> u32 {
        let (major, minor) = self.numbers();
        (major << 20) | minor
    }

    /// As `stat` gives it for files on it.
    pub fn stat_dev(&self) -> u64 {
        let (major, minor) = self.numbers();
        rustix::fs::makedev(major, minor)
    }

    /// None for a raw one.
    pub fn mountpoint(&self) -> Option<&Path> {
        self.mountpoint.as_deref()
    }

    /// A file of this name on it; of a raw one the device itself.
    pub fn file(&self, name: &str) -> PathBuf {
        match &self.mountpoint {
            Some(folder) => folder.join(name),
            None => self.device().to_owned(),
        }
    }

    /// /sys/block/loopN/stat: finished reads, merged, sectors, ms; the same of writes; and so on.
    ///
    /// # Errors
    /// No sysfs.
    pub fn stat(&self) -> Result<Vec<u64>> {
        let text = self.device.queue_file("../stat")?;
        let words = text.split_whitespace();
        words
            .map(|word| word.parse().with_context(|| format!("in stat: {word}")))
            .collect()
    }

    /// A number of /sys/block/loopN/queue.
    ///
    /// # Errors
    /// This kernel has no such file, or no number in it.
    pub fn queue(&self, name: &str) -> Result<u64> {
        self.device.queue(name)
    }

    /// What queue/nomerges was before the lab allowed merging: 0 = allowed, 2 = forbidden.
    pub fn nomerges(&self) -> u64 {
        self.nomerges
    }

    /// Makes everything cold, inodes too: written back and unmounted, mounted anew; a raw one forgets its
    /// pages. Close all files first.
    ///
    /// # Errors
    /// A file is open, or the mount fails.
    pub fn chill(&self) -> Result<()> {
        if self.mountpoint.is_some() {
            self.unmount()?;
            self.device.flush()?;
            return self.mount();
        }
        rustix::fs::fsync(self.device.fd()).context("could not write the device back")?;
        self.device.flush()
    }

    /// Tears the backing away (LOOP_CLR_FD). A device in use goes only at its last close.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn detach(&self) -> Result<()> {
        self.device.clear()
    }

    fn mount(&self) -> Result<()> {
        if let Some(folder) = &self.mountpoint {
            mounting::mount(self.device.path(), folder, self.fs.name())?;
            self.mounted.set(true);
        }
        Ok(())
    }

    fn unmount(&self) -> Result<()> {
        if let Some(folder) = &self.mountpoint
            && self.mounted.replace(false)
        {
            mounting::unmount(folder)?;
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The settings outlive the disk: of all that a kill leaves they are the one thing, on a free device.
        if self.nomerges != 0 {
            let _ = self.device.set_queue("nomerges", self.nomerges);
        }
        if self.read_ahead != READ_AHEAD_KIB {
            let _ = self.device.set_queue(READ_AHEAD, self.read_ahead);
        }
        if self.unmount().is_err()
            && let Some(folder) = &self.mountpoint
        {
            mounting::abandon(folder);
        }
    }
}

/// The device of this number, and what sysfs calls its backing file: until it is that no more.
struct AwaitGone(String, String);

impl AwaitGone {
    fn new(number: u32) -> AwaitGone {
        let path = format!("/sys/block/loop{number}/loop/backing_file");
        let text = fs::read_to_string(&path).unwrap_or_default();
        AwaitGone(path, text)
    }
}

impl Drop for AwaitGone {
    fn drop(&mut self) {
        await_fact(LETTING_GO, || {
            !fs::read_to_string(&self.0).is_ok_and(|text| text == self.1)
        });
    }
}
