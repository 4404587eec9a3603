//! Processes that a test leaves behind become the runner's children: named, then ended.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use crate::harness::procs::{self, Proc};

pub fn adopt_orphans() {
    let adopt = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    assert!(adopt.is_ok(), "the kernel refuses a subreaper: {adopt:?}");
}

/// Gives those that are already dying `grace`, then kills the rest. Returns who had to be killed.
pub fn end(grace: Duration) -> Vec<String> {
    let deadline = Instant::now() + grace;
    let mut killed = Vec::new();
    loop {
        reap();
        let left = procs::descendants(std::process::id());
        if left.is_empty() {
            return killed;
        }
        if Instant::now() >= deadline {
            for Proc { pid, comm, .. } in left.iter().filter(|proc| !proc.zombie) {
                let name = format!("{comm} ({pid})");
                if !killed.contains(&name) {
                    killed.push(name);
                }
                if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
                    let _gone = kill_process(pid, Signal::KILL);
                }
            }
        }
        crate::harness::wait::tick();
    }
}

fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}
