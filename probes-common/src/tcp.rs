//! Event payloads of TCP: sockets, their states, timers, resends, resets and packets.
//!
//! Sequence numbers are the wire's, ports in host byte order, an IPv4 address in the first four of its 16
//! bytes. A field that this kernel does not have is 0 unless said otherwise.

/// Frames of kernel stack sent with a resend or a reset.
pub const TCP_STACK_DEPTH: usize = 16;

/// Which socket: by pointer (reused after the end, so a generation is counted by the reader), by cookie
/// where the kernel has numbered it, by ends.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct SockId {
    /// `struct sock *`, `request_sock *` or `inet_timewait_sock *`; 0 = none.
    pub sock: u64,
    /// `skc_cookie`; 0 = not numbered.
    pub cookie: u64,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// 2 = AF_INET, 10 = AF_INET6.
    pub family: u16,
    /// TCP state at the event (1 ESTABLISHED … 12 NEW_SYN_RECV); of a TIME_WAIT socket at its timer the
    /// substate: FIN_WAIT2 or TIME_WAIT.
    pub state: u8,
    pub _pad: u8,
    pub local_port: u16,
    pub remote_port: u16,
    pub uid: u32,
    pub local_addr: [u8; 16],
    pub remote_addr: [u8; 16],
}

/// What `tcp_sock` says at the event; all 0 for sockets that are none (requests, TIME_WAIT).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct TcpSnap {
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub snd_una: u32,
    pub snd_nxt: u32,
    pub write_seq: u32,
    pub rcv_nxt: u32,
    pub copied_seq: u32,
    pub snd_wnd: u32,
    pub packets_out: u32,
    pub retrans_out: u32,
    pub total_retrans: u32,
    /// Smoothed round-trip time, µs (the kernel's srtt_us / 8).
    pub srtt_us: u32,
    /// jiffies
    pub rto: u32,
    /// `sk_ack_backlog` and `sk_max_ack_backlog`: of a listener, connections waiting for accept and their limit.
    pub ack_backlog: u32,
    pub max_ack_backlog: u32,
    /// `icsk_accept_queue.qlen` and `.young`: of a listener, half-open requests, and those never resent.
    pub request_qlen: u32,
    pub request_young: u32,
    /// `icsk_ca_state`: 0 Open, 1 Disorder, 2 CWR, 3 Recovery, 4 Loss.
    pub ca_state: u8,
    /// `icsk_pending`: 0 none, 1 RTO, 3 persist, 5 TLP, 6 reorder (RACK); 2 was delayed ACK.
    pub pending: u8,
    pub backoff: u8,
    pub retransmits: u8,
    /// [`OPT_TSTAMP`] …: what both ends agreed on.
    pub options: u8,
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    /// `sk_shutdown`
    pub shutdown: u8,
    pub _pad: u32,
}

pub const OPT_TSTAMP: u8 = 1;
pub const OPT_WSCALE: u8 = 2;
pub const OPT_SACK: u8 = 4;

/// `inet_sock_set_state` of any followed socket.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct TcpState {
    pub id: SockId,
    pub snap: TcpSnap,
    pub old: u8,
    pub new: u8,
    pub _pad: [u8; 2],
    /// `sk_err`
    pub err: u32,
    /// Name of the current task: the owner when the change is a system call's (connect, listen, close).
    pub comm: [u8; 16],
}

/// `tcp_retransmit_skb`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct TcpRetransmit {
    pub id: SockId,
    pub snap: TcpSnap,
    pub seq: u32,
    pub end_seq: u32,
    /// TCP flags byte of the segment (FIN 1, SYN 2, RST 4, PSH 8, ACK 16).
    pub flags: u32,
    /// 6.18 and later; 0 = sent or not known.
    pub err: i32,
    pub depth: u32,
    pub _pad: u32,
    pub stack: [u64; TCP_STACK_DEPTH],
}

/// `tcp_retransmit_synack`: `id.sock` is the request, `listener` its listener.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct TcpSynack {
    pub id: SockId,
    pub listener: u64,
    pub num_timeout: u32,
    pub num_retrans: u32,
}

/// [`TcpReset::direction`]
pub const RESET_SENT: u8 = 0;
pub const RESET_RECEIVED: u8 = 1;
/// [`TcpReset::reason`] on kernels that give none.
pub const REASON_NONE: u32 = u32::MAX;

/// `tcp_send_reset`, `tcp_receive_reset`. Without a socket `id` has the packet's ends, ours as local.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct TcpReset {
    pub id: SockId,
    pub snap: TcpSnap,
    pub direction: u8,
    pub _pad: [u8; 3],
    /// `enum sk_rst_reason`, names from BTF.
    pub reason: u32,
    pub depth: u32,
    pub _pad2: u32,
    pub stack: [u64; TCP_STACK_DEPTH],
    pub comm: [u8; 16],
}

/// `tcp_destroy_sock`: the socket's end.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct TcpDestroy {
    pub id: SockId,
    pub snap: TcpSnap,
}

