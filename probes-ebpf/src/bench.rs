//! The toolkit's building blocks alone, for `cargo xtask bench`: what a counter, a latency, a record of 64
//! bytes and a count by key cost on a hook, beside an empty program there.
//!
//! No trace loads this object. All of it is on system calls, the most frequent hook there is, so that nothing
//! of the workload hides the cost. The key of a count by key is drawn, not taken from the event.
#![no_std]
#![no_main]

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
use aya_ebpf::programs::BtfTracePointContext;
use probes_common::Kind;
use probes_common::event::Payload;
use probes_ebpf::emit::emit;
use probes_ebpf::filter::enabled;

const CALLS_KNOWN: u32 = 512;
const TASKS: u32 = 1 << 15;
const BUCKETS: u32 = 64;
const KEYS: u32 = 1 << 20;
const BPF_F_NO_PREALLOC: u32 = 1;

#[map]
static BENCH_CALLS: PerCpuArray<u64> = PerCpuArray::with_max_entries(CALLS_KNOWN, 0);
#[map]
static BENCH_FAMILIES: PerCpuArray<u64> = PerCpuArray::with_max_entries(CALLS_KNOWN, 0);
#[map]
static BENCH_BEGUN: Array<u64> = Array::with_max_entries(TASKS, 0);
#[map]
static BENCH_TIMES: PerCpuArray<u64> = PerCpuArray::with_max_entries(BUCKETS, 0);
/// How many keys are in use.
#[map]
static BENCH_KEYS: Array<u32> = Array::with_max_entries(1, 0);
#[map]
static BENCH_BY_HASH: HashMap<u32, u64> = HashMap::with_max_entries(KEYS, BPF_F_NO_PREALLOC);
#[map]
static BENCH_BY_ARRAY: Array<u64> = Array::with_max_entries(KEYS, 0);

/// With the header 64 bytes.
#[derive(Clone, Copy)]
#[repr(C)]
struct Bytes([u64; 4]);

impl Payload for Bytes {
    const KIND: Kind = Kind::SysEnter;
}

#[inline(always)]
fn add_one(map: &PerCpuArray<u64>, index: u32) {
    if let Some(cell) = map.get_ptr_mut(index) {
        // SAFETY: this CPU's cell.
        unsafe { *cell += 1 };
    }
}

#[inline(always)]
fn call(ctx: &BtfTracePointContext) -> u32 {
    ctx.arg::<u64>(1) as u32 % CALLS_KNOWN
}

/// What a hook costs when nothing is done there; loaded for whichever hook is asked about.
#[btf_tracepoint(function = "sys_enter")]
pub fn empty(_ctx: BtfTracePointContext) -> i32 {
    0
}

#[btf_tracepoint(function = "sys_enter")]
pub fn bench_count(ctx: BtfTracePointContext) -> i32 {
    add_one(&BENCH_CALLS, call(&ctx));
    0
}

/// The same with one more question on the hook, in the same program.
#[btf_tracepoint(function = "sys_enter")]
pub fn bench_count_two(ctx: BtfTracePointContext) -> i32 {
    let call = call(&ctx);
    add_one(&BENCH_CALLS, call);
    add_one(&BENCH_FAMILIES, call >> 4);
    0
}

#[inline(always)]
fn begun() -> Option<*mut u64> {
    BENCH_BEGUN.get_ptr_mut(bpf_get_current_pid_tgid() as u32 % TASKS)
}

#[btf_tracepoint(function = "sys_enter")]
pub fn bench_enter(_ctx: BtfTracePointContext) -> i32 {
    if let Some(begun) = begun() {
        // SAFETY: an aligned u64 of a map value, this task's; takes nothing.
        unsafe { *begun = bpf_ktime_get_ns() };
    }
    0
}

#[btf_tracepoint(function = "sys_exit")]
pub fn bench_exit(_ctx: BtfTracePointContext) -> i32 {
    if let Some(begun) = begun() {
        // SAFETY: as above.
        let took = unsafe { bpf_ktime_get_ns().wrapping_sub(*begun) };
        add_one(&BENCH_TIMES, 63 - (took | 1).leading_zeros());
    }
    0
}

#[btf_tracepoint(function = "sys_enter")]
pub fn bench_event(ctx: BtfTracePointContext) -> i32 {
    if enabled() {
        let call = ctx.arg::<u64>(1);
        emit::<Bytes>(|record| {
            // SAFETY: `record` points to room for the whole payload.
            unsafe { record.write(Bytes([call, 0, 0, 0])) };
        });
    }
    0
}

#[inline(always)]
fn key() -> u32 {
    let keys = BENCH_KEYS.get(0).copied().unwrap_or(1);
    // SAFETY: takes nothing. Without a division: the upper half of a product.
    let drawn = unsafe { bpf_get_prandom_u32() };
    (u64::from(drawn) * u64::from(keys) >> 32) as u32
}

#[btf_tracepoint(function = "sys_enter")]
pub fn bench_by_hash(_ctx: BtfTracePointContext) -> i32 {
    let key = key();
    match BENCH_BY_HASH.get_ptr_mut(&key) {
        // SAFETY: a value of the map.
        Some(cell) => unsafe { *cell += 1 },
        None => {
            let _full = BENCH_BY_HASH.insert(&key, &1, 0);
        }
    }
    0
}

#[btf_tracepoint(function = "sys_enter")]
pub fn bench_by_array(_ctx: BtfTracePointContext) -> i32 {
    if let Some(cell) = BENCH_BY_ARRAY.get_ptr_mut(key()) {
        // SAFETY: a value of the map.
        unsafe { *cell += 1 };
    }
    0
}
