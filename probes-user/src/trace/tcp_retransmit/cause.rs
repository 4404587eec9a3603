//! Why a segment was sent again: from the kernel stack of `tcp_retransmit_skb` and what the socket says then.
//!
//! What could fool it: functions inlined on one kernel and not on the next (so several frames and fields count,
//! and the answer says which did); the frames of a task that the timer interrupted (so reading stops at the
//! first interrupt or softirq); a probe's timer still pending while an acknowledgement starts recovery (so a
//! pending timer alone decides nothing).

use probes_common::tcp::TcpRetransmit;
use serde::Serialize;

use crate::kernel::symbols::stack::{SOFTIRQS, functions, names, said};
use crate::trace::Symbol;

const SYN: u32 = 2;
/// `icsk_ca_state`
const RECOVERY: u8 = 3;
const LOSS: u8 = 4;
/// `icsk_pending`
const NONE: u8 = 0;
const LOSS_PROBE: u8 = 5;
const REORDER: u8 = 6;
const SYN_RECV: u8 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The SYN of a client, by the retransmission timer.
    Syn,
    /// The SYN-ACK of a listener or of a Fast Open child.
    SynAck,
    /// The retransmission timer: the first unacknowledged segment.
    Rto,
    /// After that time-out, by an acknowledgement: the other segments that count as lost.
    AfterRto,
    /// A tail-loss probe: the last segment, to provoke an acknowledgement.
    TailProbe,
    /// Recovery, by an acknowledgement (three duplicates or RACK).
    Fast,
    /// Recovery, by RACK's reordering timer.
    RackTimer,
    /// The path's MTU has shrunk.
    PathMtu,
    Unknown,
}

impl Cause {
    pub const ALL: [Cause; 9] = [
        Cause::Syn,
        Cause::SynAck,
        Cause::Rto,
        Cause::AfterRto,
        Cause::TailProbe,
        Cause::Fast,
        Cause::RackTimer,
        Cause::PathMtu,
        Cause::Unknown,
    ];

    /// As printed, and as part of JSON keys.
    pub const fn name(self) -> &'static str {
        match self {
            Cause::Syn => "SYN",
            Cause::SynAck => "SYN-ACK",
            Cause::Rto => "RTO",
            Cause::AfterRto => "after RTO",
            Cause::TailProbe => "TLP",
            Cause::Fast => "fast",
            Cause::RackTimer => "RACK timer",
            Cause::PathMtu => "path MTU",
            Cause::Unknown => "unknown",
        }
    }

    /// A timer went off, and arms the next wait itself.
    pub const fn by_timer(self) -> bool {
        matches!(
            self,
            Cause::Syn | Cause::SynAck | Cause::Rto | Cause::TailProbe | Cause::RackTimer
        )
    }
}

/// What settled the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The segment's flags, or the hook itself.
    Segment,
    /// The stack and the socket's fields say the same.
    Both,
    Stack,
    /// No frame of the stack said anything.
    Fields,
    Nothing,
}

impl By {
    pub const fn name(self) -> &'static str {
        match self {
            By::Segment => "segment",
            By::Both => "stack+fields",
            By::Stack => "stack",
            By::Fields => "fields",
            By::Nothing => "-",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    Decides(Cause),
    /// An acknowledgement is being processed: the socket's state says whether a time-out was before.
    Recovers,
    /// One of the write timer's causes; which one, the pending timer tells.
    Timer,
}

const FRAMES: &[(&str, Frame)] = &[
    ("tcp_retransmit_timer", Frame::Decides(Cause::Rto)),
    ("tcp_send_loss_probe", Frame::Decides(Cause::TailProbe)),
    ("tcp_rack_reo_timeout", Frame::Decides(Cause::RackTimer)),
    ("tcp_simple_retransmit", Frame::Decides(Cause::PathMtu)),
    ("tcp_ack", Frame::Recovers),
    ("tcp_xmit_recovery", Frame::Recovers),
    ("tcp_rcv_established", Frame::Recovers),
    ("tcp_rcv_state_process", Frame::Recovers),
    ("tcp_tsq_handler", Frame::Recovers),
    ("tcp_tsq_write", Frame::Recovers),
    ("tcp_write_timer_handler", Frame::Timer),
    ("tcp_write_timer", Frame::Timer),
];

/// For `Trace::symbols`.
pub static SYMBOLS: [&str; FRAMES.len() + SOFTIRQS.len()] = names(FRAMES);

pub fn classify(resend: &TcpRetransmit, symbols: &[Symbol]) -> (Cause, By) {
    if resend.flags & SYN != 0 {
        let cause = match resend.id.state {
            SYN_RECV => Cause::SynAck,
            _ => Cause::Syn,
        };
        return (cause, By::Segment);
    }
    match (by_stack(resend, symbols), by_fields(resend)) {
        (Some(stack), Some(fields)) if stack == fields => (stack, By::Both),
        (Some(stack), _) => (stack, By::Stack),
        (None, Some(fields)) => (fields, By::Fields),
        (None, None) => (Cause::Unknown, By::Nothing),
    }
}

fn by_stack(resend: &TcpRetransmit, symbols: &[Symbol]) -> Option<Cause> {
    let depth = (resend.depth as usize).min(resend.stack.len());
    let frame = functions(&resend.stack[..depth], symbols).find_map(|name| said(FRAMES, name))?;
    match frame {
        Frame::Decides(cause) => Some(cause),
        Frame::Recovers => Some(recovery(resend)),
        Frame::Timer => of_timer(resend),
    }
}

fn recovery(resend: &TcpRetransmit) -> Cause {
    if resend.snap.ca_state == LOSS {
        Cause::AfterRto
    } else {
        Cause::Fast
    }
}

/// The write timer's handler takes a retransmission time-out from `icsk_pending` before it acts, the other two
/// afterwards.
fn of_timer(resend: &TcpRetransmit) -> Option<Cause> {
    match resend.snap.pending {
        NONE if resend.snap.ca_state == LOSS => Some(Cause::Rto),
        LOSS_PROBE => Some(Cause::TailProbe),
        REORDER => Some(Cause::RackTimer),
        _ => None,
    }
}

/// Without any frame. A probe's or RACK's timer may still be pending when an acknowledgement starts recovery, so
/// they count in other states only.
fn by_fields(resend: &TcpRetransmit) -> Option<Cause> {
    match (resend.snap.ca_state, resend.snap.pending) {
        (LOSS, NONE) => Some(Cause::Rto),
        (LOSS, _) => Some(Cause::AfterRto),
        (RECOVERY, LOSS_PROBE | REORDER) => None,
        (RECOVERY, _) => Some(Cause::Fast),
        (_, LOSS_PROBE) => Some(Cause::TailProbe),
        (_, REORDER) => Some(Cause::RackTimer),
        _ => None,
    }
}
