//! Instrument `sched`: who wakes whom, who runs, who is born and ends. Only watched tasks are sent.
//!
//! `sched_waking` runs in the waker's context on every kernel (kernel/sched/core.c, try_to_wake_up) and
//! carries the kernel stack: what woke the task stands in it. `sched_wakeup` often runs on the target's CPU
//! and only says that the wake is complete. In interrupt context the current task is a bystander.
#![no_std]
#![no_main]

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_stack};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use probes_common::Task;
use probes_common::control::counter;
use probes_common::event::{
    Exec, Exit, Fork, Migrate, STACK_DEPTH, SWITCH_NEXT_WATCHED, SWITCH_PREEMPT,
    SWITCH_PREV_WATCHED, Switch, WAKING_BRACKETED, WAKING_IN_CHILD, Wakeup, Waking,
};
use probes_ebpf::again::{Event, Turn, takes_task};
use probes_ebpf::emit::{count, emit};
use probes_ebpf::filter::{
    control, enabled, set_asleep, set_handled, set_pending, set_watch, watch, watched,
};
use probes_ebpf::globals::bracketed;
use probes_ebpf::maps::SLOT;
use probes_ebpf::offset;
use probes_ebpf::task::{field, leaving, pid_of, sleeps};

#[btf_tracepoint(function = "sched_waking")]
pub fn sched_waking(ctx: BtfTracePointContext) -> i32 {
    let target = pid_of(ctx.arg::<*const u8>(0));
    if !watched(target) {
        return 0;
    }
    set_pending(target, 1);
    if !enabled() {
        return 0;
    }
    let (conn, in_child) = match SLOT.get_ptr(0) {
        // SAFETY: this CPU's slot.
        Some(slot) => unsafe { ((*slot).conn, (*slot).in_child) },
        None => (0, 0),
    };
    let mut flags = 0;
    if bracketed() {
        flags |= WAKING_BRACKETED;
        if in_child != 0 {
            flags |= WAKING_IN_CHILD;
        }
    }
    emit::<Waking>(|waking| {
        // SAFETY: `waking` points to room for the whole payload.
        unsafe {
            (*waking).target = target;
            (*waking).flags = flags;
            (*waking).conn = conn;
            (*waking)._pad = 0;
            let size = (STACK_DEPTH * 8) as u32;
            let got = bpf_get_stack(ctx.as_ptr(), (&raw mut (*waking).stack).cast(), size, 0);
            (*waking).depth = if got > 0 { got as u32 / 8 } else { 0 };
            if got <= 0 {
                count(counter::STACK_FAILED);
            }
        }
    });
    0
}

#[btf_tracepoint(function = "sched_wakeup")]
pub fn sched_wakeup(ctx: BtfTracePointContext) -> i32 {
    woken(pid_of(ctx.arg::<*const u8>(0)), 0)
}

#[btf_tracepoint(function = "sched_wakeup_new")]
pub fn sched_wakeup_new(ctx: BtfTracePointContext) -> i32 {
    woken(pid_of(ctx.arg::<*const u8>(0)), 1)
}

#[inline(always)]
fn woken(target: u32, new: u32) -> i32 {
    if !watched(target) {
        return 0;
    }
    set_asleep(target, 0);
    set_pending(target, 0);
    if enabled() {
        // SAFETY: `wakeup` points to room for the whole payload.
        emit::<Wakeup>(|wakeup| unsafe { wakeup.write(Wakeup { target, new }) });
    }
    0
}

/// The runqueue's or the task's lock is held, with interrupts off: nothing makes the kernel skip it.
#[btf_tracepoint(function = "sched_migrate_task")]
pub fn sched_migrate_task(ctx: BtfTracePointContext) -> i32 {
    let target = pid_of(ctx.arg::<*const u8>(0));
    if !watched(target) || !enabled() {
        return 0;
    }
    let to = ctx.arg::<u64>(1) as u32;
    // SAFETY: `migrate` points to room for the whole payload.
    emit::<Migrate>(|migrate| unsafe { migrate.write(Migrate { target, to }) });
    0
}

