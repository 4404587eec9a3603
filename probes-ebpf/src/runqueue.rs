//! Instrument `runqueue`: how long tasks wait for a CPU, why, how long they run and sleep. Counted here, read once.
//!
//! Since when a task waits or sleeps stands in an array by pid, with what it does in the low bits. Every hook
//! has the lock of the run queue or of the task, with interrupts off: nothing makes the kernel skip it. What
//! could fool it: a task that was asleep before the start has no time of sleep until it has run once.
#![no_std]
#![no_main]

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
use aya_ebpf::programs::BtfTracePointContext;
use probes_common::block::{BUCKETS, bucket};
use probes_common::runqueue::{
    RUNQ_ROWS as LIMIT, RunDelay, RunqControl, RunqKey, RunqRow, by, cause, whom,
};
use probes_ebpf::blocks::{add, add32};
use probes_ebpf::emit::emit;
use probes_ebpf::filter::{enabled, watched};
use probes_ebpf::offset;
use probes_ebpf::read::Reads;
use probes_ebpf::tally::opaque;
use probes_ebpf::task::{field, leaving, pid_of, sleeps};

#[map]
static RUNQ_CONTROL: Array<RunqControl> = Array::with_max_entries(1, 0);
/// A time, and in its low bits what the task does since. The loader makes it as long as there are pids.
#[map]
static RUNQ_TASKS: Array<u64> = Array::with_max_entries(1, 0);
/// When this CPU was last given to somebody.
#[map]
static RUNQ_LAST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
static RUNQ_CPUS: PerCpuArray<RunqRow> = PerCpuArray::with_max_entries(1, 0);
#[map]
static RUNQ_ROWS: HashMap<RunqKey, RunqRow> = HashMap::with_max_entries(LIMIT, 0);
/// A row of zeros: too big for the stack.
#[map]
static RUNQ_BLANK: Array<RunqRow> = Array::with_max_entries(1, 0);
/// Times that found no row.
#[map]
static RUNQ_FULL: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

const ASLEEP: u64 = 1;
const QUEUED: u64 = 2;
const PREEMPTED: u64 = 3;
const WHAT: u64 = 3;
const MOVED: u64 = 4;
const TIME: u64 = !7;

#[inline(always)]
fn control() -> Option<&'static RunqControl> {
    RUNQ_CONTROL.get(0)
}

#[inline(always)]
fn follows(control: &RunqControl, pid: u32) -> bool {
    match control.whom {
        whom::EVERYBODY => pid != 0,
        whom::WATCHED => pid != 0 && watched(pid),
        _ => false,
    }
}

#[inline(always)]
fn key_of(by: u32, task: *const u8) -> RunqKey {
    let mut reads = Reads::new();
    let mut key = [0; 2];
    // SAFETY: a task_struct argument of the hook.
    unsafe {
        match by {
            by::PID => key[0] = reads.typed::<u32>(task, offset!(task_pid)) as u64,
            by::TGID => key[0] = reads.typed::<u32>(task, offset!(task_tgid)) as u64,
            by::COMM => key = reads.kernel(task, offset!(task_comm)),
            _ => {
                let set: u64 = reads.kernel(task, offset!(task_cgroups));
                let group: u64 = reads.kernel(set as *const u8, offset!(css_set_dfl_cgrp));
                let node: u64 = reads.kernel(group as *const u8, offset!(cgroup_kn));
                key[0] = reads.kernel(node as *const u8, offset!(kernfs_id));
            }
        }
    }
    reads.done();
    RunqKey { key }
}

