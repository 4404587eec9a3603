//! A command that is forked now and executed when the probes are attached (`-- CMD`): no event of it is
//! missed and none precedes it.
//!
//! The child blocks on a pipe until released, then execs. A close-on-exec pipe brings back why exec
//! failed; its end without a message means success. If the tool ends, so does the command.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitStatus};

use super::child::Child;
use super::sandbox::enter;

/// A forked command: parked, then running, then ended. Dropping it kills and reaps it.
pub struct TracedCommand {
    child: Child,
    name: String,
    release: Option<File>,
    exec_error: File,
}

impl TracedCommand {
    /// Forks and parks; nothing of the command runs yet. It will run in this network namespace, or in ours.
    ///
    /// # Errors
    /// An empty command, a NUL byte in it, no descriptors or processes left.
    pub fn park(command: &[OsString], netns: Option<BorrowedFd<'_>>) -> Result<TracedCommand> {
        let name = command
            .first()
            .context("no command given")?
            .to_string_lossy()
            .into_owned();
        let arguments: Vec<CString> = command
            .iter()
            .map(|argument| CString::new(argument.clone().into_vec()))
            .collect::<Result<_, _>>()
            .context("the command holds a NUL byte")?;
        // execvp wants an array of pointers that ends with null; made here, because the child must not allocate.
        let mut pointers: Vec<*const libc::c_char> =
            arguments.iter().map(|argument| argument.as_ptr()).collect();
        pointers.push(std::ptr::null());
        let (parked, release) = pipe_with(PipeFlags::CLOEXEC).context("could not make a pipe")?;
        let (exec_error, failed) =
            pipe_with(PipeFlags::CLOEXEC).context("could not make a pipe")?;
        let body = || match netns.map(enter) {
            Some(Err(errno)) => fail(failed.as_fd(), errno.raw_os_error()),
            _ => exec_when_released(parked.as_fd(), release.as_fd(), failed.as_fd(), &pointers),
        };
        // SAFETY: the body makes system calls only; execvp of glibc and musl does not allocate.
        let child =
            unsafe { Child::fork(body) }.with_context(|| format!("could not fork for {name}"))?;
        Ok(TracedCommand {
            child,
            name,
            release: Some(release.into()),
            exec_error: exec_error.into(),
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Lets the child exec and returns when it has.
    ///
    /// # Errors
    /// No such file, no permission, or the child was killed while parked.
    pub fn release(&mut self) -> Result<()> {
        let name = &self.name;
        let Some(mut release) = self.release.take() else {
            bail!("{name} has been released before")
        };
        release
            .write_all(&[1])
            .with_context(|| format!("could not release {name}"))?;
        let mut errno = Vec::new();
        self.exec_error
            .read_to_end(&mut errno)
            .with_context(|| format!("could not hear from {name}"))?;
        match <[u8; 4]>::try_from(errno.as_slice()) {
            Ok(bytes) => bail!(
                "could not run {name}: {}",
                Errno::from_raw_os_error(i32::from_ne_bytes(bytes))
            ),
            Err(_) => Ok(()),
        }
    }

    /// Does not block: Some = it has ended. The status is None when somebody else took it.
    pub fn try_wait(&mut self) -> Option<Option<WaitStatus>> {
        self.child.wait(Duration::ZERO)
    }

    /// Asks it to end, and kills it when it has not done so within `grace`.
    pub fn end(mut self, grace: Duration) {
        self.child.signal(Signal::TERM);
        let _ = self.child.wait(grace);
    }
}

/// The child's part. Returns only if there is nothing to run.
fn exec_when_released(
    parked: BorrowedFd<'_>,
    release: BorrowedFd<'_>,
    failed: BorrowedFd<'_>,
    arguments: &[*const libc::c_char],
) -> i32 {
    // Own copy of the write end: with it open, the parent's end would not be seen.
    // SAFETY: the parent's object for this descriptor is never dropped in this process.
    unsafe { rustix::io::close(std::os::fd::AsRawFd::as_raw_fd(&release)) };
    let mut byte = [0];
    while let Err(Errno::INTR) = rustix::io::read(parked, &mut byte) {}
    if byte != [1] {
        return 0;
    }
    // SAFETY: the array ends with null, its strings with NUL; both outlive the call.
    unsafe { libc::execvp(arguments[0], arguments.as_ptr()) };
    let errno = std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO);
    fail(failed, errno)
}

fn fail(failed: BorrowedFd<'_>, errno: i32) -> i32 {
    let _ = rustix::io::write(failed, &errno.to_ne_bytes());
    127
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> TracedCommand {
        TracedCommand::park(&words.iter().map(OsString::from).collect::<Vec<_>>(), None).unwrap()
    }

    fn status(mut command: TracedCommand) -> WaitStatus {
        command
            .child
            .wait(Duration::from_secs(20))
            .unwrap()
            .unwrap()
    }

    #[test]
    fn nothing_runs_before_release() {
        let mut parked = command(&["sh", "-c", "exit 3"]);
        assert!(parked.try_wait().is_none());
        let comm = || std::fs::read_to_string(format!("/proc/{}/comm", parked.pid())).unwrap();
        assert_ne!(comm(), "sh\n");
        parked.release().unwrap();
        assert_eq!(status(parked).exit_status(), Some(3));
    }

    #[test]
    fn missing_program_is_named() {
        let mut parked = command(&["/no/such/program"]);
        let error = parked.release().unwrap_err().to_string();
        assert!(
            error.contains("/no/such/program") && error.contains("No such file"),
            "{error}"
        );
    }

    #[test]
    fn command_that_is_never_released_ends_with_its_owner() {
        let parked = command(&["sleep", "1000"]);
        let pid = rustix::process::Pid::from_raw(parked.pid().cast_signed()).unwrap();
        drop(parked);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }

    #[test]
    fn end_asks_first_and_then_kills() {
        let mut stubborn = command(&["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]);
        stubborn.release().unwrap();
        let pid = rustix::process::Pid::from_raw(stubborn.pid().cast_signed()).unwrap();
        stubborn.end(Duration::from_millis(200));
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}
