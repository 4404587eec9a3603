//! The page cache as the programs count it: a row per file, process and control group, read once by user space.
//!
//! Pages are weighed: a folio of order 3 counts eight. A page is *asked for* when a read call's bytes lie in
//! it; it is a *first use* when read-ahead brought it in and nobody had asked for it before.

/// What the pages of a row belong to.
pub mod owner {
    /// No file: what is known of the process alone (its page faults).
    pub const NONE: u32 = 0;
    pub const FILE: u32 = 1;
    /// A block device's own pages: `Buffers` of /proc/meminfo.
    pub const DEVICE: u32 = 2;
    /// tmpfs and shared memory: swappable, and not inserted through the page cache's own hook.
    pub const SHMEM: u32 = 3;
    pub const SWAP: u32 = 4;
    /// Directories, symbolic links and the like.
    pub const OTHER: u32 = 5;
    pub const ALL: u32 = 6;
}

/// Most rows; what finds no room is counted in [`total::ROWS_FULL`].
pub const ROW_LIMIT: u32 = 8192;
pub const FILE_LIMIT: u32 = 8192;
/// Pieces of [`CHUNK_PAGES`] pages with a page that was read ahead and not asked for yet.
pub const CHUNK_LIMIT: u32 = 32768;
pub const CALL_LIMIT: u32 = 16384;
pub const CHUNK_PAGES: u32 = 64;
pub const NAME_LEN: usize = 48;

#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct RowKey {
    /// 0 for a block device.
    pub ino: u64,
    /// Of the unified hierarchy.
    pub cgroup: u64,
    /// The kernel's own `dev_t`: of the file's superblock, or of the block device itself.
    pub dev: u32,
    pub tgid: u32,
    pub owner: u32,
    pub _pad: u32,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct FileKey {
    pub ino: u64,
    pub dev: u32,
    pub owner: u32,
}

/// The last part of the file's path, as it was when it was first seen.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct FileName {
    pub name: [u8; NAME_LEN],
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct ChunkKey {
    pub ino: u64,
    pub dev: u32,
    pub chunk: u32,
}

/// A bit per page.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Chunk {
    /// Brought in by read-ahead of each kind ([`ahead`]) and still in the cache.
    pub ahead: [u64; 3],
    /// Of those, asked for since.
    pub used: u64,
}

/// Kinds of read-ahead.
pub mod ahead {
    /// Beyond what was asked for, by a call that found a page missing.
    pub const SYNC: usize = 0;
    /// Beyond what was asked for, by a call that found all it asked for: the window is moved on in time.
    pub const ASYNC: usize = 1;
    /// On request: readahead(2), posix_fadvise, madvise.
    pub const ADVISED: usize = 2;
}

/// What a task is doing, and the read call it is in. By thread.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Call {
    pub what: u32,
    pub dev: u32,
    pub ino: u64,
    pub owner: u32,
    /// 0, or what the kernel's own tracepoint said of the read-ahead under way: [`ahead`] plus one.
    pub mode: u32,
    pub pos: u64,
    /// Pages asked for.
    pub first: u64,
    pub last: u64,
    /// Of those, brought in by this call.
    pub missed: u64,
    /// `struct address_space *`
    pub mapping: u64,
    pub inode: u64,
    /// Page faults so far, and at the last insertion.
    pub faults: u64,
    pub fault_counted: u64,
    /// Where the last read call ended: what goes on within a page does not ask for it anew.
    pub end_ino: u64,
    pub end_pos: u64,
    pub end_dev: u32,
    pub _pad: u32,
    /// Of the call that ends: pages asked for the first time since they were read ahead, by [`ahead`].
    pub fresh: [u64; 3],
}