#[inline(always)]
fn row_of(by: u32, task: *const u8) -> Option<*mut RunqRow> {
    let key = key_of(by, task);
    if let Some(row) = RUNQ_ROWS.get_ptr_mut(&key) {
        return Some(row);
    }
    if let Some(blank) = RUNQ_BLANK.get(0) {
        // Another CPU may have made it meanwhile.
        let _there = RUNQ_ROWS.insert(&key, blank, BPF_NOEXIST as u64);
    }
    let Some(row) = RUNQ_ROWS.get_ptr_mut(&key) else {
        if let Some(full) = RUNQ_FULL.get_ptr_mut(0) {
            // SAFETY: this CPU's cell.
            unsafe { add(full, 1) };
        }
        return None;
    };
    let mut reads = Reads::new();
    // SAFETY: a field of the map's value.
    unsafe { reads.kernel_into(task, offset!(task_comm), &raw mut (*row).comm) };
    reads.done();
    Some(row)
}

/// Which times of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Times {
    Delay,
    OnCpu,
    Asleep,
}

/// The rows of one event: this CPU's, which nobody else writes, and the shared one.
#[inline(always)]
fn count(control: &RunqControl, task: *const u8, times: Times, ns: u64, why: u32) {
    if let Some(row) = RUNQ_CPUS.get_ptr_mut(0) {
        // SAFETY: this CPU's row; the hooks run with interrupts off.
        unsafe { count_in::<false>(row, times, ns, why) };
    }
    if control.by != by::CPU
        && let Some(row) = row_of(control.by, task)
    {
        // SAFETY: the map's value.
        unsafe { count_in::<true>(row, times, ns, why) };
    }
}

/// # Safety
/// `row` is a map's value; unless `SHARED` nobody else writes it meanwhile.
#[inline(always)]
unsafe fn count_in<const SHARED: bool>(row: *mut RunqRow, times: Times, ns: u64, why: u32) {
    // SAFETY: fields of the row.
    unsafe {
        let (sum, max, steps) = match times {
            Times::Delay => (
                &raw mut (*row).delay_ns,
                &raw mut (*row).delay_max,
                &raw mut (*row).delay,
            ),
            Times::OnCpu => (
                &raw mut (*row).on_cpu_ns,
                &raw mut (*row).on_cpu_max,
                &raw mut (*row).on_cpu,
            ),
            Times::Asleep => (
                &raw mut (*row).asleep_ns,
                &raw mut (*row).asleep_max,
                &raw mut (*row).asleep,
            ),
        };
        more::<SHARED>(sum, ns);
        if ns > *max {
            *max = ns;
        }
        step::<SHARED>(steps, ns);
        if times == Times::Delay {
            let why = (why as usize) & (cause::ALL - 1);
            more::<SHARED>((&raw mut (*row).cause_count as *mut u64).add(why), 1);
            more::<SHARED>((&raw mut (*row).cause_ns as *mut u64).add(why), ns);
        }
    }
}

/// # Safety
/// As for [`count_in`].
#[inline(always)]
unsafe fn more<const SHARED: bool>(cell: *mut u64, by: u64) {
    // SAFETY: the caller's promise.
    unsafe { if SHARED { add(cell, by) } else { *cell += by } }
}

/// # Safety
/// As for [`count_in`].
#[inline(always)]
unsafe fn step<const SHARED: bool>(steps: *mut [u32; BUCKETS], ns: u64) {
    let at = opaque(bucket(ns) as u64);
    if at < BUCKETS as u64 {
        // SAFETY: within the array.
        unsafe {
            let cell = (steps as *mut u32).add(at as usize);
            if SHARED { add32(cell, 1) } else { *cell += 1 }
        }
    }
}

#[btf_tracepoint(function = "sched_wakeup")]
pub fn runq_wakeup(ctx: BtfTracePointContext) -> i32 {
    queued(ctx.arg::<*const u8>(0))
}

#[btf_tracepoint(function = "sched_wakeup_new")]
pub fn runq_wakeup_new(ctx: BtfTracePointContext) -> i32 {
    queued(ctx.arg::<*const u8>(0))
}

