//! The inode that a bio's first page belongs to.

use crate::offset;
use crate::read::Reads;

const S_IFMT: u16 = 0o170_000;
const S_IFBLK: u16 = 0o060_000;
/// Bytes of a `struct bio_vec`.
const BVEC: u64 = 16;
/// Low bits of `page.mapping` that say it is none of a file.
const NOT_A_FILE: u64 = 3;

pub struct Inode {
    pub address: u64,
    pub ino: u64,
    pub dev: u32,
}

/// None where the page is in no file: direct I/O from a task's own memory, buffers of a file system.
#[inline(always)]
pub fn inode_of_bio(bio: u64) -> Option<Inode> {
    // Reads that fail here tell that it is no file's page, and are not counted.
    let reads = &mut Reads::new();
    if bio == 0 {
        return None;
    }
    let bio = bio as *const u8;
    let vector: u64 = reads.kernel(bio, offset!(bio_io_vec));
    if vector == 0 {
        return None;
    }
    let index: u32 = reads.kernel(bio, offset!(bio_idx));
    let entry = vector + index as u64 * BVEC;
    let page: u64 = reads.kernel(entry as *const u8, offset!(bvec_page));
    if page == 0 {
        return None;
    }
    let folio = head_of(reads, page);
    let mapping: u64 = reads.kernel(folio as *const u8, offset!(folio_mapping));
    if mapping == 0 || mapping & NOT_A_FILE != 0 {
        return None;
    }
    let address: u64 = reads.kernel(mapping as *const u8, offset!(mapping_host));
    if address == 0 {
        return None;
    }
    // Memory of the slab allocator's has other things where a page has its mapping.
    let back: u64 = reads.kernel(address as *const u8, offset!(inode_mapping));
    if back != mapping {
        return None;
    }
    Some(Inode {
        address,
        ino: reads.kernel(address as *const u8, offset!(inode_ino)),
        dev: dev_of_inode(reads, address),
    })
}

/// The word of a tail page is its head's address plus one, or (where the size of a page's struct is a power of
/// two, since 7.0) a mask that leaves the head's: no address of a page has all its upper bits set.
#[inline(always)]
fn head_of(reads: &mut Reads, page: u64) -> u64 {
    let word: u64 = reads.kernel(page as *const u8, offset!(page_compound_head));
    if word & 1 == 0 {
        page
    } else if word >> 32 == 0xffff_ffff {
        page & word
    } else {
        word - 1
    }
}

/// Of a block device's own inode the device, of others that of their file system.
#[inline(always)]
pub fn dev_of_inode(reads: &mut Reads, inode: u64) -> u32 {
    let inode = inode as *const u8;
    let mode: u16 = reads.kernel(inode, offset!(inode_mode));
    if mode & S_IFMT == S_IFBLK {
        return reads.kernel(inode, offset!(inode_rdev));
    }
    let block: u64 = reads.kernel(inode, offset!(inode_sb));
    reads.kernel(block as *const u8, offset!(sb_dev))
}
