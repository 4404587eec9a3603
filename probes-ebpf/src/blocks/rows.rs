//! The times of a finished request, in the row of its disk, operation and owner.

use aya_ebpf::bindings::BPF_NOEXIST;
use probes_common::block::{
    BUCKETS, BlockRequest, REQ_OP_MASK, ROWS_FULL, Row, RowKey, Worker, bucket,
};

use super::{BLOCK_BLANK, BLOCK_ROWS, add, add32, tally_at};
use crate::tally::opaque;

/// Who dirtied what is written back, else who submitted it.
#[inline(always)]
fn owner(record: &BlockRequest) -> &Worker {
    if record.dirtier.pid != 0 {
        &record.dirtier
    } else {
        &record.submitter
    }
}

#[inline(always)]
pub fn finished(record: &BlockRequest, now: u64) {
    if record.first_issued == 0 {
        return;
    }
    let owner = owner(record);
    let key = RowKey {
        dev: record.dev,
        op: record.flags & REQ_OP_MASK,
        tgid: owner.tgid,
        _pad: 0,
        cgroup: owner.cgroup,
    };
    if BLOCK_ROWS.get_ptr(&key).is_none()
        && let Some(blank) = BLOCK_BLANK.get(0)
    {
        // Another CPU may have made it meanwhile.
        let _there = BLOCK_ROWS.insert(&key, blank, BPF_NOEXIST as u64);
    }
    let Some(row) = BLOCK_ROWS.get_ptr_mut(&key) else {
        tally_at(ROWS_FULL, 1);
        return;
    };
    let begun = if record.queued != 0 {
        record.queued
    } else {
        record.first_issued
    };
    let queued = record.first_issued.saturating_sub(begun);
    let served = now.saturating_sub(record.first_issued);
    // SAFETY: fields of this CPU's value.
    unsafe {
        add(&raw mut (*row).requests, 1);
        add(&raw mut (*row).bytes, record.bytes as u64);
        add(&raw mut (*row).queue_ns, queued);
        add(&raw mut (*row).device_ns, served);
        if queued > (*row).queue_max {
            (*row).queue_max = queued;
        }
        if served > (*row).device_max {
            (*row).device_max = served;
        }
        (*row).comm = owner.comm;
        step(&raw mut (*row).queue, queued);
        step(&raw mut (*row).device, served);
    }
}

/// # Safety
/// Points to the buckets of a row.
#[inline(always)]
unsafe fn step(buckets: *mut [u32; BUCKETS], ns: u64) {
    let at = opaque(bucket(ns) as u64);
    if at < BUCKETS as u64 {
        // SAFETY: within the array.
        unsafe { add32((buckets as *mut u32).add(at as usize), 1) };
    }
}

const _: () = assert!(size_of::<Row>() < 1024);
