//! What the instrument `block` counts and tells: rows by disk, operation and owner, and whole requests.
//!
//! A disk is named by the kernel's own `dev_t` of the whole disk: 12 bits major, 20 bits minor. The owner of a
//! request is who dirtied the pages that it writes back, if its inode knows; else who submitted it.

/// Disks that can be followed at once.
pub const DISKS: usize = 8;
/// Row of the totals where every disk is followed.
pub const SLOT_ALL: u32 = 0;

/// Which disks are followed. Written whole by user space.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct DiskFilter {
    /// [`FOLLOW_NONE`] …
    pub follow: u32,
    pub _pad: u32,
    /// Requests that took at least this long from queue to end are sent, ns; 0 = all, `u64::MAX` = none.
    pub slower_ns: u64,
    /// 0 = free.
    pub disks: [u32; DISKS],
}

pub const FOLLOW_NONE: u32 = 0;
pub const FOLLOW_LISTED: u32 = 1;
pub const FOLLOW_ALL: u32 = 2;

/// Low bits of a request's flags.
pub const REQ_OP_MASK: u32 = 0xff;
pub const REQ_OP_READ: u32 = 0;
pub const REQ_OP_WRITE: u32 = 1;
pub const REQ_OP_FLUSH: u32 = 2;
pub const REQ_OP_DISCARD: u32 = 3;
/// Flags, the same on every kernel of the matrix.
pub const REQ_SYNC: u32 = 1 << 11;
pub const REQ_META: u32 = 1 << 12;
pub const REQ_FUA: u32 = 1 << 17;
pub const REQ_PREFLUSH: u32 = 1 << 18;
pub const REQ_RAHEAD: u32 = 1 << 19;
pub const REQ_BACKGROUND: u32 = 1 << 20;

/// Data read, data written, and all else (flushes, discards, requests without data).
pub const CLASSES: u32 = 3;
pub const CLASS_READ: u32 = 0;
pub const CLASS_WRITE: u32 = 1;
pub const CLASS_OTHER: u32 = 2;

pub const fn class(flags: u32, bytes: u32) -> u32 {
    match flags & REQ_OP_MASK {
        REQ_OP_READ if bytes > 0 => CLASS_READ,
        REQ_OP_WRITE if bytes > 0 => CLASS_WRITE,
        _ => CLASS_OTHER,
    }
}

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What is counted of each disk and class.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[expect(non_camel_case_types, reason = "the names are keys of the report as well")]
        #[repr(u32)]
        pub enum Total { $($(#[$doc])* $name),* }

        impl Total {
            pub const ALL: &'static [Total] = &[$(Total::$name),*];
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];
            pub const LEN: u32 = Self::ALL.len() as u32;
        }
    };
}

counts! {
    /// `block_bio_queue`
    bios,
    bio_bytes,
    /// `block_bio_backmerge`, `block_bio_frontmerge`
    backmerges,
    frontmerges,
    /// `block_split`: one bio becomes two.
    splits,
    /// `block_bio_remap`: from partition to disk, or by a mapper.
    remaps,
    /// `block_bio_complete` (since 5.8 only of bios that drivers end themselves).
    bio_completions,
    /// `block_getrq`: a bio that could not be merged becomes a request.
    getrqs,
    /// `block_plug`, `block_unplug`
    plugs,
    unplugs,
    /// `block_rq_insert`: given to the scheduler or the software queue.
    inserts,
    /// `block_rq_merge`: a request is taken into its neighbour.
    rq_merges,
    /// `block_rq_issue`: given to the driver, and what it held.
    issues,
    issued_bytes,
    /// `block_rq_requeue`: the driver gave it back.
    requeues,
    /// `block_rq_complete` of the last byte; the bytes of all parts.
    completions,
    completed_bytes,
    /// `block_rq_error`, or an error told with `block_rq_complete`.
    errors,
}

/// Rows of the map of totals, and behind them what found no room.
pub const TOTAL_ROWS: u32 = DISKS as u32 * CLASSES * Total::LEN;
pub const ROWS_FULL: u32 = TOTAL_ROWS;
pub const REQUESTS_FULL: u32 = TOTAL_ROWS + 1;
/// A request came to its end that was never seen to begin.
pub const UNKNOWN_END: u32 = TOTAL_ROWS + 2;
pub const TOTALS_LEN: u32 = TOTAL_ROWS + 3;

pub const fn total_row(slot: u32, class: u32, total: Total) -> u32 {
    (slot * CLASSES + class) * Total::LEN + total as u32
}

/// A task at work on a disk.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct Worker {
    /// 0 = not known.
    pub pid: u32,
    pub tgid: u32,
    /// Of the version 2 hierarchy.
    pub cgroup: u64,
    pub comm: [u8; 16],
}

