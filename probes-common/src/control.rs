//! Values of the maps that user space maps into its own memory.

/// One record, written by user space, read by every program.
#[derive(Clone, Copy, Default)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct Control {
    /// 0 = emit nothing. Cut to 0 before the lab's workers end.
    pub enabled: u32,
    /// Number of the action now under way; copied into every event.
    pub phase: u32,
    /// Network namespace whose sockets are followed; 0 = any.
    pub netns: u32,
    /// Name that an exec must give a task for it to be watched; all zero = none.
    pub exec_comm: [u8; 16],
    pub _pad: u32,
    pub sockets: SockFilter,
}

/// Which sockets the instruments of TCP follow, beside `Control::netns`: all that is not 0 must be met.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct SockFilter {
    /// 0 = no socket is followed.
    pub on: u32,
    /// 2 = AF_INET, 10 = AF_INET6.
    pub family: u16,
    pub local_port: u16,
    pub remote_port: u16,
    pub _pad: u16,
    pub _pad2: u32,
    /// IPv4 in the first four bytes.
    pub local_addr: [u8; 16],
    pub remote_addr: [u8; 16],
}

/// Bits of a task's byte in the WATCH map (one byte per pid).
#[derive(Debug, Clone, Copy)]
pub struct Task;

impl Task {
    /// Events of this task are sent.
    pub const WATCHED: u8 = 1;
    /// Its future children and threads are watched too.
    pub const FOLLOW: u8 = 2;
    /// The lab's client: its system calls and switches are sent, but it is no waiter.
    pub const CLIENT: u8 = 4;
}

/// Largest pid number a kernel can hand out (PID_MAX_LIMIT, include/linux/threads.h), and so the
/// largest byte-per-pid map.
pub const PID_LIMIT: usize = 4 << 20;

/// Bytes of the map with one bit per local TCP port.
pub const PORT_BYTES: usize = 65536 / 8;

const _: () = assert!(size_of::<Control>() == 80 && size_of::<SockFilter>() == 48);

/// Rows of the per-CPU counters map. `EMITTED + kind` and `DROPPED + kind` count records sent and
/// records lost because the ring was full; kinds above 63 share row 63.
pub mod counter {
    pub const EMITTED: u32 = 0;
    pub const DROPPED: u32 = 64;
    /// `bpf_get_stack` failed.
    pub const STACK_FAILED: u32 = 128;
    /// A kernel or user pointer could not be read.
    pub const READ_FAILED: u32 = 129;
    pub const ROWS: u32 = 130;
}

/// Types that are nothing but their bytes.
///
/// # Safety
/// `#[repr(C)]`, fixed width, no padding, any bytes valid.
pub unsafe trait Plain: Copy + 'static {}

// SAFETY: u32 fields only.
unsafe impl Plain for crate::Offsets {}
// SAFETY: even numbers of u32 between the u64.
unsafe impl Plain for crate::config::Config {}
