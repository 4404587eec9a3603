//! Processes as /proc shows them, and guards that end what a test has started.

use std::collections::BTreeSet;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proc {
    pub pid: u32,
    pub ppid: u32,
    pub comm: String,
    pub zombie: bool,
}

pub fn read(pid: u32) -> Option<Proc> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, brackets too.
    let (head, tail) = stat.rsplit_once(") ")?;
    let comm = head.split_once(" (")?.1.to_owned();
    let mut fields = tail.split(' ');
    let zombie = matches!(fields.next()?, "Z" | "X");
    Some(Proc {
        pid,
        ppid: fields.next()?.parse().ok()?,
        comm,
        zombie,
    })
}

pub fn all() -> Vec<Proc> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// Children, their children and so on.
pub fn descendants(of: u32) -> Vec<Proc> {
    let all = all();
    let mut family = BTreeSet::from([of]);
    loop {
        let before = family.len();
        family.extend(
            all.iter()
                .filter(|proc| family.contains(&proc.ppid))
                .map(|proc| proc.pid)
                .collect::<Vec<_>>(),
        );
        if family.len() == before {
            break;
        }
    }
    all.into_iter()
        .filter(|proc| proc.pid != of && family.contains(&proc.pid))
        .collect()
}

pub fn children(of: u32) -> Vec<Proc> {
    all()
        .into_iter()
        .filter(|proc| proc.ppid == of && !proc.zombie)
        .collect()
}

/// Says whether the process was there to be signalled.
pub fn signal(pid: u32, signal: Signal) -> bool {
    Pid::from_raw(pid.cast_signed()).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// A process of ours; ended with its descendants when dropped.
#[derive(Debug)]
pub struct Guard {
    child: Child,
    name: &'static str,
}

impl Guard {
    pub fn new(name: &'static str, child: Child) -> Guard {
        Guard { child, name }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// # Panics
    /// When it has ended: servers and noise must not.
    pub fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("the state of a child");
        assert!(
            ended.is_none(),
            "{} has ended by itself: {ended:?}",
            self.name
        );
    }

    pub fn await_end(&mut self, budget: Duration) -> Option<ExitStatus> {
        wait::within(budget, || {
            self.child.try_wait().expect("the state of a child")
        })
    }

    pub fn stop(&mut self) {
        let family = descendants(self.child.id());
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        for proc in &family {
            signal(proc.pid, Signal::KILL);
        }
        // The next server wants their port: a process that ends keeps its sockets until it is a zombie.
        let ended = |pid: u32| read(pid).is_none_or(|proc| proc.zombie);
        let _gone = wait::within(wait::BUDGET, || {
            family.iter().all(|proc| ended(proc.pid)).then_some(())
        });
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How often a process has given up the CPU by itself: a sign of life.
pub fn switches(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}
