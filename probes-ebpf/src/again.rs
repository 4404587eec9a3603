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
pub enum Copy {
    First,
    Second,
}

/// Is this event of task `pid` still to be taken?
#[inline(always)]
pub fn takes_task(copy: Copy, pid: u32) -> bool {
    match copy {
        Copy::First => {
            set_handled(pid, 1);
            true
        }
        Copy::Second => {
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
#[inline(always)]
pub fn takes_transition(copy: Copy, sock: u64, new: u8) -> bool {
    // A struct sock is aligned to far more than 16 bytes: the state fits below the address.
    let word = sock | new as u64;
    let Some(slot) = TRANSITIONS.get_ptr_mut((sock >> 6) as u32 % TRANSITION_SLOTS) else {
        return true;
    };
    // SAFETY: an aligned u64 in a map value.
    unsafe {
        match copy {
            Copy::First => {
                core::ptr::write_volatile(slot, word);
                true
            }
            Copy::Second => {
                let open = core::ptr::read_volatile(slot) != word;
                if !open {
                    core::ptr::write_volatile(slot, 0);
                }
                open
            }
        }
    }
}
