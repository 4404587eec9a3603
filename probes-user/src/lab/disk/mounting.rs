//! Mounts that only one thread sees, and whatever it starts.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount as mount_on, mount_change,
    unmount as unmount_from,
};
use rustix::thread::UnshareFlags;

use super::{LETTING_GO, Lack};
use crate::lab::shared::await_fact;

/// Empty almost everywhere; in our namespace a small tmpfs hides what is there.
const PLACES: [&str; 4] = ["/mnt", "/media", "/srv", "/opt"];

thread_local! {
    static PLACE: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// A new folder to mount on, in this thread's own namespace.
pub fn folder(number: u32) -> Result<PathBuf> {
    let place = match PLACE.get() {
        Some(place) => place,
        None => hide()?,
    };
    let folder = Path::new(place).join(format!("disk{number}"));
    fs::create_dir_all(&folder).with_context(|| format!("could not make {}", folder.display()))?;
    Ok(folder)
}

fn hide() -> Result<&'static str> {
    let place = PLACES.into_iter().find(|place| Path::new(place).is_dir());
    let place =
        place.ok_or_else(|| anyhow!("none of {} is there to mount on", PLACES.join(", ")))?;
    // SAFETY: unsharing mounts and working folder leaves memory and descriptor tables as they are.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.map_err(|errno| {
        anyhow!("could not make a mount namespace: {errno}; try as root (CAP_SYS_ADMIN)")
    })?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).context("could not make the mounts private")?;
    let data = c"size=64k,mode=0755";
    mount_on("tmpfs", place, "tmpfs", MountFlags::empty(), Some(data))
        .with_context(|| format!("could not mount on {place}"))?;
    PLACE.set(Some(place));
    Ok(place)
}

pub fn mount(device: &Path, folder: &Path, kind: &str) -> Result<()> {
    let flags = MountFlags::NOATIME | MountFlags::NODEV | MountFlags::NOSUID;
    mount_on(device, folder, kind, flags, None).map_err(|errno| match errno {
        Errno::NODEV => Lack(format!("this kernel has no {kind}; try: modprobe {kind}")).into(),
        _ => anyhow!("could not mount {} as {kind}: {errno}", device.display()),
    })
}

/// A file that was just closed may be let go of a little later (fput() leaves that to task work or a worker).
pub fn unmount(folder: &Path) -> Result<()> {
    let mut outcome = Ok(());
    await_fact(LETTING_GO, || {
        outcome = unmount_from(folder, UnmountFlags::empty());
        outcome != Err(Errno::BUSY)
    });
    outcome.with_context(|| format!("could not unmount {}", folder.display()))
}

/// Something is still open on it: it goes with that.
pub fn abandon(folder: &Path) {
    let _ = unmount_from(folder, UnmountFlags::DETACH);
}
