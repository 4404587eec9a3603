//! Why was this RST sent? Answered by the kernel stack of `tcp_send_reset`, the kernel's own reason where it
//! gives one, and what the socket was before.
//!
//! A stack is read from the top down to the first interrupt or softirq frame: what stands below belongs to
//! whoever was interrupted, or to the peer, whose segment is delivered on its back. What could fool it: on
//! loopback a reset may be sent inside the other end's own close; a socket that is CLOSE by the time it sends.

use serde::{Deserialize, Serialize};

use crate::kernel::symbols::stack::SOFTIRQS;

/// The functions that say something, for `Trace::symbols`.
pub static NAMES: [&str; 21] = [
    "tcp_send_active_reset",
    "tcp_v4_send_reset",
    "tcp_v6_send_reset",
    "tcp_close",
    "__tcp_close",
    "tcp_disconnect",
    "tcp_abort",
    "inet_csk_listen_stop",
    "inet_child_forget",
    "tcp_keepalive_timer",
    "tcp_write_timer",
    "tcp_write_timer_handler",
    "tcp_check_oom",
    "tcp_check_req",
    "tcp_rcv_state_process",
    "tcp_v4_do_rcv",
    "tcp_v6_do_rcv",
    "do_exit",
    "do_group_exit",
    SOFTIRQS[0],
    SOFTIRQS[1],
];

pub const SYN_SENT: u8 = 2;
pub const FIN_WAIT1: u8 = 4;
pub const FIN_WAIT2: u8 = 5;
pub const TIME_WAIT: u8 = 6;
pub const CLOSE: u8 = 7;
pub const CLOSE_WAIT: u8 = 8;
pub const LAST_ACK: u8 = 9;
pub const LISTEN: u8 = 10;
pub const CLOSING: u8 = 11;
pub const NEW_SYN_RECV: u8 = 12;

/// What is known of one RST that was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reset<'a> {
    /// Known functions from the top down, cut at the boundary.
    pub stack: Vec<&'a str>,
    /// `enum sk_rst_reason` without its prefix; None = this kernel gives none, or nothing specific.
    pub reason: Option<&'a str>,
    /// Was there a socket (a request or TIME_WAIT entry counts)?
    pub socket: bool,
    /// At the event, and before the change that led to it.
    pub state: u8,
    pub before: Option<u8>,
    /// Received and acknowledged, and never read.
    pub unread: u32,
    /// Of a listener: more wait for accept than it may hold.
    pub queue_full: bool,
}

/// Why, in the order in which a person would ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    UnreadData,
    LingerZero,
    Linger2,
    /// The process ended with unread data, or with SO_LINGER {1, 0}.
    KilledUnread,
    KilledLingerZero,
    Disconnect,
    ListenerClosed,
    Destroyed,
    SilentPeer,
    OrphanTimeout,
    Memory,
    DataAfterClose,
    TimeWait,
    QueueFull,
    BadRequest,
    NotAsked,
    BadAnswer,
    NoSocket,
    BadSegment,
    /// The RST was on the wire and no event told of it: this kernel tells of none without a full socket.
    Untold,
    Unknown,
}

impl Cause {
    /// As printed.
    pub const fn words(self) -> &'static str {
        match self {
            Cause::UnreadData => "closed, received data unread",
            Cause::LingerZero => "closed with SO_LINGER {1, 0}",
            Cause::Linger2 => "closed with TCP_LINGER2 < 0",
            Cause::KilledUnread => "process ended, data unread",
            Cause::KilledLingerZero => "process ended, SO_LINGER {1, 0}",
            Cause::Disconnect => "undone by connect(AF_UNSPEC)",
            Cause::ListenerClosed => "listener closed before accept()",
            Cause::Destroyed => "destroyed from outside (ss -K)",
            Cause::SilentPeer => "keepalive: the peer is silent",
            Cause::OrphanTimeout => "closed, the peer's FIN is late",
            Cause::Memory => "too many orphans, or no memory",
            Cause::DataAfterClose => "data came after close()",
            Cause::TimeWait => "data came for a TIME_WAIT entry",
            Cause::QueueFull => "accept queue full",
            Cause::BadRequest => "half-open request refused",
            Cause::NotAsked => "ACK to a listener, not asked for",
            Cause::BadAnswer => "wrong answer to a SYN",
            Cause::NoSocket => "no socket (closed port)",
            Cause::BadSegment => "segment not allowed here",
            Cause::Untold => "no event told of it",
            Cause::Unknown => "not known",
        }
    }

    /// Is it sent by a call of the socket's owner, or by the owner's end?
    pub const fn own_doing(self) -> bool {
        matches!(
            self,
            Cause::UnreadData
                | Cause::LingerZero
                | Cause::Linger2
                | Cause::KilledUnread
                | Cause::KilledLingerZero
                | Cause::Disconnect
                | Cause::ListenerClosed
        )
    }
}