/// [`Call::what`]
pub mod doing {
    /// Not known: a call that is not followed.
    pub const OTHER: u32 = 0;
    /// In user space: an insertion is a page fault's.
    pub const USER: u32 = 1;
    pub const READ: u32 = 2;
    pub const WRITE: u32 = 3;
    pub const ADVICE: u32 = 4;
    /// A read or write that goes past the cache.
    pub const DIRECT: u32 = 5;
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Places in [`Row::counts`].
        #[expect(non_camel_case_types, reason = "the names are keys of the report as well")]
        #[derive(Clone, Copy)]
        #[cfg_attr(feature = "user", derive(Debug, PartialEq, Eq, PartialOrd, Ord))]
        #[repr(usize)]
        pub enum Count { $($(#[$doc])* $name),* }

        impl Count {
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];
            pub const ALL: &'static [Count] = &[$(Count::$name),*];
            pub const LEN: usize = Self::ALL.len();
        }
    };
}

counters! {
    /// Read calls that asked the page cache and got something.
    read_calls,
    read_bytes,
    /// Pages asked for by them.
    asked,
    /// Of those, brought in by the call itself.
    missed_in_call,
    /// Of those, first use of a page that read-ahead had brought in before.
    missed_sync,
    missed_async,
    missed_advised,
    /// Pages inserted within what a read call asked for.
    inserted_read,
    /// Beyond it, by a call that found a page missing.
    inserted_sync,
    /// Beyond it, by a call that found all it asked for.
    inserted_async,
    inserted_advised,
    /// By a page fault.
    inserted_fault,
    inserted_write,
    inserted_direct,
    /// By other calls, or by a task that is not followed.
    inserted_other,
    /// Insertions as the kernel told them: one per folio.
    insert_events,
    /// Brought in by a read call that did not deliver them.
    undelivered,
    deleted,
    /// Read ahead and deleted without having been asked for.
    unused_sync,
    unused_async,
    unused_advised,
    write_calls,
    write_bytes,
    /// Clean pages that became dirty.
    dirtied,
    /// By requests for the device, in the context of who wrote the pages back.
    written_back_bytes,
    written_back_requests,
    device_read_bytes,
    device_read_requests,
    /// Calls with O_DIRECT.
    direct_calls,
    direct_bytes,
    /// Read calls of files that keep no pages (/proc and the like).
    uncached_calls,
    /// Page faults of the process in user space, whatever they touched.
    user_faults,
    /// Page faults that had to bring in a page.
    faults_missed,
    /// Page faults on this file, where the kernel tells (6.12 and later).
    file_faults,
    /// Faults that mapped pages around them.
    faults_around,
    /// Look-ups by read calls, where the kernel tells (6.12 and later).
    lookups,
    /// Read-ahead as the kernel's own tracepoints tell it (6.18 and later).
    ra_sync_calls,
    ra_async_calls,
    /// Pages asked for a second time and made active.
    activated,
    /// CLOCK_MONOTONIC, nanoseconds; 0 = never.
    first_dirtied_ns,
    last_dirtied_ns,
    first_written_back_ns,
    last_written_back_ns,
}

impl Count {
    /// A time: rows are joined by the least or the greatest that is not 0, not by the sum.
    pub const fn is_time(self) -> bool {
        matches!(
            self,
            Count::first_dirtied_ns
                | Count::last_dirtied_ns
                | Count::first_written_back_ns
                | Count::last_written_back_ns
        )
    }

    pub const fn is_first(self) -> bool {
        matches!(self, Count::first_dirtied_ns | Count::first_written_back_ns)
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Row {
    pub counts: [u64; Count::LEN],
    /// Of the task that made the row.
    pub comm: [u8; 16],
}

impl Row {
    pub const EMPTY: Row = Row {
        counts: [0; Count::LEN],
        comm: [0; 16],
    };
}

/// Rows of the totals: pages of everybody, followed or not.
pub mod total {
    use super::owner;

    /// Plus the owner.
    pub const INSERTED: u32 = 0;
    pub const DELETED: u32 = owner::ALL;
    /// Pages that found no row.
    pub const ROWS_FULL: u32 = 2 * owner::ALL;
    /// Pages read ahead of which nobody keeps whether they were used.
    pub const CHUNKS_FULL: u32 = ROWS_FULL + 1;
    /// Read calls that found no room to be remembered.
    pub const CALLS_FULL: u32 = ROWS_FULL + 2;
    /// Pages asked for by one call beyond what is looked through.
    pub const TOO_LONG: u32 = ROWS_FULL + 3;
    pub const LEN: u32 = ROWS_FULL + 4;
}

const _: () = {
    assert!(size_of::<RowKey>() == 32);
    assert!(size_of::<FileKey>() == 16);
    assert!(size_of::<ChunkKey>() == 16);
    assert!(size_of::<Chunk>() == 32);
    assert!(size_of::<Call>() == 136);
    assert!(size_of::<Row>() == 8 * Count::LEN + 16);
};