#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    let prev_task = ctx.arg::<*const u8>(1);
    let next_task = ctx.arg::<*const u8>(2);
    let prev = pid_of(prev_task);
    let next = pid_of(next_task);
    let mut flags = 0;
    if prev != 0 && watched(prev) {
        flags |= SWITCH_PREV_WATCHED;
    }
    if next != 0 && watched(next) {
        flags |= SWITCH_NEXT_WATCHED;
    }
    if flags == 0 {
        return 0;
    }
    let (preempt, state) = leaving(&ctx);
    let sleeps = sleeps(preempt, state);
    if flags & SWITCH_NEXT_WATCHED != 0 {
        set_asleep(next, 0);
    }
    if preempt {
        flags |= SWITCH_PREEMPT;
    }
    if enabled() {
        emit::<Switch>(|switch| {
            // SAFETY: `switch` points to room for the whole payload.
            unsafe {
                switch.write(Switch {
                    prev,
                    next,
                    prev_state: state,
                    flags,
                })
            }
        });
    }
    // After the clock has been read: whoever acts on the byte acts later than the event says.
    if flags & SWITCH_PREV_WATCHED != 0 {
        set_asleep(prev, sleeps as u8);
    }
    0
}

#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    fork(&ctx, Turn::First)
}

#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork_again(ctx: BtfTracePointContext) -> i32 {
    fork(&ctx, Turn::Later)
}

#[inline(always)]
fn fork(ctx: &BtfTracePointContext, turn: Turn) -> i32 {
    let parent = pid_of(ctx.arg::<*const u8>(0));
    let bits = watch(parent);
    if bits & Task::FOLLOW == 0 {
        return 0;
    }
    let child_task = ctx.arg::<*const u8>(1);
    let child = pid_of(child_task);
    if !takes_task(turn, child, Event::Fork) {
        return 0;
    }
    set_asleep(child, 0);
    set_pending(child, 0);
    set_watch(child, bits);
    // SAFETY: a task_struct argument.
    let child_tgid = unsafe { field(child_task, offset!(task_tgid)) };
    // The child has the parent's name; the parent is current.
    let comm = bpf_get_current_comm().unwrap_or_default();
    emit::<Fork>(|fork| {
        // SAFETY: `fork` points to room for the whole payload.
        unsafe {
            fork.write(Fork {
                parent,
                child,
                child_tgid,
                _pad: 0,
                comm,
            })
        }
    });
    0
}

#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    exec(&ctx, Turn::First)
}

#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec_again(ctx: BtfTracePointContext) -> i32 {
    exec(&ctx, Turn::Later)
}

#[inline(always)]
fn exec(ctx: &BtfTracePointContext, turn: Turn) -> i32 {
    let pid = pid_of(ctx.arg::<*const u8>(0));
    // The new name is already set: begin_new_exec comes before the tracepoint (fs/exec.c).
    let comm = bpf_get_current_comm().unwrap_or_default();
    if !watched(pid) {
        let wanted = match control() {
            Some(control) => control.exec_comm,
            None => return 0,
        };
        if wanted[0] == 0 || wanted != comm {
            return 0;
        }
        set_watch(pid, Task::WATCHED | Task::FOLLOW);
    }
    if !takes_task(turn, pid, Event::Exec) {
        return 0;
    }
    emit::<Exec>(|exec| {
        // SAFETY: `exec` points to room for the whole payload.
        unsafe { exec.write(Exec { pid, _pad: 0, comm }) }
    });
    0
}

#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    exit(&ctx)
}

/// The first copy ends the watch, so what the second finds watched was kept from the first.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit_again(ctx: BtfTracePointContext) -> i32 {
    exit(&ctx)
}

#[inline(always)]
fn exit(ctx: &BtfTracePointContext) -> i32 {
    let task = ctx.arg::<*const u8>(0);
    let pid = pid_of(task);
    if !watched(pid) {
        return 0;
    }
    // The pid is not handed out again before the task is released, later than this.
    set_watch(pid, 0);
    set_asleep(pid, 0);
    set_pending(pid, 0);
    set_handled(pid, 0);
    // SAFETY: a task_struct argument.
    let tgid = unsafe { field(task, offset!(task_tgid)) };
    // SAFETY: `exit` points to room for the whole payload.
    emit::<Exit>(|exit| unsafe { exit.write(Exit { pid, tgid }) });
    0
}
