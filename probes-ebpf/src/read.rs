//! Field reads: a direct load where the program type allows it, `bpf_probe_read_kernel` elsewhere.

use aya_ebpf::helpers::{bpf_probe_read_kernel, bpf_probe_read_user};
use probes_common::ABSENT;

use crate::emit::count;
use crate::globals::direct;
use probes_common::control::counter::READ_FAILED;

/// Reads a field behind a pointer that came typed from the hook's arguments.
///
/// # Safety
/// `base` must be an argument of the hook and `offset` that of a field with `T`'s size.
#[inline(always)]
pub unsafe fn typed<T: Copy + Default>(base: *const u8, offset: u32) -> T {
    if offset == ABSENT {
        return T::default();
    }
    if direct() {
        // SAFETY: the verifier checks offset and size against the kernel's own type.
        return unsafe { core::ptr::read_volatile(base.add(offset as usize) as *const T) };
    }
    kernel(base, offset)
}

/// Reads a field behind any kernel pointer. A failed read counts and gives the default.
#[inline(always)]
pub fn kernel<T: Copy + Default>(base: *const u8, offset: u32) -> T {
    if offset == ABSENT || base.is_null() {
        return T::default();
    }
    // SAFETY: the helper copes with any address.
    match unsafe { bpf_probe_read_kernel(base.wrapping_add(offset as usize) as *const T) } {
        Ok(value) => value,
        Err(_) => {
            count(READ_FAILED);
            T::default()
        }
    }
}

#[inline(always)]
pub fn user<T: Copy + Default>(address: u64) -> T {
    // SAFETY: the helper copes with any address.
    match unsafe { bpf_probe_read_user(address as *const T) } {
        Ok(value) => value,
        Err(_) => {
            count(READ_FAILED);
            T::default()
        }
    }
}
