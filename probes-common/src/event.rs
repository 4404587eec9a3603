//! Event records as they stand in the ring buffer and in recordings.
//!
//! Each record is a [`Header`] followed by one payload struct; `Header::kind` names the payload and
//! `Header::len` its whole length. All times are CLOCK_MONOTONIC nanoseconds (`bpf_ktime_get_ns`), all
//! pids are those of the initial pid namespace, ports are in host byte order.

/// Frames of kernel stack sent with a waking: enough to reach `tcp_child_process` from
/// `try_to_wake_up` through the epoll and wait-queue frames (10 to 13 deep on 5.10 to 7.2).
pub const STACK_DEPTH: usize = 24;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $value:literal => $payload:ty),* $(,)?) => {
        /// What a record is; the number stands in `Header::kind`.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[cfg_attr(feature = "user", derive(Debug))]
        #[repr(u16)]
        pub enum Kind { $($(#[$doc])* $name = $value),* }

        impl Kind {
            pub const ALL: &'static [Kind] = &[$(Kind::$name),*];

            /// The kind with this number, if there is one.
            pub const fn from_number(number: u16) -> Option<Kind> {
                match number { $($value => Some(Kind::$name),)* _ => None }
            }

            pub const fn name(self) -> &'static str {
                match self { $(Kind::$name => stringify!($name)),* }
            }

            /// Length of a whole record of this kind, in bytes.
            pub const fn record_len(self) -> usize {
                match self { $(Kind::$name => size_of::<Header>() + size_of::<$payload>()),* }
            }
        }

        $(impl Payload for $payload { const KIND: Kind = Kind::$name; })*
    };
}

/// A payload struct: plain old data, valid for any bytes.
///
/// # Safety-relevant contract
/// Implementors are `#[repr(C)]`, have no padding and no invalid bit patterns; the asserts below check size.
pub trait Payload: Copy + 'static {
    const KIND: Kind;
}

