//! What the programs of `block` share: their maps, which disks are followed, counting, whose a page is.
//!
//! Counters are added atomically: a request's end can interrupt another's on the same CPU.

pub mod disk;
pub mod page;
pub mod rows;

use aya_ebpf::helpers::generated::bpf_get_current_cgroup_id;
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap};
use probes_common::block::{
    BlockRequest, DIRTIER_LIMIT, DISKS, Dirtier, DiskFilter, ORIGIN_LIMIT, Origin, REQUEST_LIMIT,
    ROW_LIMIT, Row, RowKey, TOTALS_LEN, Total, Worker, total_row,
};

use crate::again::Turn;
use crate::filter::control;

#[map]
pub static BLOCK_FILTER: Array<DiskFilter> = Array::with_max_entries(1, 0);
/// `struct request_queue *` of the followed disks, by slot.
#[map]
pub static BLOCK_QUEUES: Array<u64> = Array::with_max_entries(DISKS as u32, 0);
#[map]
pub static BLOCK_TOTALS: PerCpuArray<u64> = PerCpuArray::with_max_entries(TOTALS_LEN, 0);
#[map]
pub static BLOCK_ROWS: PerCpuHashMap<RowKey, Row> = PerCpuHashMap::with_max_entries(ROW_LIMIT, 0);
/// A row of zeros: too big for the stack.
#[map]
pub static BLOCK_BLANK: Array<Row> = Array::with_max_entries(1, 0);
/// Requests under way, by address.
#[map]
pub static BLOCK_REQUESTS: HashMap<u64, BlockRequest> = HashMap::with_max_entries(REQUEST_LIMIT, 0);
/// Where the requests come from that were not yet seen as requests, by their first bio's address.
#[map]
pub static BLOCK_BIOS: LruHashMap<u64, Origin> = LruHashMap::with_max_entries(ORIGIN_LIMIT, 0);
/// By the inode's address.
#[map]
pub static BLOCK_DIRTIERS: LruHashMap<u64, Dirtier> =
    LruHashMap::with_max_entries(DIRTIER_LIMIT, 0);
/// What a first copy took last, by hook and a hash of the object's address.
#[map]
pub static BLOCK_TAKEN: Array<u64> = Array::with_max_entries(HOOKS * SLOTS, 0);

const HOOKS: u32 = 16;
const SLOTS: u32 = 1024;

/// Places in the map of what first copies took.
pub mod hook {
    pub const BIO_QUEUE: u32 = 0;
    pub const BACKMERGE: u32 = 1;
    pub const FRONTMERGE: u32 = 2;
    pub const SPLIT: u32 = 3;
    pub const REMAP: u32 = 4;
    pub const BIO_COMPLETE: u32 = 5;
    pub const GETRQ: u32 = 6;
    pub const PLUG: u32 = 7;
    pub const UNPLUG: u32 = 8;
    pub const INSERT: u32 = 9;
    pub const MERGE: u32 = 10;
    pub const ISSUE: u32 = 11;
    pub const REQUEUE: u32 = 12;
    pub const COMPLETE: u32 = 13;
    pub const DIRTY: u32 = 14;
}

/// Is this event of an object still to be taken? As `again::takes_object`, with more hooks.
#[inline(always)]
pub fn takes(turn: Turn, hook: u32, object: u64) -> bool {
    let hash = (object >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let Some(slot) = BLOCK_TAKEN.get_ptr_mut(hook * SLOTS + hash as u32 % SLOTS) else {
        return true;
    };
    // SAFETY: an aligned u64 of a map value.
    unsafe {
        match turn {
            Turn::First => core::ptr::write_volatile(slot, object),
            Turn::Later if core::ptr::read_volatile(slot) == object => {
                core::ptr::write_volatile(slot, 0);
                return false;
            }
            Turn::Later => {}
        }
    }
    true
}

/// # Safety
/// An aligned u64 of a map value.
#[inline(always)]
pub unsafe fn add(cell: *mut u64, more: u64) {
    // SAFETY: as promised; the locked addition without fetch is there since 4.4.
    unsafe {
        core::arch::asm!("lock *(u64 *)({cell} + 0) += {more}", cell = in(reg) cell, more = in(reg) more);
    }
}

/// # Safety
/// An aligned u32 of a map value.
#[inline(always)]
pub unsafe fn add32(cell: *mut u32, more: u64) {
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("lock *(u32 *)({cell} + 0) += {more}", cell = in(reg) cell, more = in(reg) more);
    }
}

#[inline(always)]
pub fn tally(slot: u32, class: u32, total: Total, more: u64) {
    tally_at(total_row(slot, class, total), more);
}

#[inline(always)]
pub fn tally_at(row: u32, more: u64) {
    if let Some(cell) = BLOCK_TOTALS.get_ptr_mut(row) {
        // SAFETY: this CPU's cell.
        unsafe { add(cell, more) };
    }
}

/// The current task; call it only where a task is at work.
#[inline(always)]
pub fn worker() -> Worker {
    let both = bpf_get_current_pid_tgid();
    Worker {
        pid: both as u32,
        tgid: (both >> 32) as u32,
        // SAFETY: takes nothing.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        comm: bpf_get_current_comm().unwrap_or_default(),
    }
}

#[inline(always)]
pub fn phase() -> u32 {
    match control() {
        // SAFETY: user space writes it at any time, hence volatile.
        Some(control) => unsafe { core::ptr::read_volatile(&raw const control.phase) },
        None => 0,
    }
}

#[inline(always)]
pub fn slower_than() -> u64 {
    match BLOCK_FILTER.get_ptr(0) {
        // SAFETY: user space writes it at any time, hence volatile.
        Some(filter) => unsafe { core::ptr::read_volatile(&raw const (*filter).slower_ns) },
        None => 0,
    }
}