#[inline(always)]
fn queued(task: *const u8) -> i32 {
    let pid = pid_of(task);
    let Some(control) = control() else { return 0 };
    if !follows(control, pid) || !enabled() {
        return 0;
    }
    let Some(state) = RUNQ_TASKS.get_ptr_mut(pid) else {
        return 0;
    };
    // SAFETY: bpf_ktime_get_ns takes nothing; the map's value, which one event of a task at a time writes.
    unsafe {
        let now = bpf_ktime_get_ns();
        let was = *state;
        *state = (now & TIME) | QUEUED | (was & MOVED);
        if was & WHAT == ASLEEP {
            count(control, task, Times::Asleep, now - (was & TIME), 0);
        }
    }
    0
}

#[btf_tracepoint(function = "sched_migrate_task")]
pub fn runq_migrate(ctx: BtfTracePointContext) -> i32 {
    let pid = pid_of(ctx.arg::<*const u8>(0));
    let Some(control) = control() else { return 0 };
    if !follows(control, pid) || !enabled() {
        return 0;
    }
    if let Some(state) = RUNQ_TASKS.get_ptr_mut(pid) {
        // SAFETY: as in `queued`.
        unsafe {
            if *state & WHAT != 0 {
                *state |= MOVED;
            }
        }
    }
    0
}

#[btf_tracepoint(function = "sched_switch")]
pub fn runq_switch(ctx: BtfTracePointContext) -> i32 {
    let Some(control) = control() else { return 0 };
    if control.whom == whom::NOBODY || !enabled() {
        return 0;
    }
    let prev_task = ctx.arg::<*const u8>(1);
    let next_task = ctx.arg::<*const u8>(2);
    let (prev, next) = (pid_of(prev_task), pid_of(next_task));
    // SAFETY: takes nothing.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(last) = RUNQ_LAST.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's cell.
    let since = unsafe { core::mem::replace(&mut *last, now) };
    if follows(control, prev) {
        if since != 0 {
            count(control, prev_task, Times::OnCpu, now - since, 0);
        }
        let (preempt, state) = leaving(&ctx);
        let what = if sleeps(preempt, state) {
            ASLEEP
        } else {
            PREEMPTED
        };
        if let Some(its) = RUNQ_TASKS.get_ptr_mut(prev) {
            // SAFETY: the map's value; it is this CPU's task.
            unsafe { *its = (now & TIME) | what };
        }
    }
    if follows(control, next) {
        comes_on(control, prev_task, next_task, now);
    }
    0
}

#[inline(always)]
fn comes_on(control: &RunqControl, prev_task: *const u8, task: *const u8, now: u64) {
    let (prev, pid) = (pid_of(prev_task), pid_of(task));
    let Some(its) = RUNQ_TASKS.get_ptr_mut(pid) else {
        return;
    };
    // SAFETY: the map's value; it is this CPU's task.
    let was = unsafe { core::mem::replace(&mut *its, 0) };
    if was & QUEUED == 0 {
        return;
    }
    let why = if was & MOVED != 0 {
        cause::MIGRATION
    } else if was & WHAT == PREEMPTED {
        cause::PREEMPTED
    } else if prev == 0 {
        cause::IDLE_EXIT
    } else {
        cause::BUSY
    };
    let ns = now - (was & TIME);
    count(control, task, Times::Delay, ns, why);
    if ns < control.slower_ns {
        return;
    }
    emit::<RunDelay>(|record| {
        let mut reads = Reads::new();
        let comm = offset!(task_comm);
        // SAFETY: `record` points to room for the whole payload; task_struct arguments of the hook.
        unsafe {
            (*record).delay_ns = ns;
            (*record).pid = pid;
            (*record).tgid = field(task, offset!(task_tgid));
            (*record).prev = prev;
            (*record).cause = why;
            reads.kernel_into(task, comm, &raw mut (*record).comm);
            reads.kernel_into(prev_task, comm, &raw mut (*record).prev_comm);
        }
        reads.done();
    });
}
