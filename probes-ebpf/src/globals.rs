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
