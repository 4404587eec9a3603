//! What the kernel itself has counted of a task: the independent witness of switches and time on a CPU.
//!
//! From /proc/PID/status and /proc/PID/schedstat, which no probe has a part in. A count is only worth comparing
//! when it is known up to which moment it reaches, so a task is read twice around a fence: /proc/PID/syscall
//! answers with numbers only once the task has left its CPU for good (`wait_task_inactive`, kernel/sched). Two
//! equal readings around it say that nothing was counted between them, and that all that was had been traced.

use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::shared::{await_fact, now};

/// Since the task was born.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub voluntary: u64,
    pub involuntary: u64,
    /// None = this kernel keeps no such account (CONFIG_SCHED_INFO, or it is switched off).
    pub times: Option<Times>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    pub on_cpu_ns: u64,
    /// Runnable and not running.
    pub run_delay_ns: u64,
    /// How often it was given a CPU.
    pub runs: u64,
}

/// Of a task that sleeps, or will within the budget; with the moment up to which it reaches.
pub fn settled(pid: u32, budget: Duration) -> Option<(u64, Account)> {
    let mut found = None;
    await_fact(budget, || {
        let before = read(pid);
        if before.is_none() {
            return true;
        }
        if !off_cpu(pid) {
            return false;
        }
        let at = now();
        if read(pid) != before {
            return false;
        }
        found = before.map(|account| (at, account));
        true
    });
    found
}

/// False also when the kernel has no such file: then nothing is compared.
fn off_cpu(pid: u32) -> bool {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall"));
    call.is_ok_and(|text| text.starts_with(|first: char| first.is_ascii_digit() || first == '-'))
}

fn read(pid: u32) -> Option<Account> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let schedstat = fs::read_to_string(format!("/proc/{pid}/schedstat"));
    parse(&status, schedstat.as_deref().unwrap_or_default())
}

fn parse(status: &str, schedstat: &str) -> Option<Account> {
    let count = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|value| value.trim().parse().ok())
    };
    let mut fields = schedstat.split_whitespace().map(str::parse);
    let mut field = || fields.next().and_then(Result::ok);
    let times = match (field(), field(), field()) {
        // A task that never ran is not asked for: zeros mean that nothing is kept.
        (Some(on_cpu_ns), Some(run_delay_ns), Some(runs)) if runs > 0 => Some(Times {
            on_cpu_ns,
            run_delay_ns,
            runs,
        }),
        _ => None,
    };
    Some(Account {
        voluntary: count("voluntary_ctxt_switches:")?,
        involuntary: count("nonvoluntary_ctxt_switches:")?,
        times,
    })
}

impl Account {
    /// What was counted since `before`.
    #[must_use]
    pub fn since(&self, before: &Account) -> Account {
        let times = self.times.zip(before.times).map(|(now, before)| Times {
            on_cpu_ns: now.on_cpu_ns.saturating_sub(before.on_cpu_ns),
            run_delay_ns: now.run_delay_ns.saturating_sub(before.run_delay_ns),
            runs: now.runs.saturating_sub(before.runs),
        });
        Account {
            voluntary: self.voluntary.saturating_sub(before.voluntary),
            involuntary: self.involuntary.saturating_sub(before.involuntary),
            times,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str =
        "Name:\tvoluntary_ctxt\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t545\n";

    #[test]
    fn both_files_are_read() {
        let account = parse(STATUS, "48321 1170 9\n").unwrap();
        assert_eq!((account.voluntary, account.involuntary), (150, 545));
        let times = account.times.unwrap();
        assert_eq!(
            (times.on_cpu_ns, times.run_delay_ns, times.runs),
            (48321, 1170, 9)
        );
    }

    #[test]
    fn an_account_that_is_not_kept_is_not_taken_for_zero() {
        assert_eq!(parse(STATUS, "0 0 0\n").unwrap().times, None);
        assert_eq!(parse(STATUS, "").unwrap().times, None);
        assert_eq!(parse("Name:\tx\n", "1 1 1\n"), None);
    }

    #[test]
    fn a_sleeping_child_has_an_account_and_one_that_is_gone_has_none() {
        let shared = crate::lab::shared::Shared::new(4096).unwrap();
        let gate = &shared.cells::<std::sync::atomic::AtomicU32>(0, 1)[0];
        let body = || crate::lab::shared::park(gate, 0).cast_signed();
        // SAFETY: the body blocks on a futex.
        let child = unsafe { crate::lab::child::Child::fork(body) }.unwrap();
        let (_, account) = settled(child.pid(), Duration::from_secs(20)).expect("needs root");
        assert!(account.voluntary > 0);
        let pid = child.pid();
        drop(child);
        assert_eq!(settled(pid, Duration::from_secs(20)), None);
    }
}
