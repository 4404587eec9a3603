//! Rows that the instruments `copy` and `syscalls` count in: one for each action of the lab, per CPU.
//!
//! Copies and system calls come too often to be sent one by one. A row is chosen by the phase number, read once
//! when the action is over, and compared with what it held before.

/// Actions whose rows are kept apart; the row of a phase is `phase % SLOTS`.
pub const SLOTS: u32 = 64;

macro_rules! row {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq)]
        #[cfg_attr(feature = "user", derive(Debug))]
        #[repr(C)]
        pub struct $name { $($(#[$field_doc])* pub $field: u64),* }

        impl $name {
            pub const LEN: usize = [$(stringify!($field)),*].len();

            pub const fn from_values(values: [u64; Self::LEN]) -> Self {
                let [$($field),*] = values;
                $name { $($field),* }
            }

            pub const fn to_values(self) -> [u64; Self::LEN] {
                [$(self.$field),*]
            }
        }
    };
}

row! {
    /// What became of the payload. Pages are told apart by who owns them (`page.mapping`).
    CopyRow {
        /// TCP segments with payload handed to a device, each when it is first sent.
        sent_segments,
        /// Their payload, bytes, in sum and by where it lies.
        sent_bytes,
        sent_linear_bytes,
        /// Pages that belong to nobody: the kernel took them for a copy.
        sent_kernel_bytes,
        /// Pages of a process's own memory.
        sent_anon_bytes,
        /// Pages of the file whose number is in `inode`.
        sent_file_bytes,
        /// Anything else: pages of a second file, memory of a device.
        sent_other_bytes,
        /// Payload of segments that were sent before, which is in none of the others.
        resent_bytes,
        /// Copies out of a packet to a receiver's memory: calls and bytes, and where those bytes lay.
        received_copies,
        received_bytes,
        received_linear_bytes,
        received_kernel_bytes,
        received_anon_bytes,
        received_file_bytes,
        received_other_bytes,
        /// Pages allocated while the sender or the receiver was current.
        sender_pages,
        receiver_pages,
        /// The sender's page faults from user mode, and from inside the kernel.
        faults_user,
        faults_kernel,
        /// What came into `tcp_sendmsg_locked` with an iterator over user memory, over pages (function probe).
        asked_user_bytes,
        asked_page_bytes,
        /// Turns of its loop by the same (tracepoint).
        turns_user,
        turns_page,
        /// What a file's own read gave to an iterator over user memory, and to another (function probe).
        read_user_bytes,
        read_other_bytes,
        /// Number of the file whose pages were sent or received; no count.
        inode,
    }
}

row! {
    /// System calls of one family by the followed tasks.
    CallRow {
        entries,
        returns,
        /// Returned an error.
        failed,
        /// What the successful ones returned.
        returned,
    }
}

/// Families of system calls, in the order of their rows.
pub const FAMILIES: [&str; 10] = [
    "read",
    "write",
    "sendfile",
    "splice",
    "mmap",
    "send",
    "recv",
    "io_uring_enter",
    "poll",
    "other",
];

/// The family of an x86-64 system call.
#[inline(always)]
pub const fn family(nr: u64) -> u32 {
    match nr {
        // read, pread64, readv, preadv, preadv2
        0 | 17 | 19 | 295 | 327 => 0,
        // write, pwrite64, writev, pwritev, pwritev2
        1 | 18 | 20 | 296 | 328 => 1,
        40 => 2,
        // splice, tee, vmsplice
        275 | 276 | 278 => 3,
        // mmap, munmap, madvise
        9 | 11 | 28 => 4,
        // sendto, sendmsg, sendmmsg
        44 | 46 | 307 => 5,
        // recvfrom, recvmsg, recvmmsg
        45 | 47 | 299 => 6,
        426 => 7,
        // poll, ppoll
        7 | 271 => 8,
        _ => 9,
    }
}

const _: () = assert!(size_of::<CopyRow>() == 8 * CopyRow::LEN && size_of::<CallRow>() == 32);
