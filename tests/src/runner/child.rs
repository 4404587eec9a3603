//! One test in a forked child: its panic, its hang, its namespaces and its output stay its own.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, kill_process_group, pidfd_open, waitpid,
};
use rustix::time::Timespec;

use super::expected::Raw;
use crate::context::{Ctx, Outcome, Test};

const PASSED: i32 = 0;
const SKIPPED: i32 = 77;
const PANICKED: i32 = 101;

/// How a test's child ended.
#[derive(Debug)]
pub struct Ended {
    pub raw: Raw,
    /// Standard output and standard error as they came.
    pub output: String,
}

pub fn run(test: &Test, ctx: &Ctx) -> Ended {
    let (output, reason) = (memory_file(), memory_file());
    let _flushed = std::io::stdout().flush();
    // SAFETY: the runner has no other threads, so the child may go on as any process.
    let child = unsafe { libc::fork() };
    if child == 0 {
        live(test, ctx, &output, &reason);
    }
    let Some(pid) = Pid::from_raw(child) else {
        let why = format!("could not fork: {}", std::io::Error::last_os_error());
        return Ended {
            raw: Raw::Failed(why),
            output: String::new(),
        };
    };
    let in_time = await_end(pid, test.budget);
    // A group that is gone already is what is wanted.
    let _gone = kill_process_group(pid, Signal::KILL);
    let status = waitpid(Some(pid), WaitOptions::empty());
    let reason = text(reason);
    let raw = match status
        .ok()
        .flatten()
        .map(|(_, status)| (status.exit_status(), status.terminating_signal()))
    {
        _ if !in_time => Raw::Failed(format!("it took longer than {} s", test.budget.as_secs())),
        Some((Some(PASSED), _)) => Raw::Passed,
        Some((Some(SKIPPED), _)) => Raw::Skipped(reason),
        Some((Some(PANICKED), _)) => Raw::Failed(reason),
        Some((Some(code), _)) => {
            Raw::Failed(format!("its process ended by itself with code {code}"))
        }
        Some((_, signal)) => Raw::Failed(format!(
            "its process was killed by signal {}",
            signal.unwrap_or(0)
        )),
        None => Raw::Failed("its process could not be waited for".to_owned()),
    };
    Ended {
        raw,
        output: text(output),
    }
}

/// The child's whole life.
fn live(test: &Test, ctx: &Ctx, output: &File, reason: &File) -> ! {
    // Its own group, so that what it starts can be ended with it.
    let _own_group = rustix::process::setsid();
    let _dies_too = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let null = File::open("/dev/null").ok();
    for (from, to) in [(null.as_ref(), 0), (Some(output), 1), (Some(output), 2)] {
        if let Some(from) = from {
            // SAFETY: plain descriptor numbers; the standard streams are replaced on purpose.
            unsafe { libc::dup2(from.as_raw_fd(), to) };
        }
    }
    // The reason and its place; what was done before stands in the output.
    std::panic::set_hook(Box::new(|panic| {
        if let Some(place) = panic.location() {
            eprintln!("panicked at {place}");
        }
    }));
    let (code, why) = match catch_unwind(AssertUnwindSafe(|| (test.run)(ctx))) {
        Ok(Outcome::Pass) => (PASSED, String::new()),
        Ok(Outcome::Skip(why)) => (SKIPPED, why),
        Err(panic) => (PANICKED, message(panic.as_ref())),
    };
    let _flushed = std::io::stdout().flush();
    let mut reason = reason;
    let _told = reason.write_all(why.as_bytes());
    // SAFETY: ends this process without running the runner's own clean-up in it.
    unsafe { libc::_exit(code) }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it panicked")
        .to_owned()
}

fn await_end(pid: Pid, budget: Duration) -> bool {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return false;
    };
    let end = Instant::now() + budget;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let limit = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(
            &mut [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)],
            Some(&limit),
        ) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(_) => {}
        }
    }
}

fn memory_file() -> File {
    let file: OwnedFd =
        memfd_create("probes-tests", MemfdFlags::CLOEXEC).expect("a file in memory");
    File::from(file)
}

fn text(mut file: File) -> String {
    let mut bytes = Vec::new();
    let _read = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}
