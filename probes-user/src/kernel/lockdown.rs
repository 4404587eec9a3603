//! Kernel lockdown: with Secure Boot many distributions restrict even root.

use std::io::Read;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use serde::{Deserialize, Serialize};

/// Levels of security/lockdown/lockdown.c (5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lockdown {
    None,
    /// Forbids changing the kernel: no limit for reading programs.
    Integrity,
    /// Forbids reading it too: LOCKDOWN_BPF_READ_KERNEL and LOCKDOWN_KPROBES refuse our programs.
    Confidentiality,
}

impl Lockdown {
    /// None if this kernel has no lockdown or does not show it to us.
    pub(super) fn running() -> Option<Self> {
        let mounted = std::fs::read_to_string("/sys/kernel/security/lockdown").ok();
        Self::parse(&mounted.or_else(from_own_mount)?)
    }

    /// The level in brackets: `none [integrity] confidentiality`.
    fn parse(text: &str) -> Option<Self> {
        let (_, after) = text.split_once('[')?;
        match after.split_once(']')?.0 {
            "none" => Some(Self::None),
            "integrity" => Some(Self::Integrity),
            "confidentiality" => Some(Self::Confidentiality),
            _ => None,
        }
    }
}

/// Where nobody mounted securityfs, as in a bare guest: a mount that is attached nowhere and ends with its
/// file descriptor (fsmount, 5.2).
fn from_own_mount() -> Option<String> {
    let context = fsopen("securityfs", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
    fsconfig_create(&context).ok()?;
    let mount = fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )
    .ok()?;
    let file = openat(
        &mount,
        "lockdown",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let mut text = String::new();
    std::fs::File::from(file).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::Lockdown;

    #[test]
    fn the_bracketed_level_counts() {
        assert_eq!(
            Lockdown::parse("[none] integrity confidentiality\n"),
            Some(Lockdown::None)
        );
        assert_eq!(
            Lockdown::parse("none [integrity] confidentiality\n"),
            Some(Lockdown::Integrity)
        );
        assert_eq!(
            Lockdown::parse("none integrity [confidentiality]\n"),
            Some(Lockdown::Confidentiality)
        );
        for garbage in ["", "none", "[", "[else]", "]["] {
            assert_eq!(Lockdown::parse(garbage), None);
        }
    }
}
