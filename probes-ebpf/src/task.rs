//! A task as the scheduler's hooks hand it over, and what `sched_switch` says of the one that leaves.

use aya_ebpf::programs::BtfTracePointContext;

use crate::globals::switch_has_state;
use crate::offset;
use crate::read::Reads;

/// TASK_RUNNING, or TASK_REPORT_MAX as `sched_switch` reports a preempted task (include/trace/events/sched.h).
const RUNNABLE: [u32; 2] = [0, 256];

#[inline(always)]
pub fn pid_of(task: *const u8) -> u32 {
    let at = offset!(task_pid);
    // SAFETY: `task` is a task_struct argument of the hook.
    unsafe { field(task, at) }
}

/// # Safety
/// As for [`Reads::typed`].
#[inline(always)]
pub unsafe fn field<T: Copy + Default>(task: *const u8, offset: u32) -> T {
    let mut reads = Reads::new();
    // SAFETY: the caller's promise.
    let value = unsafe { reads.typed(task, offset) };
    reads.done();
    value
}

/// Of `sched_switch`: was the task preempted, and what is its state?
#[inline(always)]
pub fn leaving(ctx: &BtfTracePointContext) -> (bool, u32) {
    let preempt = ctx.arg::<u64>(0) as u8 != 0;
    // Before 5.18 the state is still in the task (its high half is never used: TASK_STATE_MAX is 0x2000).
    let state: u32 = if switch_has_state() {
        ctx.arg::<u64>(3) as u32
    } else {
        let at = offset!(task_state);
        // SAFETY: a task_struct argument; the low half of the long on 5.10.
        unsafe { field::<u64>(ctx.arg::<*const u8>(1), at) as u32 }
    };
    (preempt, state)
}

#[inline(always)]
pub fn sleeps(preempt: bool, state: u32) -> bool {
    !preempt && state != RUNNABLE[0] && state != RUNNABLE[1]
}
