//! What the programs of `page_cache` share: whose page it is, the row it counts in, what is known of pages
//! that were read ahead, and the read call that a task is in.
//!
//! Counters are added atomically: from 7.0 on a program can be preempted by another run of itself.

pub mod ahead;
pub mod calls;
pub mod fd;
pub mod owners;
pub mod rows;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap};
use probes_common::control::PID_LIMIT;
use probes_common::pages::{
    CALL_LIMIT, CHUNK_LIMIT, Call, Chunk, ChunkKey, FILE_LIMIT, FileKey, FileName, ROW_LIMIT, Row,
    RowKey, total,
};

use crate::again::Turn;
use crate::globals::pid_mask;

#[map]
pub static PAGE_ROWS: PerCpuHashMap<RowKey, Row> = PerCpuHashMap::with_max_entries(ROW_LIMIT, 0);
#[map]
pub static PAGE_FILES: HashMap<FileKey, FileName> = HashMap::with_max_entries(FILE_LIMIT, 0);
#[map]
pub static PAGE_AHEAD: HashMap<ChunkKey, Chunk> = HashMap::with_max_entries(CHUNK_LIMIT, 0);
#[map]
pub static PAGE_CALLS: LruHashMap<u32, Call> = LruHashMap::with_max_entries(CALL_LIMIT, 0);
#[map]
pub static PAGE_TOTALS: PerCpuArray<u64> = PerCpuArray::with_max_entries(total::LEN, 0);
/// A byte per pid: which hooks' event a first copy has taken.
#[map]
pub static PAGE_TURNS: Array<[u8; PID_LIMIT]> = Array::with_max_entries(1, 0);

pub const BPF_NOEXIST: u64 = 1;

/// Bits of PAGE_TURNS.
pub mod hook {
    pub const INSERT: u8 = 1;
    pub const DELETE: u8 = 2;
    pub const DIRTY: u8 = 4;
    pub const BIO: u8 = 8;
    pub const ENTER: u8 = 16;
    pub const EXIT: u8 = 32;
    pub const FAULT: u8 = 64;
}

/// Is this event still to be taken? No two events of one task overlap, so the first copy leaves its word by
/// task, and the second takes it away.
#[inline(always)]
pub fn takes(turn: Turn, pid: u32, bit: u8) -> bool {
    let Some(bytes) = PAGE_TURNS.get_ptr_mut(0) else {
        return true;
    };
    // SAFETY: the loader gives the map pid_mask + 1 bytes.
    unsafe {
        let byte = (bytes as *mut u8).add((pid & pid_mask()) as usize);
        let word = core::ptr::read_volatile(byte);
        match turn {
            Turn::First => core::ptr::write_volatile(byte, word | bit),
            Turn::Later if word & bit != 0 => {
                core::ptr::write_volatile(byte, word & !bit);
                return false;
            }
            Turn::Later => {}
        }
    }
    true
}

#[inline(always)]
pub fn current() -> (u32, u32) {
    let both = bpf_get_current_pid_tgid();
    (both as u32, (both >> 32) as u32)
}

/// # Safety
/// `cell` is an aligned u64 of a map value.
#[inline(always)]
pub unsafe fn add(cell: *mut u64, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!("lock *(u64 *)({cell} + 0) += {value}", cell = in(reg) cell, value = in(reg) value);
    }
}

/// Adds to a row of the totals.
#[inline(always)]
pub fn tally(row: u32, pages: u64) {
    if let Some(cell) = PAGE_TOTALS.get_ptr_mut(row) {
        // SAFETY: a u64 of the map.
        unsafe { add(cell, pages) };
    }
}