kinds! {
    /// `sched_waking`: in the waker's context, before the target is made runnable.
    Waking = 1 => Waking,
    /// `sched_wakeup`/`sched_wakeup_new`: the target is runnable; often on the target's CPU.
    Wakeup = 2 => Wakeup,
    /// `sched_switch` from or to a watched task.
    Switch = 3 => Switch,
    /// `sched_process_fork` of a watched parent.
    Fork = 4 => Fork,
    /// `sched_process_exec` of a watched task, or of one whose new name is wanted.
    Exec = 5 => Exec,
    /// `sched_process_exit` of a watched task.
    Exit = 6 => Exit,
    /// `sched_migrate_task` of a watched task.
    Migrate = 7 => Migrate,
    /// A task waited for a CPU longer than asked for (`sched_switch`).
    RunDelay = 8 => crate::runqueue::RunDelay,
    /// Entry of one of the followed system calls by a watched task.
    SysEnter = 10 => SysEnter,
    /// Return of one of the followed system calls in a watched task.
    SysExit = 11 => SysExit,
    /// `inet_sock_set_state` of a socket whose local port is followed.
    SockState = 20 => SockState,
    /// `sk_data_ready` of a followed listener (6.12 and later have the tracepoint).
    DataReady = 21 => DataReady,
    /// A wait-queue wake function returned (function probes only).
    WaitWake = 30 => WaitWake,
    /// `inet_sock_set_state` of any followed socket, with all that `tcp_sock` says.
    TcpState = 40 => crate::tcp::TcpState,
    /// `tcp_retransmit_skb`
    TcpRetransmit = 41 => crate::tcp::TcpRetransmit,
    /// `tcp_retransmit_synack`
    TcpSynack = 42 => crate::tcp::TcpSynack,
    /// `tcp_send_reset`, `tcp_receive_reset`
    TcpReset = 43 => crate::tcp::TcpReset,
    /// `tcp_destroy_sock`
    TcpDestroy = 44 => crate::tcp::TcpDestroy,
    /// `inet_sk_error_report`
    SockError = 45 => crate::tcp::SockError,
    /// `timer_start`, `timer_expire_entry` of TCP's timers.
    TcpTimer = 46 => crate::tcp::TcpTimer,
    /// `kfree_skb` of a TCP packet.
    SkbDrop = 47 => crate::tcp::SkbDrop,
    /// A packet that the surgeon saw.
    Packet = 48 => crate::tcp::Packet,
    /// Function probes of the handshake.
    Handshake = 49 => crate::tcp::Handshake,
    /// A request of a block device, at its end.
    BlockRequest = 56 => crate::block::BlockRequest,
    /// `io_uring_complete`
    UringDone = 60 => crate::uring::UringDone,
    /// `io_uring_cqe_overflow`
    UringOverflow = 61 => crate::uring::UringOverflow,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct Header {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub ktime: u64,
    pub kind: u16,
    /// Whole record, header included, bytes.
    pub len: u16,
    pub cpu: u32,
    /// Thread id of the task that was current; a bystander in interrupt context.
    pub pid: u32,
    pub tgid: u32,
    /// The lab's phase number when the event happened; 0 before the first action.
    pub phase: u32,
    /// 1 = taken by a later copy of its program, which cannot always prove that the first did not take it.
    pub again: u32,
}

/// [`Waking::flags`]: between entry and return of `tcp_child_process` (known from function probes).
pub const WAKING_IN_CHILD: u32 = 1;
/// [`Waking::flags`]: the function probes that bracket `tcp_child_process` are attached.
pub const WAKING_BRACKETED: u32 = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct Waking {
    /// Thread that is being woken.
    pub target: u32,
    pub flags: u32,
    /// Child socket in this CPU's slot (last SYN_RECV→ESTABLISHED here), 0 = none.
    pub conn: u64,
    /// Valid entries of `stack`; 0 when the kernel gave none.
    pub depth: u32,
    pub _pad: u32,
    /// Return addresses, innermost first.
    pub stack: [u64; STACK_DEPTH],
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct Wakeup {
    pub target: u32,
    /// 1 for `sched_wakeup_new`.
    pub new: u32,
}

/// [`Switch::flags`]
pub const SWITCH_PREEMPT: u32 = 1;
pub const SWITCH_PREV_WATCHED: u32 = 2;
pub const SWITCH_NEXT_WATCHED: u32 = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct Switch {
    pub prev: u32,
    pub next: u32,
    /// Task state bits of `prev`; 0 = still runnable.
    pub prev_state: u32,
    pub flags: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct Fork {
    /// Thread that forked.
    pub parent: u32,
    pub child: u32,
    /// Thread group of the child: equal to `child` for a process, the parent's for a thread.
    pub child_tgid: u32,
    pub _pad: u32,
    pub comm: [u8; 16],
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct Exec {
    pub pid: u32,
    pub _pad: u32,
    pub comm: [u8; 16],
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct Exit {
    pub pid: u32,
    pub tgid: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct Migrate {
    pub target: u32,
    /// The CPU that it is given to.
    pub to: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct SysEnter {
    /// x86-64 system call number.
    pub nr: u32,
    pub _pad: u32,
    pub args: [u64; 4],
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct SysExit {
    pub nr: u32,
    /// `epoll_ctl`: the event mask asked for, read from user memory; else 0.
    pub epoll_events: u32,
    pub ret: i64,
    pub args: [u64; 4],
    /// `struct sock *` behind the descriptor acted on: the listener of accept, the target of epoll_ctl; 0 = not a socket.
    pub fd_sock: u64,
    /// `struct sock *` of the connection that accept returned; 0 on failure.
    pub new_sock: u64,
    pub fd_port: u16,
    /// TCP state of `fd_sock` (10 = LISTEN).
    pub fd_state: u16,
    pub new_local_port: u16,
    pub new_remote_port: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct SockState {
    pub sock: u64,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// 2 = AF_INET, 10 = AF_INET6.
    pub family: u16,
    pub old: u8,
    pub new: u8,
    pub local_port: u16,
    pub remote_port: u16,
    pub _pad: u32,
    /// IPv4 in the first four bytes.
    pub local_addr: [u8; 16],
    pub remote_addr: [u8; 16],
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct DataReady {
    /// The listener.
    pub sock: u64,
    /// Child socket in this CPU's slot, 0 = none.
    pub conn: u64,
    pub local_port: u16,
    pub _pad: [u16; 3],
}

/// [`WaitWake::function`]
pub const WAKE_AUTOREMOVE: u32 = 1;
pub const WAKE_EP_AUTOREMOVE: u32 = 2;
pub const WAKE_POLL: u32 = 3;
pub const WAKE_EP_CALLBACK: u32 = 4;
pub const WAKE_DEFAULT: u32 = 5;

#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct WaitWake {
    pub conn: u64,
    /// `wait_queue_entry.flags`; bit 0 = WQ_FLAG_EXCLUSIVE.
    pub entry_flags: u32,
    /// Which wake function: one of the `WAKE_*` numbers.
    pub function: u32,
    /// What it returned; 1 = a thread was woken.
    pub ret: i32,
    /// `ep_poll_callback`: event mask of the epitem; else 0.
    pub epoll_events: u32,
}

const _: () = {
    assert!(size_of::<Header>() == 32);
    assert!(align_of::<Header>() == 8);
    assert!(size_of::<Waking>() == 24 + 8 * STACK_DEPTH);
    assert!(size_of::<Wakeup>() == 8);
    assert!(size_of::<Switch>() == 16);
    assert!(size_of::<Fork>() == 32);
    assert!(size_of::<Exec>() == 24);
    assert!(size_of::<Exit>() == 8);
    assert!(size_of::<Migrate>() == 8);
    assert!(size_of::<SysEnter>() == 40);
    assert!(size_of::<SysExit>() == 72);
    assert!(size_of::<SockState>() == 56);
    assert!(size_of::<DataReady>() == 24);
    assert!(size_of::<WaitWake>() == 24);
};
