//! Children made by fork without exec, that cannot outlive the tool and leave nothing when it is killed.
//!
//! A child asks to be killed when the *thread* that forked it ends (PR_SET_PDEATHSIG), so that thread must
//! live as long as its children. The tool may have other threads: between fork and `_exit` a child does
//! only what is safe in a signal handler (no allocation, no locks, no stdio), and its panics end it before
//! they can unwind into the copy of the parent's stack.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process, pidfd_open,
    pidfd_send_signal, set_parent_process_death_signal, waitpid,
};
use rustix::time::Timespec;

/// Exit code of a child whose parent was gone before it began.
const ORPHAN: i32 = 113;
/// Exit code of a child that panicked.
const PANICKED: i32 = 101;

/// How long a killed child may take to be gone before the tool gives up waiting.
pub const REAP_BUDGET: Duration = Duration::from_secs(10);

/// Forks; the child runs `body` and ends with its result as exit code.
///
/// # Safety
/// `body` must do only what is safe in a signal handler: the process may have other threads, whose locks
/// (the allocator's among them) stay locked in the child.
///
/// # Errors
/// No memory, or too many processes.
pub unsafe fn fork(body: impl FnOnce() -> i32) -> io::Result<Pid> {
    let parent = getpid();
    let mask = block_signals();
    // SAFETY: the child runs only `begin` and `body`, by contract safe after fork.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let _guard = ExitOnUnwind;
        begin(parent);
        let code = body();
        // SAFETY: ends the process without running the parent's exit handlers or destructors.
        unsafe { libc::_exit(code) }
    }
    let error = io::Error::last_os_error();
    restore_signals(&mask);
    Pid::from_raw(pid)
        .filter(|pid| pid.as_raw_nonzero().get() > 0)
        .ok_or(error)
}

/// First steps of every child, with all signals blocked until the inherited handlers are gone.
fn begin(parent: Pid) {
    let tied = set_parent_process_death_signal(Some(Signal::KILL));
    // The parent may have ended before the request was made: then it will never be delivered.
    if tied.is_err() || getppid() != Some(parent) {
        // SAFETY: as in `fork`.
        unsafe { libc::_exit(ORPHAN) }
    }
    // SAFETY: plain data; all zero means SIG_DFL, no flags, an empty mask.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    for signal in 1..=64 {
        // SAFETY: sets a disposition of this process; EINVAL for KILL, STOP and libc's own is expected.
        unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) };
    }
    // SAFETY: as above; an all-zero sigset is the empty set.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    restore_signals(&none);
}

/// A child's name as ps shows it.
pub fn set_name(name: &std::ffi::CStr) {
    // A name is decoration: a failure changes nothing that is measured.
    let _ = rustix::thread::set_name(name);
}

/// Closes every descriptor but stdin, stdout and stderr.
pub fn close_inherited() {
    // SAFETY: the caller's child owns no descriptor object above 2 yet; the copies of the parent's
    // objects in this process are never dropped, because it ends by `_exit`.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
}

fn block_signals() -> libc::sigset_t {
    // SAFETY: both sets are plain data, written by the calls.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old);
        old
    }
}

fn restore_signals(mask: &libc::sigset_t) {
    // SAFETY: reads one set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, std::ptr::null_mut()) };
}

struct ExitOnUnwind;

impl Drop for ExitOnUnwind {
    fn drop(&mut self) {
        // SAFETY: as in `fork`.
        unsafe { libc::_exit(PANICKED) }
    }
}

/// Is the process behind this pidfd over (a zombie counts)?
pub fn ended(pidfd: impl AsFd) -> bool {
    ended_within(pidfd, Duration::ZERO)
}

/// Waits until the process behind this pidfd is over; says whether it is.
pub fn ended_within(pidfd: impl AsFd, limit: Duration) -> bool {
    let limit = Timespec {
        tv_sec: limit.as_secs().cast_signed(),
        tv_nsec: limit.subsec_nanos().into(),
    };
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&limit)), Ok(1))
}

