//! Two copies of a program on one hook, so that no event is lost to the kernel's recursion guard.
//!
//! Since 6.1 the kernel skips a tracepoint program that is already running on this CPU (__bpf_trace_run,
//! kernel/trace/bpf_trace.c), also when the one under way was merely interrupted or preempted; system call
//! tracepoints are preemptible since 6.13, most others since 7.0. A second copy, attached after the first,
//! takes what the first was kept from. The first leaves word by task or by socket, not by CPU: two events of
//! one task, or of one socket, never overlap, so there is no moment at which the word is wrong.

use crate::filter::{handled, set_handled};
use crate::maps::{TRANSITION_SLOTS, TRANSITIONS};

/// Which of the two copies is running.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    First,
    Second,
}

/// Is this event of task `pid` still to be taken?
#[inline(always)]
pub fn takes_task(turn: Turn, pid: u32) -> bool {
    match turn {
        Turn::First => {
            set_handled(pid, 1);
            true
        }
        Turn::Second => {
            let open = handled(pid) == 0;
            if !open {
                set_handled(pid, 0);
            }
            open
        }
    }
}

/// Is this transition still to be taken? Sockets that share a slot at the same moment can make the second
/// copy take one twice; user space drops the repetition. None is ever dropped here.
///
/// The slot is chosen by the ports because the verifier allows no arithmetic on the socket's pointer.
#[inline(always)]
pub fn takes_transition(turn: Turn, sock: *const u8, ports: (u16, u16), new: u8) -> bool {
    let index = (ports.0 as u32)
        .wrapping_mul(31)
        .wrapping_add(ports.1 as u32)
        % TRANSITION_SLOTS;
    let Some(slot) = TRANSITIONS.get_ptr_mut(index) else {
        return true;
    };
    // SAFETY: aligned u64 fields of a map value.
    unsafe {
        let (seen_sock, seen_new) = (&raw mut (*slot).sock, &raw mut (*slot).new);
        match turn {
            Turn::First => {
                core::ptr::write_volatile(seen_sock, sock as u64);
                core::ptr::write_volatile(seen_new, new as u64);
                true
            }
            Turn::Second => {
                let same = core::ptr::read_volatile(seen_sock) == sock as u64
                    && core::ptr::read_volatile(seen_new) == new as u64;
                if same {
                    core::ptr::write_volatile(seen_new, u64::MAX);
                }
                !same
            }
        }
    }
}
