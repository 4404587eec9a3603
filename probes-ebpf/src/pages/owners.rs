//! Whose page is it: a file's, a block device's, shared memory's; and how many pages a folio is.

use probes_common::ABSENT;
use probes_common::pages::{FileKey, owner};

use crate::read::Reads;
use crate::{config, offset};

const S_IFMT: u16 = 0o170_000;
const S_IFREG: u16 = 0o100_000;
const S_IFBLK: u16 = 0o060_000;
const TMPFS_MAGIC: u64 = 0x0102_1994;
/// `struct page` is 64 bytes on x86-64: the second page of a compound one.
const SECOND_PAGE: u32 = 64;

/// The owner of an inode's pages. `TYPED`: the pointer came from the hook's arguments.
#[inline(always)]
pub fn owner_of<const TYPED: bool>(reads: &mut Reads, inode: *const u8) -> FileKey {
    let mode: u16 = field::<TYPED, _>(reads, inode, offset!(inode_mode));
    if mode & S_IFMT == S_IFBLK {
        return FileKey {
            ino: 0,
            dev: field::<TYPED, _>(reads, inode, offset!(inode_rdev)),
            owner: owner::DEVICE,
        };
    }
    let sb: u64 = field::<TYPED, _>(reads, inode, offset!(inode_sb));
    let magic: u64 = field::<TYPED, _>(reads, sb as *const u8, offset!(sb_magic));
    let owner = if magic == TMPFS_MAGIC {
        owner::SHMEM
    } else if mode & S_IFMT == S_IFREG {
        owner::FILE
    } else {
        owner::OTHER
    };
    FileKey {
        ino: field::<TYPED, _>(reads, inode, offset!(inode_ino)),
        dev: field::<TYPED, _>(reads, sb as *const u8, offset!(sb_dev)),
        owner,
    }
}

#[inline(always)]
pub fn field<const TYPED: bool, T: Copy + Default>(
    reads: &mut Reads,
    base: *const u8,
    offset: u32,
) -> T {
    if TYPED {
        // SAFETY: the caller's `TYPED` says that the pointer came typed from the hook's arguments.
        unsafe { reads.typed(base, offset) }
    } else {
        reads.kernel(base, offset)
    }
}

/// Pages of a folio (of a compound page before there were folios).
#[inline(always)]
pub fn pages_of<const TYPED: bool>(reads: &mut Reads, folio: *const u8, argument: u64) -> u64 {
    let flags: u64 = field::<TYPED, _>(reads, folio, offset!(page_flags));
    if flags >> (config!(page_head_bit) & 63) & 1 == 0 {
        return 1;
    }
    // Beyond what the type tells before 6.18, hence by probe read.
    let pages: u32 = if offset!(folio_nr_pages) != ABSENT {
        reads.kernel(argument as *const u8, offset!(folio_nr_pages))
    } else if offset!(page_compound_nr) != ABSENT {
        reads.kernel(
            argument as *const u8,
            offset!(page_compound_nr) + SECOND_PAGE,
        )
    } else {
        1
    };
    pages as u64
}

/// The inode that any page belongs to; 0 = memory that no file owns. What lies where `mapping` would be in a
/// page of another use (a slab's) is found out by the way back; reads that fail there mean nothing.
#[inline(always)]
pub fn inode_of_page(page: u64) -> u64 {
    let mut reads = Reads::new();
    let word: u64 = reads.kernel(page as *const u8, offset!(page_compound_head));
    let mut head = page;
    if word & 1 != 0 {
        // The address of the first page, or (where the kernel prefers it) the mask that gives it.
        let rest = word & !1;
        let size = rest.wrapping_neg();
        head = if size & size.wrapping_sub(1) == 0 {
            page & rest
        } else {
            rest
        };
    }
    let mapping: u64 = reads.kernel(head as *const u8, offset!(folio_mapping));
    // The low bits say anonymous, or a driver's.
    if mapping == 0 || mapping & 3 != 0 {
        return 0;
    }
    let inode: u64 = reads.kernel(mapping as *const u8, offset!(mapping_host));
    let back: u64 = reads.kernel(inode as *const u8, offset!(inode_mapping));
    if back == mapping { inode } else { 0 }
}
