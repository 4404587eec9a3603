//! Several copies of a program on one hook, so that no event is lost to the kernel's recursion guard.
//!
//! Since 6.1 the kernel skips a tracepoint program that is already running on this CPU (__bpf_trace_run,
//! kernel/trace/bpf_trace.c), also when the one under way was merely interrupted or preempted; system call
//! tracepoints are preemptible since 6.13, most others since 7.0. A second copy, attached after the first,
//! takes what the first was kept from, and where tasks preempt each other often a third what both were. The first leaves word by task or by socket, not by CPU: two events of
//! one task, or of one socket, never overlap, so there is no moment at which the word is wrong.

use crate::filter::{handled, set_handled};
use crate::maps::{TAKEN, TAKEN_SLOTS, TRANSITION_SLOTS, TRANSITIONS};

/// Which copy is running. The first takes every event, the others what those before them were kept from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    First,
    Later,
}

/// What a task's event is. Of one task no two events of one kind follow each other without one of another
/// kind between them, so the word left for the last event is never mistaken for this one's.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    Enter = 1,
    Return = 2,
    Fork = 3,
    Exec = 4,
}

/// Is this event of task `pid` still to be taken?
#[inline(always)]
pub fn takes_task(turn: Turn, pid: u32, event: Event) -> bool {
    if turn == Turn::Later && handled(pid) == event as u8 {
        return false;
    }
    set_handled(pid, event as u8);
    true
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
            Turn::Later => {
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

/// Is this event of an object (a socket, a packet) still to be taken? Of one object no two events of one hook
/// overlap: the first copy leaves its address, the later one takes it away again. As with transitions, two
/// objects in one slot at the same moment can make an event be taken twice, and none is ever dropped.
#[inline(always)]
pub fn takes_object(turn: Turn, hook: u32, object: u64) -> bool {
    let hash = (object >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let index = hook * TAKEN_SLOTS + hash as u32 % TAKEN_SLOTS;
    let Some(slot) = TAKEN.get_ptr_mut(index) else {
        return true;
    };
    // SAFETY: an aligned u64 of a map value.
    unsafe {
        match turn {
            Turn::First => {
                core::ptr::write_volatile(slot, object);
                true
            }
            Turn::Later => {
                let same = core::ptr::read_volatile(slot) == object;
                if same {
                    core::ptr::write_volatile(slot, 0);
                }
                !same
            }
        }
    }
}

/// The same in two steps, so that a later copy asks before it reads anything else: was it taken already?
#[inline(always)]
pub fn taken_before(turn: Turn, hook: u32, object: u64) -> bool {
    turn == Turn::Later && !takes_object(turn, hook, object)
}

/// And the word of the first copy, once it is sure to take the event.
#[inline(always)]
pub fn leave_word(turn: Turn, hook: u32, object: u64) {
    if turn == Turn::First {
        takes_object(turn, hook, object);
    }
}
