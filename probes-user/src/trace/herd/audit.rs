//! Our count of a worker's switches and time on a CPU beside the kernel's own account of it.
//!
//! Both reach from before the scene's first action to the moment of the account's mark, at which the worker was
//! off its CPU. Switches must be equal. Times cannot be: the kernel's clock for a task stops and starts at the
//! beginning of `__schedule`, `sched_switch` comes at its end, and interrupts and stolen time are taken off the
//! account where the kernel is built to know them.

use super::tasks::Task;
use crate::lab::account::{Account, Times};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audit {
    pub pid: u32,
    pub voluntary: u64,
    pub involuntary: u64,
    pub on_cpu_ns: u64,
    /// From the scene's begin on.
    pub kernel: Account,
}

impl Audit {
    pub fn new(pid: u32, task: &Task, kernel: Account) -> Audit {
        Audit {
            pid,
            voluntary: task.voluntary,
            involuntary: task.involuntary,
            on_cpu_ns: task.on_cpu_ns,
            kernel,
        }
    }

    pub fn alike(&self) -> bool {
        (self.voluntary, self.involuntary) == (self.kernel.voluntary, self.kernel.involuntary)
    }

    pub fn times(&self) -> Option<Times> {
        self.kernel.times
    }
}
