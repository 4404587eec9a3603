//! The one job: started with its output on the console port, waited for together with all orphans,
//! ended when its time is over - with the stacks of what was stuck in the kernel's log.

use crate::{builtin, ports};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions, kill_process_group, setrlimit};
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use xtask::job::{
    BUILTIN_SHELL, BUILTIN_SLEEP, CONSOLE_PORT, Control, Job, RESULTS_ENV, RESULTS_PORT,
};

/// What `timeout` says for a command that it ended.
const TIMED_OUT: u8 = 124;
const NOT_FOUND: u8 = 127;

pub fn run(job: &Job, control: &ports::ControlPort) -> u8 {
    let first = job.argv.first().map_or("", String::as_str);
    if let Some(code) = builtin::run(first) {
        return code;
    }
    raise_limits();
    let child = match start(job, first) {
        Ok(child) => child,
        Err(error) => {
            let message = format!("could not start {first} in the guest: {error}");
            control.say(&Control::Warning { message });
            return NOT_FOUND;
        }
    };
    wait(&child, job, first, control)
}

fn start(job: &Job, first: &str) -> std::io::Result<Child> {
    let shell = first == BUILTIN_SHELL;
    let mut command = if shell {
        builtin::shell()?
    } else {
        let mut command = Command::new(if first == BUILTIN_SLEEP {
            "/init"
        } else {
            first
        });
        let out = File::options()
            .write(true)
            .open(ports::path(CONSOLE_PORT))?;
        command
            .args(job.argv.iter().skip(usize::from(first != BUILTIN_SLEEP)))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            // A group of its own, to be ended as a whole.
            .process_group(0);
        command
    };
    command
        .env("HOME", "/root")
        .env("TERM", "linux")
        .env("RUST_BACKTRACE", "1")
        .env(RESULTS_ENV, ports::path(RESULTS_PORT))
        .envs(&job.env)
        .current_dir("/root")
        .spawn()
}

/// The job's end or its deadline, whichever is first.
fn wait(child: &Child, job: &Job, first: &str, control: &ports::ControlPort) -> u8 {
    let id = child.id();
    let (send, ended) = channel();
    std::thread::spawn(move || {
        let _ = send.send(reap_until(id));
    });
    if first == BUILTIN_SHELL {
        return ended.recv().unwrap_or(TIMED_OUT);
    }
    match ended.recv_timeout(Duration::from_secs(job.timeout_s)) {
        Ok(code) => code,
        Err(RecvTimeoutError::Disconnected) => TIMED_OUT,
        Err(RecvTimeoutError::Timeout) => {
            // Blocked tasks and what every processor does: the log shows where it was stuck.
            builtin::sysrq('w');
            builtin::sysrq('l');
            control.say(&Control::Timeout {
                seconds: job.timeout_s,
            });
            if let Some(group) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            TIMED_OUT
        }
    }
}

/// Takes in every orphan until the job itself ends.
fn reap_until(id: u32) -> u8 {
    loop {
        let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::empty()) else {
            return TIMED_OUT;
        };
        if u32::try_from(pid.as_raw_nonzero().get()).is_ok_and(|pid| pid == id) {
            let code = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => code,
                (None, signal) => 128 + signal.unwrap_or(0),
            };
            return u8::try_from(code).unwrap_or(u8::MAX);
        }
    }
}

fn raise_limits() {
    let many = Rlimit {
        current: Some(1 << 20),
        maximum: Some(1 << 20),
    };
    let endless = Rlimit {
        current: None,
        maximum: None,
    };
    let _ = setrlimit(Resource::Nofile, many);
    let _ = setrlimit(Resource::Memlock, endless);
    let _ = setrlimit(Resource::Core, endless);
}
