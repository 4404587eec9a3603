//! Field reads: a direct load where the program type allows it, `bpf_probe_read_kernel` elsewhere.
//!
//! A read that fails gives zeros (the helper fills them in) and is counted once per event: a branch after
//! each read would double the verifier's work each time (10 ms for one program, measured).

use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use probes_common::ABSENT;
use probes_common::control::counter::READ_FAILED;
use probes_common::offsets::unpacked_bits;

use crate::emit::count;
use crate::globals::direct;

/// The reads of one event.
pub struct Reads(i64);

impl Reads {
    #[inline(always)]
    pub fn new() -> Reads {
        Reads(0)
    }

    /// Reads a field behind a pointer that came typed from the hook's arguments.
    ///
    /// # Safety
    /// `base` must be an argument of the hook and `offset` that of a field with `T`'s size.
    #[inline(always)]
    pub unsafe fn typed<T: Copy + Default>(&mut self, base: *const u8, offset: u32) -> T {
        if offset == ABSENT {
            return T::default();
        }
        if direct() {
            // SAFETY: the verifier checks offset and size against the kernel's own type.
            return unsafe { core::ptr::read_volatile(base.add(offset as usize) as *const T) };
        }
        self.kernel(base, offset)
    }

    /// Reads a field behind any kernel pointer.
    #[inline(always)]
    pub fn kernel<T: Copy + Default>(&mut self, base: *const u8, offset: u32) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        self.kernel_into(base, offset, value.as_mut_ptr());
        // SAFETY: the helper wrote the value or zeros; plain integers.
        unsafe { value.assume_init() }
    }

    /// Reads a field to where it is wanted.
    #[inline(always)]
    pub fn kernel_into<T: Copy + Default>(&mut self, base: *const u8, offset: u32, to: *mut T) {
        if offset == ABSENT {
            // SAFETY: `to` has room for a T.
            unsafe { to.write(T::default()) };
            return;
        }
        let from = base.wrapping_add(offset as usize);
        // SAFETY: the helper copes with any source address; `to` has room for a T.
        self.0 |= unsafe { bpf_probe_read_kernel(to.cast(), size_of::<T>() as u32, from.cast()) };
    }

    /// Reads a bit field; `entry` is that of the offsets table.
    #[inline(always)]
    pub fn bits(&mut self, base: *const u8, entry: u32) -> u8 {
        if entry == ABSENT {
            return 0;
        }
        let (offset, shift, width) = unpacked_bits(entry);
        let byte: u8 = self.kernel(base, offset);
        // Width 0: no bit field on this kernel.
        let width = if width == 0 { 8 } else { width };
        byte >> (shift & 7) & ((1u32 << width) - 1) as u8
    }

    /// An argument of the hook as a plain number: its index may vary, and the verifier knows nothing of what
    /// it points to, so that it may be null or looked at beyond its type.
    #[inline(always)]
    pub fn argument(&mut self, ctx: &impl EbpfContext, index: u32) -> u64 {
        self.kernel(ctx.as_ptr() as *const u8, index * 8)
    }

    #[inline(always)]
    pub fn user<T: Copy + Default>(&mut self, address: u64) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        let (to, size) = (value.as_mut_ptr().cast(), size_of::<T>() as u32);
        // SAFETY: as above.
        unsafe {
            self.0 |= bpf_probe_read_user(to, size, address as *const _);
            value.assume_init()
        }
    }

    /// Counts the event if one of its reads failed.
    #[inline(always)]
    pub fn done(self) {
        if self.0 != 0 {
            count(READ_FAILED);
        }
    }
}