pub fn classify(reset: &Reset<'_>) -> Cause {
    let at = |name: &str| reset.stack.iter().position(|frame| *frame == name);
    let answered = at("tcp_v4_send_reset").or(at("tcp_v6_send_reset"));
    match (answered, at("tcp_send_active_reset")) {
        (Some(answer), Some(active)) if active < answer => by_itself(reset),
        (Some(_), _) => in_answer(reset),
        (None, Some(_)) => by_itself(reset),
        // The sender's frame may have been inlined or cut off: a reset without a socket is an answer.
        (None, None) if !reset.socket => in_answer(reset),
        (None, None) => by_itself(reset),
    }
}

/// A socket that gives up its connection.
fn by_itself(reset: &Reset<'_>) -> Cause {
    let has = |name: &str| reset.stack.contains(&name);
    let died = has("do_exit") || has("do_group_exit");
    if has("tcp_abort") {
        return Cause::Destroyed;
    }
    if has("inet_csk_listen_stop") || has("inet_child_forget") {
        return Cause::ListenerClosed;
    }
    let timer = has("tcp_write_timer") || has("tcp_write_timer_handler");
    if timer || has("tcp_check_oom") || reset.reason == Some("TCP_ABORT_ON_MEMORY") {
        return Cause::Memory;
    }
    if has("tcp_keepalive_timer") {
        let orphan = reset.state == FIN_WAIT2 && reset.reason != Some("TCP_KEEPALIVE_TIMEOUT");
        return if orphan {
            Cause::OrphanTimeout
        } else {
            Cause::SilentPeer
        };
    }
    let closed = has("tcp_close") || has("__tcp_close");
    if has("tcp_disconnect") {
        return match (closed, died) {
            (true, true) => Cause::KilledLingerZero,
            (true, false) => Cause::LingerZero,
            (false, _) => Cause::Disconnect,
        };
    }
    match reset.reason {
        Some("TCP_ABORT_ON_LINGER") => return Cause::Linger2,
        Some("TCP_ABORT_ON_CLOSE") if died => return Cause::KilledUnread,
        Some("TCP_ABORT_ON_CLOSE") => return Cause::UnreadData,
        _ => {}
    }
    match (closed, reset.unread > 0, died) {
        (true, true, true) => Cause::KilledUnread,
        (true, true, false) => Cause::UnreadData,
        (true, false, _) if reset.before == Some(FIN_WAIT2) => Cause::Linger2,
        _ => Cause::Unknown,
    }
}

/// A reset as the answer to a segment.
fn in_answer(reset: &Reset<'_>) -> Cause {
    match reset.reason {
        Some("NO_SOCKET") => return Cause::NoSocket,
        Some("TCP_ABORT_ON_DATA") => return Cause::DataAfterClose,
        Some("TCP_TIMEWAIT_SOCKET") => return Cause::TimeWait,
        _ => {}
    }
    if !reset.socket {
        return Cause::NoSocket;
    }
    if reset.stack.contains(&"tcp_check_req") || reset.state == NEW_SYN_RECV {
        return if reset.queue_full {
            Cause::QueueFull
        } else {
            Cause::BadRequest
        };
    }
    match (reset.state, reset.before) {
        (TIME_WAIT, _) => Cause::TimeWait,
        (LISTEN, _) => Cause::NotAsked,
        (SYN_SENT, _) => Cause::BadAnswer,
        (FIN_WAIT1 | FIN_WAIT2 | CLOSING | LAST_ACK, _) => Cause::DataAfterClose,
        (CLOSE, Some(FIN_WAIT1 | FIN_WAIT2 | CLOSING | LAST_ACK)) => Cause::DataAfterClose,
        _ => Cause::BadSegment,
    }
}

#[cfg(test)]
#[path = "cause_tests.rs"]
mod tests;
