//! Read-only globals. `read_volatile` keeps rustc from folding the placeholder in; the verifier, which sees
//! the frozen map, folds the real value.

use core::ptr::read_volatile;

use probes_common::{Offsets, config::Config};

#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::NONE;

#[unsafe(no_mangle)]
static CONFIG: Config = Config::NONE;

/// One field of the offsets table.
#[macro_export]
macro_rules! offset {
    ($field:ident) => {
        $crate::globals::offset(|offsets| unsafe { &raw const (*offsets).$field })
    };
}

#[inline(always)]
pub fn offset(field: impl FnOnce(*const Offsets) -> *const u32) -> u32 {
    // SAFETY: the pointer is to a field of a static.
    unsafe { read_volatile(field(&raw const OFFSETS)) }
}

/// True when the programs were loaded as tp_btf/fentry/fexit: typed pointers may be read directly.
#[inline(always)]
pub fn direct() -> bool {
    // SAFETY: a static.
    unsafe { read_volatile(&raw const CONFIG.direct) != 0 }
}

#[inline(always)]
pub fn pid_mask() -> u32 {
    // SAFETY: a static.
    unsafe { read_volatile(&raw const CONFIG.pid_mask) }
}

/// `sched_switch` has prev_state as its fourth argument (since 5.18, and in stable trees).
#[inline(always)]
pub fn switch_has_state() -> bool {
    // SAFETY: a static.
    unsafe { read_volatile(&raw const CONFIG.switch_has_state) != 0 }
}

#[inline(always)]
pub fn bracketed() -> bool {
    // SAFETY: a static.
    unsafe { read_volatile(&raw const CONFIG.bracketed) != 0 }
}

/// Is this system call followed? One bit per x86-64 number below 512.
#[inline(always)]
pub fn follows_syscall(nr: u64) -> bool {
    if nr >= 512 {
        return false;
    }
    // SAFETY: nr / 64 < 8.
    let word = unsafe {
        let words = &raw const CONFIG.syscalls as *const u64;
        read_volatile(words.add((nr / 64) as usize))
    };
    word >> (nr % 64) & 1 != 0
}

/// One switch or number of the configuration.
#[macro_export]
macro_rules! config {
    ($field:ident) => {
        $crate::globals::config(|config| unsafe { &raw const (*config).$field })
    };
}

#[inline(always)]
pub fn config(field: impl FnOnce(*const Config) -> *const u32) -> u32 {
    // SAFETY: the pointer is to a field of a static.
    unsafe { read_volatile(field(&raw const CONFIG)) }
}

/// Which timer of TCP's runs this function: `probes_common::tcp::TIMER_WRITE` …; 0 = none.
#[inline(always)]
pub fn timer_of(function: u64) -> u8 {
    // SAFETY: five u64 of a static.
    let address = |index: usize| unsafe {
        read_volatile((&raw const CONFIG.timers as *const u64).add(index))
    };
    let mut which = 0;
    // Unrolled; an unknown function has address 0, which no timer under way has.
    for index in 0..5 {
        if function == address(index) {
            which = index as u8 + 1;
        }
    }
    if function == 0 { 0 } else { which }
}

/// Begin and end of `io_submit_sqes`; 0 = not known.
#[inline(always)]
pub fn submit_sqes() -> [u64; 2] {
    // SAFETY: two u64 of a static.
    let address = |index: usize| unsafe {
        read_volatile((&raw const CONFIG.submit_sqes as *const u64).add(index))
    };
    [address(0), address(1)]
}
