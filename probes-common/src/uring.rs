//! Event payloads of io_uring: one record for each completion, with the way that its request took.

/// [`UringDone::ways`]: the request waited for its file to become ready (`io_uring_poll_arm`).
pub const WAY_POLLED: u8 = 1;
/// A worker thread did it (`io_uring_queue_async_work`).
pub const WAY_WORKER: u8 = 2;
/// It was completed under `io_submit_sqes`, that is by whoever submitted it and before that call returned.
pub const WAY_INLINE: u8 = 4;
/// Neither the request nor its submission is known: a further completion of a multishot request, or a message.
pub const WAY_EXTRA: u8 = 8;
/// A further completion of the same request is to follow (IORING_CQE_F_MORE).
pub const WAY_MORE: u8 = 16;

/// Frames of kernel stack looked through for `io_submit_sqes`.
pub const URING_STACK_DEPTH: usize = 20;

/// Which request. Up to 5.10 completions tell no request: there it is the ring and `user_data`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct UringKey {
    pub request: u64,
    pub user_data: u64,
}

/// `io_uring_complete` of a request that a followed task submitted; the header has whoever completed it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct UringDone {
    /// `struct io_ring_ctx *`
    pub ring: u64,
    /// `struct io_kiocb *`; reused. 0 = not told by this kernel.
    pub request: u64,
    pub user_data: u64,
    /// CLOCK_MONOTONIC, nanoseconds; 0 = did not happen.
    pub submitted_ns: u64,
    /// First time that it was armed.
    pub polled_ns: u64,
    /// First time that it was given to a worker.
    pub queued_ns: u64,
    /// Who submitted it.
    pub pid: u32,
    pub tgid: u32,
    /// Bytes or minus errno.
    pub res: i32,
    pub cqe_flags: u32,
    /// Times that it was armed.
    pub polls: u16,
    /// IORING_OP_*
    pub opcode: u8,
    pub ways: u8,
    pub _pad: u32,
    pub comm: [u8; 16],
}

/// `io_uring_cqe_overflow` (6.1 and later): the completion found no room in the ring.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct UringOverflow {
    pub ring: u64,
    pub user_data: u64,
    pub res: i32,
    pub cqe_flags: u32,
}

const _: () = {
    assert!(size_of::<UringDone>() == 88);
    assert!(size_of::<UringOverflow>() == 24);
};
