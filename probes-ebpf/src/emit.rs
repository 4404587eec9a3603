//! The one emit path: reserve, fill, submit without waking the reader; what does not fit is counted by kind.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_ns};
use probes_common::Header;
use probes_common::control::counter;
use probes_common::event::Payload;

use crate::again::Turn;
use crate::filter::control;
use crate::maps::{COUNTERS, EVENTS};

/// The reader drains on a timer; a wakeup per event would cost more than the event.
const BPF_RB_NO_WAKEUP: u64 = 1;

#[repr(C)]
pub struct Record<P> {
    pub header: Header,
    pub payload: P,
}

/// Adds one to this CPU's row.
#[inline(always)]
pub fn count(row: u32) {
    if let Some(cell) = COUNTERS.get_ptr_mut(row) {
        // SAFETY: this CPU's cell; an interrupt between load and store can lose one count of a
        // statistic, never of a loss: see `count_exact`.
        unsafe { *cell += 1 };
    }
}

/// Records sent and lost must add up, so they are added atomically although the cell belongs to this CPU.
#[inline(always)]
pub fn count_exact(row: u32) {
    if let Some(cell) = COUNTERS.get_ptr_mut(row) {
        // SAFETY: aligned u64 in a map value. Atomics of core need fetching variants that 5.10 lacks;
        // the plain locked addition is there since 4.4 (BPF_XADD).
        unsafe {
            core::arch::asm!("lock *(u64 *)({cell} + 0) += {one}", cell = in(reg) cell, one = in(reg) 1u64);
        }
    }
}

/// Sends one record. `fill` writes every byte of the payload.
#[inline(always)]
pub fn emit<P: Payload>(fill: impl FnOnce(*mut P)) {
    emit_as(Turn::First, fill);
}

/// The same, with the word which copy of the program it was.
#[inline(always)]
pub fn emit_as<P: Payload>(turn: Turn, fill: impl FnOnce(*mut P)) {
    emit_of(turn, bpf_get_current_pid_tgid, fill);
}

/// The same for programs on packets: who is current is a bystander, and 5.10 does not tell them.
#[inline(always)]
pub fn emit_packet<P: Payload>(fill: impl FnOnce(*mut P)) {
    emit_of(Turn::First, || 0, fill);
}

#[inline(always)]
fn emit_of<P: Payload>(turn: Turn, current: impl FnOnce() -> u64, fill: impl FnOnce(*mut P)) {
    let kind = P::KIND as u16;
    let Some(mut entry) = EVENTS.reserve::<Record<P>>(0) else {
        count_exact(counter::DROPPED + kind as u32);
        return;
    };
    let record = entry.as_mut_ptr();
    let pid_tgid = current();
    let phase = match control() {
        // SAFETY: user space writes the phase at any time, hence volatile.
        Some(control) => unsafe { core::ptr::read_volatile(&raw const control.phase) },
        None => 0,
    };
    // SAFETY: the ring gave room for a whole record.
    unsafe {
        (&raw mut (*record).header).write(Header {
            ktime: bpf_ktime_get_ns(),
            kind,
            len: size_of::<Record<P>>() as u16,
            cpu: bpf_get_smp_processor_id(),
            pid: pid_tgid as u32,
            tgid: (pid_tgid >> 32) as u32,
            phase,
            again: (turn == Turn::Later) as u32,
        });
        fill(&raw mut (*record).payload);
    }
    entry.submit(BPF_RB_NO_WAKEUP);
    count_exact(counter::EMITTED + kind as u32);
}
