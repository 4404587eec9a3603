//! The scheduler as the programs count it: a row of times per CPU, and one per task, group or name if asked for.

use crate::block::BUCKETS;

/// What rows are kept by, beside the CPU.
pub mod by {
    pub const CPU: u32 = 0;
    pub const PID: u32 = 1;
    pub const TGID: u32 = 2;
    pub const COMM: u32 = 3;
    pub const CGROUP: u32 = 4;
}

/// Who is counted.
pub mod whom {
    pub const NOBODY: u32 = 0;
    pub const WATCHED: u32 = 1;
    pub const EVERYBODY: u32 = 2;
}

/// Why a task waited for a CPU.
pub mod cause {
    pub const MIGRATION: u32 = 0;
    pub const IDLE_EXIT: u32 = 1;
    /// Somebody else had its CPU.
    pub const BUSY: u32 = 2;
    /// It had been preempted.
    pub const PREEMPTED: u32 = 3;
    pub const ALL: usize = 4;
}

#[derive(Clone, Copy, Default)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct RunqControl {
    pub whom: u32,
    pub by: u32,
    /// A delay at least so long is told by itself.
    pub slower_ns: u64,
}

/// The number, or the two halves of the name, that [`by`] asks for.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct RunqKey {
    pub key: [u64; 2],
}

/// Prealloc, shared by all CPUs: a row is about 1.4 KiB.
pub const RUNQ_ROWS: u32 = 2048;

#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct RunqRow {
    /// Runnable and not running.
    pub delay_ns: u64,
    pub delay_max: u64,
    pub on_cpu_ns: u64,
    pub on_cpu_max: u64,
    /// Asleep: from leaving the CPU to being queued again.
    pub asleep_ns: u64,
    pub asleep_max: u64,
    pub cause_count: [u64; cause::ALL],
    pub cause_ns: [u64; cause::ALL],
    /// Of who was first counted here.
    pub comm: [u8; 16],
    pub delay: [u32; BUCKETS],
    pub on_cpu: [u32; BUCKETS],
    pub asleep: [u32; BUCKETS],
}

impl RunqRow {
    pub const EMPTY: RunqRow = RunqRow {
        delay_ns: 0,
        delay_max: 0,
        on_cpu_ns: 0,
        on_cpu_max: 0,
        asleep_ns: 0,
        asleep_max: 0,
        cause_count: [0; cause::ALL],
        cause_ns: [0; cause::ALL],
        comm: [0; 16],
        delay: [0; BUCKETS],
        on_cpu: [0; BUCKETS],
        asleep: [0; BUCKETS],
    };
}

/// A task that waited for a CPU longer than asked for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct RunDelay {
    pub delay_ns: u64,
    pub pid: u32,
    pub tgid: u32,
    /// Who had the CPU until then; 0 = idle.
    pub prev: u32,
    /// [`cause`]
    pub cause: u32,
    pub comm: [u8; 16],
    pub prev_comm: [u8; 16],
}

const _: () = {
    assert!(size_of::<RunqControl>() == 16);
    assert!(size_of::<RunqRow>() == 128 + 12 * BUCKETS);
    assert!(size_of::<RunDelay>() == 56);
};
