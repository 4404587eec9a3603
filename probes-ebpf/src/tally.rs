//! Rows of counts by the lab's action, and what the pages of a packet belong to.
//!
//! A page's owner stands in the `mapping` of its first page: none (the kernel took it for itself), anonymous
//! (a process's own memory) or a file's. On 7.2 a later page says where the first is by a mask, before by its
//! address (include/linux/page-flags.h).

use probes_common::ABSENT;
use probes_common::copy::{CallRow, CopyRow, FAMILIES, SLOTS};

use crate::filter::control;
use crate::maps::{CALLS, COPIES};
use crate::offset;
use crate::read::Reads;

/// MAX_SKB_FRAGS as built by default (include/linux/skbuff.h).
const FRAGS: usize = 17;
/// PAGE_MAPPING_FLAGS: anonymous memory, in any of its forms.
const MAPPING_FLAGS: u64 = 3;

/// Adds to a cell of this CPU's; whatever interrupts it loses nothing.
///
/// # Safety
/// `cell` is a u64 in a map's value.
#[inline(always)]
pub unsafe fn add(cell: *mut u64, value: u64) {
    // SAFETY: aligned u64 in a map value; see `emit::count_exact`.
    unsafe {
        core::arch::asm!("lock *(u64 *)({cell} + 0) += {value}", cell = in(reg) cell, value = in(reg) value);
    }
}

/// The same number, of which the compiler knows nothing: a comparison that it would leave out, because it knows
/// better, stays for the verifier, who does not.
#[inline(always)]
pub fn opaque(mut value: u64) -> u64 {
    // SAFETY: does nothing.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) value) };
    value
}

#[inline(always)]
fn slot() -> u32 {
    match control() {
        // SAFETY: user space writes the phase at any time, hence volatile.
        Some(control) => unsafe { core::ptr::read_volatile(&raw const control.phase) % SLOTS },
        None => 0,
    }
}

/// This CPU's row of the action under way.
#[inline(always)]
pub fn row() -> Option<*mut CopyRow> {
    COPIES.get_ptr_mut(slot())
}

#[inline(always)]
pub fn call_row(family: u32) -> Option<*mut CallRow> {
    CALLS.get_ptr_mut(slot() * FAMILIES.len() as u32 + family)
}

/// Payload of one packet by where it lies.
#[derive(Clone, Copy, Default)]
pub struct Places {
    pub linear: u64,
    pub kernel: u64,
    pub anon: u64,
    pub file: u64,
    pub other: u64,
}

impl Places {
    /// Looks at every page of the packet; its linear part is the caller's to tell.
    #[inline(always)]
    pub fn of(reads: &mut Reads, skb: *const u8, row: *mut CopyRow) -> Places {
        let mut places = Places::default();
        let head: u64 = reads.kernel(skb, offset!(skb_head));
        let end: u32 = reads.kernel(skb, offset!(skb_end));
        let shared = (head + end as u64) as *const u8;
        let count: u8 = reads.kernel(shared, offset!(shinfo_nr_frags));
        let frags = shared.wrapping_add(offset!(shinfo_frags) as usize);
        for index in 0..FRAGS {
            if index >= count as usize {
                break;
            }
            let frag = frags.wrapping_add(index * 16);
            let page: u64 = reads.kernel(frag, offset!(frag_page));
            let bytes: u32 = reads.kernel(frag, offset!(frag_len));
            places.page(reads, page, bytes as u64, row);
        }
        places
    }

    #[inline(always)]
    fn page(&mut self, reads: &mut Reads, page: u64, bytes: u64, row: *mut CopyRow) {
        // A device's memory has no page.
        if page & 1 != 0 {
            self.other += bytes;
            return;
        }
        let first = first_page(reads, page) as *const u8;
        let mapping: u64 = reads.kernel(first, offset!(page_mapping));
        if mapping == 0 {
            self.kernel += bytes;
        } else if mapping & MAPPING_FLAGS != 0 {
            self.anon += bytes;
        } else {
            let host: u64 = reads.kernel(mapping as *const u8, offset!(mapping_host));
            let inode: u64 = reads.kernel(host as *const u8, offset!(inode_ino));
            // SAFETY: this CPU's row.
            let known = unsafe { core::ptr::read_volatile(&raw const (*row).inode) };
            if known == 0 {
                // SAFETY: as above; what interrupts here writes the same number or is told apart.
                unsafe { core::ptr::write_volatile(&raw mut (*row).inode, inode) };
            }
            if known == 0 || known == inode {
                self.file += bytes;
            } else {
                self.other += bytes;
            }
        }
    }

    #[inline(always)]
    pub fn paged(&self) -> u64 {
        self.kernel + self.anon + self.file + self.other
    }
}

#[inline(always)]
fn first_page(reads: &mut Reads, page: u64) -> u64 {
    if offset!(page_compound) == ABSENT {
        return page;
    }
    let compound: u64 = reads.kernel(page as *const u8, offset!(page_compound));
    if compound & 1 == 0 {
        page
    } else if compound >> 32 == 0xffff_ffff {
        page & compound
    } else {
        compound - 1
    }
}
