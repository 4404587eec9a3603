//! A control group (version 2) of the lab's own, for programs that the kernel runs for a group's sockets.
//!
//! A socket belongs to the group of the task that makes it, so a tiny child moves in, makes the sockets and
//! hands them over; then the group is empty again. It is removed when dropped; what a killed run left is
//! removed by the next one. The hierarchy is never mounted here: that would set its host-wide flags anew.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use procfs::process::Process;
use rustix::fs::{Mode, OFlags, open, openat};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socket_with,
    socketpair,
};

use super::child::Child;
use super::shared::await_fact;

/// How long the child may take to make the sockets.
const BUDGET: Duration = Duration::from_secs(20);
/// Sockets in one message.
const AT_ONCE: usize = 4;
const PREFIX: &str = "probes-";

/// A group of ours in some hierarchy, of whichever version; removed when dropped.
pub(super) struct Group {
    pub path: PathBuf,
    pub directory: OwnedFd,
}

impl Group {
    pub fn below(root: &Path) -> Result<Group> {
        sweep(root);
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let since = started(pid).context("could not read when this process began")?;
        let path = root.join(format!("{PREFIX}{pid}-{since}-{number}"));
        fs::create_dir(&path).with_context(|| format!("could not make {}", path.display()))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(&path, flags, Mode::empty());
        match directory {
            Ok(directory) => Ok(Group { path, directory }),
            Err(errno) => {
                let _ = fs::remove_dir(&path);
                bail!("could not open {}: {errno}", path.display())
            }
        }
    }

    /// The file that takes members, open for writing: "0" is whoever writes.
    pub fn members(&self) -> Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        openat(&self.directory, "cgroup.procs", flags, Mode::empty())
            .context("could not open cgroup.procs")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last member's end may still be under way in the kernel.
        await_fact(Duration::from_secs(2), || {
            fs::remove_dir(&self.path).is_ok() || !self.path.exists()
        });
    }
}

pub struct Cgroup(Group);

impl Cgroup {
    /// # Errors
    /// No hierarchy of version 2 is mounted, or it takes no group.
    pub fn new() -> Result<Cgroup> {
        let root = hierarchy()
            .ok_or_else(|| anyhow!("no control group hierarchy of version 2 is mounted"))?;
        Ok(Cgroup(Group::below(&root)?))
    }

    pub fn directory(&self) -> BorrowedFd<'_> {
        self.0.directory.as_fd()
    }

    /// TCP sockets that belong to this group, in the calling thread's network namespace.
    ///
    /// # Errors
    /// The child cannot move into the group, or a socket cannot be made.
    pub fn sockets(&self, families: &[AddressFamily]) -> Result<Vec<OwnedFd>> {
        assert!(families.len() <= AT_ONCE);
        let members = self.0.members()?;
        let (ours, childs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // SAFETY: system calls on descriptors made before, memory on the stack.
        let mut child = unsafe { Child::fork(|| supply(&members, &childs, families)) }
            .context("could not fork the maker of sockets")?;
        drop(childs);
        let status = child
            .wait(BUDGET)
            .ok_or_else(|| anyhow!("the maker of sockets hangs"))?;
        let code = status.and_then(|status| status.exit_status()).unwrap_or(-1);
        if code != 0 {
            let error = io::Error::from_raw_os_error(code);
            bail!(
                "could not make sockets in {}: {error}",
                self.0.path.display()
            );
        }
        receive(&ours, families.len())
    }
}

/// Where the version 2 hierarchy is mounted.
pub(super) fn hierarchy() -> Option<PathBuf> {
    let mounts = Process::myself().ok()?.mountinfo().ok()?;
    let mut unified = mounts.into_iter().filter(|m| m.fs_type == "cgroup2");
    unified.next().map(|mount| mount.mount_point)
}

/// When a process began, in clock ticks since boot: with its pid a name that is never used twice.
fn started(pid: u32) -> Option<u64> {
    let process = Process::new(pid.cast_signed()).ok()?;
    Some(process.stat().ok()?.starttime)
}

/// Removes the groups of runs that are no more. A group with members is never removed by the kernel.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(orphaned) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// `probes-PID-BEGIN-NUMBER` of a process that has ended.
fn orphaned(name: &str) -> bool {
    let parts: Option<Vec<u64>> = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split('-').map(|part| part.parse().ok()).collect());
    match parts.as_deref() {
        Some([pid, since, _]) => u32::try_from(*pid).is_ok_and(|pid| started(pid) != Some(*since)),
        _ => false,
    }
}

/// In the child: moves in, makes the sockets, hands them over. Allocates nothing.
fn supply(members: &OwnedFd, to: &OwnedFd, families: &[AddressFamily]) -> i32 {
    match try_supply(members, to, families) {
        Ok(()) => 0,
        Err(errno) => errno.raw_os_error(),
    }
}

fn try_supply(
    members: &OwnedFd,
    to: &OwnedFd,
    families: &[AddressFamily],
) -> rustix::io::Result<()> {
    rustix::io::write(members, b"0")?;
    let mut made: [Option<OwnedFd>; AT_ONCE] = [const { None }; AT_ONCE];
    for (slot, family) in made.iter_mut().zip(families) {
        *slot = Some(socket_with(
            *family,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?);
    }
    let mut fds = [to.as_fd(); AT_ONCE];
    for (slot, socket) in fds.iter_mut().zip(made.iter().flatten()) {
        *slot = socket.as_fd();
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    rights.push(SendAncillaryMessage::ScmRights(&fds[..families.len()]));
    sendmsg(to, &[IoSlice::new(b"!")], &mut rights, SendFlags::empty())?;
    Ok(())
}

fn receive(from: &OwnedFd, count: usize) -> Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut rights, flags)
        .context("the maker of sockets sent none")?;
    let mut sockets = Vec::new();
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            sockets.extend(fds);
        }
    }
    if sockets.len() != count {
        bail!("the maker of sockets sent {} of {count}", sockets.len());
    }
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_hands_out_sockets_and_is_gone_afterwards() {
        if hierarchy().is_none() {
            // Nothing to make it in: that must be said, not panicked about.
            assert!(Cgroup::new().is_err());
            return;
        }
        let cgroup = Cgroup::new().expect("needs root");
        let path = cgroup.0.path.clone();
        let families = [AddressFamily::INET, AddressFamily::INET6];
        assert_eq!(cgroup.sockets(&families).unwrap().len(), 2);
        let members = fs::read_to_string(path.join("cgroup.procs")).unwrap();
        assert_eq!(members, "", "the maker has left");
        drop(cgroup);
        assert!(!path.exists());
    }

    #[test]
    fn groups_of_the_dead_are_removed_and_others_are_not() {
        let pid = std::process::id();
        let own = started(pid).unwrap();
        assert!(!orphaned(&format!("{PREFIX}{pid}-{own}-0")));
        assert!(
            orphaned(&format!("{PREFIX}{pid}-{}-0", own + 1)),
            "a reused pid"
        );
        assert!(orphaned(&format!("{PREFIX}4194305-1-0")), "no such pid");
        for foreign in [
            "system.slice",
            "probes-",
            "probes-1",
            "probes-1-2",
            "probes-a-b-c",
        ] {
            assert!(!orphaned(foreign), "{foreign}");
        }
    }

    #[test]
    fn what_a_killed_run_left_is_removed_by_the_next() {
        let Some(root) = hierarchy() else { return };
        let left = root.join(format!("{PREFIX}4194305-1-{}", std::process::id()));
        fs::create_dir(&left).expect("needs root");
        drop(Cgroup::new().unwrap());
        assert!(!left.exists());
    }
}
