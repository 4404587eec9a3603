//! Switches that are fixed when the programs are loaded (read-only global `CONFIG`).

#[derive(Clone, Copy)]
#[cfg_attr(feature = "user", derive(Debug, PartialEq, Eq))]
#[repr(C)]
pub struct Config {
    /// 1 = loaded as tp_btf/fentry/fexit: typed kernel pointers are read directly (1 ns instead of 12).
    pub direct: u32,
    /// Byte-per-pid maps have `pid_mask + 1` bytes, a power of two above pid_max.
    pub pid_mask: u32,
    /// `sched_switch` carries prev_state as an argument.
    pub switch_has_state: u32,
    /// `tcp_child_process` is bracketed by function probes.
    pub bracketed: u32,
    /// One bit per followed x86-64 system call number.
    pub syscalls: [u64; 8],
    /// `tcp_retransmit_skb` carries err as its third argument.
    pub retransmit_has_err: u32,
    /// `tcp_send_reset` carries the reason as its third argument.
    pub reset_has_reason: u32,
    /// `kfree_skb` carries the reason as its third argument.
    pub drop_has_reason: u32,
    /// `kfree_skb` carries the receiving socket as its fourth argument.
    pub drop_has_sock: u32,
    /// Parameters of `inet_csk_accept`: behind them comes what it returned.
    pub accept_args: u32,
    /// Which argument of `block_bio_queue` is the request (up to 5.10 the queue comes first).
    pub bio_argument: u32,
    /// `I_DIRTY_PAGES` of `inode.i_state`.
    pub dirty_pages_flag: u32,
    /// Bit of `page.flags` that says a folio is large.
    pub page_head_bit: u32,
    /// Addresses of [`TIMER_FUNCTIONS`]; 0 = not known, never equal to a timer's.
    pub timers: [u64; 5],
    /// Where io_uring's tracepoints have their request, and how many arguments a completion has.
    pub uring_submit_req: u32,
    pub uring_poll_req: u32,
    pub uring_work_req: u32,
    pub uring_complete_args: u32,
    /// Begin and end of `io_submit_sqes`; 0 = not known.
    pub submit_sqes: [u64; 2],
}

/// What TCP's timers run, in the order of [`crate::tcp::TIMER_WRITE`] and the following.
pub const TIMER_FUNCTIONS: [&str; 5] = [
    "tcp_write_timer",
    "tcp_keepalive_timer",
    "tcp_delack_timer",
    "tw_timer_handler",
    "reqsk_timer_handler",
];

impl Config {
    pub const NONE: Config = Config {
        direct: 0,
        pid_mask: 0,
        switch_has_state: 0,
        bracketed: 0,
        syscalls: [0; 8],
        retransmit_has_err: 0,
        reset_has_reason: 0,
        drop_has_reason: 0,
        drop_has_sock: 0,
        accept_args: 0,
        bio_argument: 0,
        dirty_pages_flag: 0,
        page_head_bit: 0,
        timers: [0; 5],
        uring_submit_req: 0,
        uring_poll_req: 0,
        uring_work_req: 0,
        uring_complete_args: 0,
        submit_sqes: [0; 2],
    };
}

const _: () = assert!(size_of::<Config>() == 184);