/// A direct child of the tool. Dropping it kills and reaps it.
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    status: Option<WaitStatus>,
    reaped: bool,
}

impl Child {
    /// # Safety
    /// As for [`fork`].
    ///
    /// # Errors
    /// As for [`fork`]; also when no descriptor is left for the pidfd.
    pub unsafe fn fork(body: impl FnOnce() -> i32) -> io::Result<Child> {
        // SAFETY: the same contract.
        let pid = unsafe { fork(body) }?;
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Child {
                pid,
                pidfd,
                status: None,
                reaped: false,
            }),
            Err(errno) => {
                let _ = kill_process(pid, Signal::KILL);
                let _ = waitpid(Some(pid), WaitOptions::empty());
                Err(errno.into())
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub fn ended(&self) -> bool {
        self.reaped || ended(&self.pidfd)
    }

    /// Waits up to `limit` for the end; Some = it has ended and is reaped now. The status is None when
    /// somebody else took it (SIGCHLD ignored).
    pub fn wait(&mut self, limit: Duration) -> Option<Option<WaitStatus>> {
        if !self.reaped {
            if !ended_within(&self.pidfd, limit) {
                return None;
            }
            self.reaped = true;
            self.status = waitpid(Some(self.pid), WaitOptions::empty())
                .ok()
                .flatten()
                .map(|(_, status)| status);
        }
        Some(self.status)
    }

    /// Sends a signal; nothing happens if it has ended.
    pub fn signal(&self, signal: Signal) {
        if !self.reaped {
            let _ = pidfd_send_signal(&self.pidfd, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        // A child in uninterruptible sleep is left to init rather than waited for without end.
        let _ = self.wait(REAP_BUDGET);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::shared::{Shared, await_fact, park};
    use std::sync::atomic::{AtomicU32, Ordering};

    fn exists(pid: u32) -> bool {
        rustix::process::test_kill_process(Pid::from_raw(pid.cast_signed()).unwrap()).is_ok()
    }

    #[test]
    fn exit_code_comes_back() {
        // SAFETY: the body does nothing.
        let mut child = unsafe { Child::fork(|| 7) }.unwrap();
        let status = child.wait(Duration::from_secs(20)).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(7));
    }

    #[test]
    fn dropped_child_is_gone() {
        let shared = Shared::new(4096).unwrap();
        let gate = &shared.cells::<AtomicU32>(0, 1)[0];
        // SAFETY: the body blocks on a futex.
        let child = unsafe { Child::fork(|| park(gate, 0).cast_signed()) }.unwrap();
        let pid = child.pid();
        assert!(exists(pid));
        drop(child);
        assert!(!exists(pid));
    }

    #[test]
    fn child_ignores_no_signal_and_blocks_none() {
        // The test harness's runtime ignores SIGPIPE: the child must not.
        // SAFETY: raise is safe in a signal handler.
        let mut child = unsafe { Child::fork(|| libc::raise(libc::SIGPIPE)) }.unwrap();
        let status = child.wait(Duration::from_secs(20)).unwrap().unwrap();
        assert_eq!(status.terminating_signal(), Some(libc::SIGPIPE));
    }

    #[test]
    fn child_dies_with_the_thread_that_forked_it() {
        let shared = Shared::new(4096).unwrap();
        let cells: &[AtomicU32] = shared.cells(0, 2);
        let body = || {
            cells[1].store(1, Ordering::Release);
            park(&cells[0], 0).cast_signed()
        };
        let mut child = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // SAFETY: the body stores to shared memory and blocks on a futex.
                let child = unsafe { Child::fork(body) }.unwrap();
                // A thread that ends before the child has asked is not noticed (getppid names the process).
                assert!(await_fact(Duration::from_secs(20), || cells[1]
                    .load(Ordering::Acquire)
                    == 1));
                child
            });
            thread.join().unwrap()
        });
        let status = child.wait(Duration::from_secs(20)).unwrap().unwrap();
        assert_eq!(status.terminating_signal(), Some(libc::SIGKILL));
    }
}
