//! Who and what is followed: a byte per pid, a bit per port, one network namespace. Array lookups only.

use probes_common::control::PORT_BYTES;
use probes_common::{Control, Task};

use crate::globals::pid_mask;
use crate::maps::{ASLEEP, CONTROL, HANDLED, PENDING, PORTS, WATCH};

#[inline(always)]
pub fn control() -> Option<&'static Control> {
    CONTROL.get(0)
}

/// Is the run open? False before the start and after the cut.
#[inline(always)]
pub fn enabled() -> bool {
    match CONTROL.get_ptr(0) {
        // SAFETY: points to the map's value; user space writes it at any time, hence volatile.
        Some(control) => unsafe { core::ptr::read_volatile(&raw const (*control).enabled) != 0 },
        None => false,
    }
}

/// The network namespace that is followed; 0 = any.
#[inline(always)]
pub fn wanted_netns() -> u32 {
    match control() {
        // SAFETY: user space writes it at any time, hence volatile.
        Some(control) => unsafe { core::ptr::read_volatile(&raw const control.netns) },
        None => 0,
    }
}

macro_rules! byte_per_pid {
    ($map:ident, $set:ident $(, $get:ident)?) => {
        $(#[inline(always)]
        pub fn $get(pid: u32) -> u8 {
            match $map.get_ptr(0) {
                // SAFETY: the loader gives the map pid_mask + 1 bytes.
                Some(bytes) => unsafe {
                    core::ptr::read_volatile((bytes as *const u8).add((pid & pid_mask()) as usize))
                },
                None => 0,
            }
        })?

        #[inline(always)]
        pub fn $set(pid: u32, value: u8) {
            if let Some(bytes) = $map.get_ptr_mut(0) {
                // SAFETY: the loader gives the map pid_mask + 1 bytes.
                unsafe {
                    core::ptr::write_volatile(
                        (bytes as *mut u8).add((pid & pid_mask()) as usize),
                        value,
                    );
                }
            }
        }
    };
}

byte_per_pid!(WATCH, set_watch, watch);
// Read by user space only.
byte_per_pid!(ASLEEP, set_asleep);
byte_per_pid!(PENDING, set_pending);
byte_per_pid!(HANDLED, set_handled, handled);

#[inline(always)]
pub fn watched(pid: u32) -> bool {
    watch(pid) & Task::WATCHED != 0
}

#[inline(always)]
pub fn follows_port(port: u16) -> bool {
    match PORTS.get_ptr(0) {
        // SAFETY: port / 8 < PORT_BYTES.
        Some(bits) => unsafe {
            let byte =
                core::ptr::read_volatile((bits as *const u8).add(port as usize / 8 % PORT_BYTES));
            byte >> (port % 8) & 1 != 0
        },
        None => false,
    }
}

#[inline(always)]
pub fn follow_port(port: u16) {
    if let Some(bits) = PORTS.get_ptr_mut(0) {
        // SAFETY: as above. Two listeners starting at once in one byte could lose a bit: both are
        // found again by user space, which rescans the listeners.
        unsafe {
            let byte = (bits as *mut u8).add(port as usize / 8 % PORT_BYTES);
            core::ptr::write_volatile(byte, core::ptr::read_volatile(byte) | 1 << (port % 8));
        }
    }
}
