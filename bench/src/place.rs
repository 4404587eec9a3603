//! Where the benchmark runs: a mount namespace of its own with tracefs in it, which some of the other tools
//! need and not every machine has mounted; the first CPU; a session of its own. Nothing of it outlives us.

use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;

use crate::load::cpu;

const TRACEFS: &str = "/sys/kernel/tracing";

pub fn make_own() -> Result<()> {
    // SAFETY: there is one thread yet; its root and working folder stay what they are.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
        .context("could not make a mount namespace; try as root")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).context("could not keep the mounts to ourselves")?;
    if !Path::new(TRACEFS).join("events").is_dir() {
        mount("none", TRACEFS, "tracefs", MountFlags::empty(), None)
            .context("could not mount tracefs")?;
    }
    cpu::own_session_first();
    cpu::pin(0).context("could not stay on the first CPU")
}
