//! What the script says: who the tasks were, what each stamped around its own calls, what the kernel counted.

use serde::{Deserialize, Serialize};

use crate::lab::account::Account;
use crate::trace::scripted::CaseLog;

/// Ends what is measured; its data is a [`Told`].
pub const TOLD: &str = "told";
/// This machine has too few CPUs for the case.
pub const ONE_CPU: &str = "one-cpu";

/// One turn of a task, by its own clock (CLOCK_MONOTONIC ns; 0 = did not come to it).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// It had what it waited for.
    pub got: u64,
    /// Just before the call that wakes the next task, or that sleeps until a time.
    pub before: u64,
    /// Just after it.
    pub after: u64,
    /// Until when it kept its CPU after that, or the time that it asked to sleep until.
    pub until: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskTold {
    pub name: String,
    pub pid: u32,
    pub turns: Vec<Turn>,
    /// Asleep both times: (moment, what the kernel had counted of it by then).
    pub from: (u64, Account),
    pub to: (u64, Account),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// In the order of the chain.
    pub tasks: Vec<TaskTold>,
    pub turns: usize,
    /// SCHED_FIFO, SCHED_BATCH, SCHED_OTHER
    pub policy: String,
}

pub fn told(log: &CaseLog) -> Option<Told> {
    let mark = log.named(TOLD).next()?;
    serde_json::from_value(mark.data.clone()).ok()
}