/// `inet_sk_error_report` (5.15 and later).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct SockError {
    pub id: SockId,
    /// errno
    pub err: u32,
    /// IPPROTO_TCP 6, IPPROTO_UDP 17 …
    pub protocol: u32,
}

/// [`TcpTimer::which`]
pub const TIMER_WRITE: u8 = 1;
pub const TIMER_KEEPALIVE: u8 = 2;
pub const TIMER_DELACK: u8 = 3;
pub const TIMER_TIME_WAIT: u8 = 4;
pub const TIMER_REQUEST: u8 = 5;
/// [`TcpTimer::action`]
pub const TIMER_STARTED: u8 = 1;
pub const TIMER_EXPIRED: u8 = 2;

/// `timer_start` and `timer_expire_entry` of a timer of TCP's; an expiry is not yet an action.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct TcpTimer {
    pub id: SockId,
    /// `struct timer_list *`
    pub timer: u64,
    /// Jiffies until expiry as asked for; 0 for an expiry.
    pub timeout: u64,
    pub which: u8,
    pub action: u8,
    /// As in [`TcpSnap`], of full sockets.
    pub pending: u8,
    pub backoff: u8,
    pub retransmits: u8,
    pub probes_out: u8,
    /// Of a request.
    pub num_timeout: u8,
    pub _pad: u8,
}

/// `kfree_skb` of a TCP packet of a followed namespace or port. `id` has the packet's ends: destination local.
/// `id.sock` is the socket it was for or came from, 0 when it had none; `id.netns` is 0 when neither a socket
/// nor a device of the packet tells.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct SkbDrop {
    pub id: SockId,
    /// `struct sk_buff *`
    pub skb: u64,
    /// Where in the kernel it was freed.
    pub location: u64,
    /// `enum skb_drop_reason`; [`REASON_NONE`] on 5.10.
    pub reason: u32,
    pub seq: u32,
    pub ack: u32,
    pub flags: u32,
}

/// [`Packet::verdict`]
pub const PACKET_PASSED: u8 = 0;
pub const PACKET_DROPPED: u8 = 1;

/// A TCP packet that the surgeon saw.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct Packet {
    pub netns: u32,
    pub ifindex: u32,
    pub family: u16,
    pub source_port: u16,
    pub dest_port: u16,
    pub window: u16,
    pub source_addr: [u8; 16],
    pub dest_addr: [u8; 16],
    pub seq: u32,
    pub ack: u32,
    /// TCP flags byte.
    pub flags: u8,
    pub verdict: u8,
    /// [`OPT_TSTAMP`] … as far as this segment carries them.
    pub options: u8,
    /// Window scale option of a SYN or SYN-ACK; 255 = none.
    pub wscale: u8,
    /// The MSS option; 0 = none.
    pub mss: u16,
    /// Bytes of payload.
    pub payload: u16,
    /// Number of the rule that decided; 0 = none matched.
    pub rule: u32,
    /// How many packets had matched that rule by then, this one included.
    pub matched: u32,
    pub tsval: u32,
    pub tsecr: u32,
}

/// [`Handshake::what`]
pub const HS_CONN_REQUEST: u32 = 1;
pub const HS_COOKIE_SENT: u32 = 2;
pub const HS_COOKIE_CHECKED: u32 = 3;
pub const HS_REQUEST_DROPPED: u32 = 4;
pub const HS_ACCEPTED: u32 = 5;
/// The first start of a request's timer: `snap` has the queues before it is counted in.
pub const HS_REQUEST_QUEUED: u32 = 6;

/// What a listener does, by function probes and by its requests' timers. `id` is the listener's, `snap` its queues.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct Handshake {
    pub id: SockId,
    pub snap: TcpSnap,
    pub what: u32,
    pub _pad: u32,
    /// `request_sock *` or the new `sock *`; 0 = none.
    pub other: u64,
    /// What the function returned, as a number.
    pub ret: i64,
    /// Of the peer's packet.
    pub remote_port: u16,
    pub _pad2: [u16; 3],
    /// Name of the current task: the owner when a connection is accepted, else a bystander's.
    pub comm: [u8; 16],
}

const _: () = {
    assert!(size_of::<SockId>() == 64);
    assert!(size_of::<TcpSnap>() == 88);
    assert!(size_of::<TcpState>() == 64 + 88 + 24);
    assert!(size_of::<TcpRetransmit>() == 64 + 88 + 24 + 8 * TCP_STACK_DEPTH);
    assert!(size_of::<TcpSynack>() == 80);
    assert!(size_of::<TcpReset>() == 64 + 88 + 16 + 8 * TCP_STACK_DEPTH + 16);
    assert!(size_of::<TcpDestroy>() == 152);
    assert!(size_of::<SockError>() == 72);
    assert!(size_of::<TcpTimer>() == 88);
    assert!(size_of::<SkbDrop>() == 96);
    assert!(size_of::<Packet>() == 80);
    assert!(size_of::<Handshake>() == 64 + 88 + 48);
};
