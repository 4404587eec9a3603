//! Which disk a bio, a request, a queue or an inode belongs to, and whether it is followed.

use probes_common::ABSENT;
use probes_common::block::{DISKS, FOLLOW_ALL, FOLLOW_LISTED, SLOT_ALL};

use super::page::dev_of_inode;
use super::{BLOCK_FILTER, BLOCK_QUEUES};
use crate::offset;
use crate::read::Reads;

/// Kernel's `dev_t`: bits of the minor number.
const MINOR_BITS: u32 = 20;

#[derive(Clone, Copy)]
pub struct Disk {
    pub dev: u32,
    /// Its place in the filter and in the totals.
    pub slot: u32,
    /// `struct gendisk *`
    pub address: u64,
}

#[inline(always)]
fn listed(matches: impl Fn(u32) -> bool) -> Option<u32> {
    let filter = BLOCK_FILTER.get_ptr(0)?;
    // SAFETY: user space writes it at any time, hence volatile.
    match unsafe { core::ptr::read_volatile(&raw const (*filter).follow) } {
        FOLLOW_ALL => return Some(SLOT_ALL),
        FOLLOW_LISTED => {}
        _ => return None,
    }
    for slot in 0..DISKS {
        // SAFETY: as above.
        let disk = unsafe { core::ptr::read_volatile(&raw const (*filter).disks[slot]) };
        if disk != 0 && matches(disk) {
            return Some(slot as u32);
        }
    }
    None
}

#[inline(always)]
fn of_gendisk(reads: &mut Reads, address: u64) -> Option<Disk> {
    if address == 0 {
        return None;
    }
    let disk = address as *const u8;
    let major: u32 = reads.kernel(disk, offset!(disk_major));
    let minor: u32 = reads.kernel(disk, offset!(disk_first_minor));
    let dev = major << MINOR_BITS | minor;
    let slot = listed(|wanted| wanted == dev)?;
    Some(Disk { dev, slot, address })
}

#[inline(always)]
pub fn of_bio(reads: &mut Reads, bio: u64) -> Option<Disk> {
    let bio = bio as *const u8;
    let disk: u64 = if offset!(bio_disk) != ABSENT {
        reads.kernel(bio, offset!(bio_disk))
    } else {
        let bdev: u64 = reads.kernel(bio, offset!(bio_bdev));
        if bdev == 0 {
            return None;
        }
        reads.kernel(bdev as *const u8, offset!(bdev_disk))
    };
    of_gendisk(reads, disk)
}

#[inline(always)]
pub fn of_request(reads: &mut Reads, request: u64) -> Option<Disk> {
    let request = request as *const u8;
    let disk: u64 = if offset!(rq_disk) != ABSENT {
        reads.kernel(request, offset!(rq_disk))
    } else {
        let queue: u64 = reads.kernel(request, offset!(rq_queue));
        reads.kernel(queue as *const u8, offset!(queue_disk))
    };
    of_gendisk(reads, disk)
}

/// A queue does not say everywhere whose it is; the disk's first bio tells.
#[inline(always)]
pub fn learn_queue(reads: &mut Reads, disk: &Disk) {
    let queue: u64 = reads.kernel(disk.address as *const u8, offset!(disk_queue));
    if let Some(known) = BLOCK_QUEUES.get_ptr_mut(disk.slot) {
        // SAFETY: an aligned u64 of a map value.
        unsafe { core::ptr::write_volatile(known, queue) };
    }
}

#[inline(always)]
pub fn slot_of_queue(queue: u64) -> Option<u32> {
    let filter = BLOCK_FILTER.get_ptr(0)?;
    // SAFETY: user space writes it at any time, hence volatile.
    match unsafe { core::ptr::read_volatile(&raw const (*filter).follow) } {
        FOLLOW_ALL => return Some(SLOT_ALL),
        FOLLOW_LISTED => {}
        _ => return None,
    }
    for slot in 0..DISKS as u32 {
        // SAFETY: an aligned u64 of a map value.
        let known = BLOCK_QUEUES
            .get_ptr(slot)
            .map_or(0, |known| unsafe { core::ptr::read_volatile(known) });
        if queue != 0 && known == queue {
            return Some(slot);
        }
    }
    None
}

/// Is the inode on a followed disk, or on another one of the same driver? A file system may lie on a part of
/// the disk, whose minor number is another.
#[inline(always)]
pub fn has_inode(reads: &mut Reads, inode: u64) -> bool {
    let dev = dev_of_inode(reads, inode);
    listed(|wanted| wanted >> MINOR_BITS == dev >> MINOR_BITS).is_some()
}