/// One request, from its first bio to its last byte. Times are 0 for what did not happen.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct BlockRequest {
    pub rq: u64,
    /// 512 bytes each.
    pub sector: u64,
    /// Its first bio became a request (`block_getrq`).
    pub queued: u64,
    pub inserted: u64,
    /// Given to the driver: the first and the last time.
    pub first_issued: u64,
    pub issued: u64,
    /// Inode of its first page; 0 = the page is in no file (direct I/O, file systems' own memory).
    pub ino: u64,
    /// The inode was last marked dirty at this time, by `dirtier`.
    pub dirtied: u64,
    pub submitter: Worker,
    pub dirtier: Worker,
    /// The disk.
    pub dev: u32,
    /// Of the inode: its file system's, or of a block device its own.
    pub inode_dev: u32,
    /// `cmd_flags`
    pub flags: u32,
    /// Held at its first issue.
    pub bytes: u32,
    pub completed: u32,
    /// 0 = none: `blk_status_t`, before 5.14 an errno.
    pub error: i32,
    /// The lab's phase when it was queued.
    pub phase: u32,
    pub issues: u16,
    pub requeues: u16,
}

/// Where a request came from, kept until it is one.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Origin {
    pub queued: u64,
    pub worker: Worker,
    pub phase: u32,
    pub _pad: u32,
}

/// Who last made an inode's pages dirty.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Dirtier {
    pub at: u64,
    pub worker: Worker,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct RowKey {
    pub dev: u32,
    /// `REQ_OP_*`
    pub op: u32,
    /// Thread group of the owner.
    pub tgid: u32,
    pub _pad: u32,
    pub cgroup: u64,
}

/// Log-linear: four steps for each power of two of microseconds, from under 1 µs to over 67 s.
pub const BUCKETS: usize = 108;

/// The bucket of a time.
pub const fn bucket(ns: u64) -> u32 {
    let us = ns / 1000;
    if us < 4 {
        return us as u32;
    }
    let power = 63 - us.leading_zeros();
    let step = (us >> (power - 2)) as u32 & 3;
    let at = (power - 1) * 4 + step;
    if at < BUCKETS as u32 {
        at
    } else {
        BUCKETS as u32 - 1
    }
}

/// The smallest time in a bucket, µs.
pub const fn bucket_begin_us(at: u32) -> u64 {
    if at < 4 {
        return at as u64;
    }
    let (power, step) = (at / 4 + 1, at as u64 % 4);
    (4 + step) << (power - 2)
}

/// Times of the requests of one owner, one operation, one disk.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct Row {
    pub requests: u64,
    pub bytes: u64,
    /// Queue to issue, issue to end, ns.
    pub queue_ns: u64,
    pub device_ns: u64,
    pub queue_max: u64,
    pub device_max: u64,
    pub comm: [u8; 16],
    pub queue: [u32; BUCKETS],
    pub device: [u32; BUCKETS],
}

impl Row {
    pub const EMPTY: Row = Row {
        requests: 0,
        bytes: 0,
        queue_ns: 0,
        device_ns: 0,
        queue_max: 0,
        device_max: 0,
        comm: [0; 16],
        queue: [0; BUCKETS],
        device: [0; BUCKETS],
    };
}

/// Prealloc per CPU: a row is about 1 KiB.
pub const ROW_LIMIT: u32 = 512;
pub const REQUEST_LIMIT: u32 = 8192;
pub const ORIGIN_LIMIT: u32 = 8192;
pub const DIRTIER_LIMIT: u32 = 8192;

const _: () = {
    assert!(size_of::<DiskFilter>() == 48);
    assert!(size_of::<Worker>() == 32);
    assert!(size_of::<BlockRequest>() == 160);
    assert!(size_of::<Origin>() == 48);
    assert!(size_of::<Dirtier>() == 40);
    assert!(size_of::<RowKey>() == 24);
    assert!(size_of::<Row>() == 64 + 8 * BUCKETS);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_begin_where_they_say() {
        let mut last = 0;
        for us in (0..4096).chain((12..40).map(|power| (1 << power) + 7)) {
            let at = bucket(us * 1000);
            assert!(at >= last);
            last = at;
            assert!(bucket_begin_us(at) <= us);
            if at + 1 < BUCKETS as u32 {
                assert!(bucket_begin_us(at + 1) > us, "{us} is in {at}");
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS as u32 - 1);
    }

    #[test]
    fn requests_without_data_are_of_the_third_class() {
        assert_eq!(class(REQ_OP_READ | REQ_RAHEAD, 4096), CLASS_READ);
        assert_eq!(class(REQ_OP_WRITE | REQ_SYNC, 512), CLASS_WRITE);
        assert_eq!(class(REQ_OP_WRITE | REQ_PREFLUSH, 0), CLASS_OTHER);
        assert_eq!(class(REQ_OP_DISCARD, 4096), CLASS_OTHER);
    }
}
