//! Ties every resend to the loss that it answers: the dropped segment, or the dropped acknowledgement.
//!
//! A resend is one more copy of its first byte on the wire, so the n-th resend of a byte is the (n+1)-th packet
//! that holds it: an own packet that the surgeon saw before the tracepoint fired is never taken for the loss.
//! Times only order what one flow did; everything else is by ends and sequence numbers. Events are put in order
//! here, whatever CPUs they came from.

use std::collections::HashMap;

use probes_common::tcp::{
    TIMER_EXPIRED, TIMER_REQUEST, TIMER_STARTED, TIMER_WRITE, TcpRetransmit, TcpSynack, TcpTimer,
};

use super::cause::{By, Cause, classify};
use super::flow::{ACK, Flow, SYN, Seen, Wire};
use super::seq::Range;
use crate::stream::{Body, Event};
use crate::trace::Symbol;

/// What a resend answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// A copy of these bytes was dropped at this time, by this rule; the latest before the resend.
    SegmentLost { at: u64, rule: u32 },
    /// The bytes got through, and every acknowledgement of them so far was dropped.
    AckLost { at: u64, rule: u32 },
    /// Nothing was lost that would explain it.
    Nothing,
}

impl Tie {
    pub const fn lost_at(self) -> Option<u64> {
        match self {
            Tie::SegmentLost { at, .. } | Tie::AckLost { at, .. } => Some(at),
            Tie::Nothing => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Resend {
    pub time: u64,
    pub flow: Flow,
    pub sock: u64,
    pub range: Range,
    pub cause: Cause,
    pub by: By,
    pub tie: Tie,
    /// 1 = the first resend of its first byte.
    pub copy: u32,
    /// The surgeon saw its packet.
    pub on_wire: bool,
    /// A copy had got through before this one was sent: the receiver has it twice.
    pub needless: bool,
    /// The socket's back-off step; of a request its time-outs so far.
    pub backoff: u8,
    /// Jiffies: the wait that ended with this resend, and the wait armed after it; as timer_start saw them.
    pub waited: Option<u64>,
    pub armed: Option<u64>,
    /// From the start of that wait to the resend, ns.
    pub waited_ns: Option<u64>,
    /// A timer of its socket went off last.
    pub timer_expired: bool,
    /// Jiffies
    pub rto: u32,
    pub srtt_us: u32,
    /// Not sent after all (6.18 and later say so).
    pub err: i32,
}

/// A started or expired timer.
#[derive(Debug, Clone, Copy)]
struct Timed {
    time: u64,
    timer: TcpTimer,
}

/// `events` of one case, in any order.
pub fn resends(events: &[Event], symbols: &[Symbol]) -> Vec<Resend> {
    let mut events: Vec<&Event> = events.iter().collect();
    events.sort_by_key(|event| (event.header.ktime, event.header.kind, event.header.cpu));
    let wire = Wire::new(events.iter().copied());
    let mut timers: HashMap<u64, Vec<Timed>> = HashMap::new();
    for event in &events {
        if let Body::TcpTimer(timer) = event.body {
            let its = timers.entry(timer.id.sock).or_default();
            let time = event.header.ktime;
            its.push(Timed { time, timer });
        }
    }
    let mut found: Vec<Resend> = Vec::new();
    for event in &events {
        let time = event.header.ktime;
        let resend = match &event.body {
            Body::TcpRetransmit(its) => of_segment(time, its, symbols),
            Body::TcpSynack(its) => of_synack(time, its, &wire),
            _ => continue,
        };
        let tied = tie(resend, &found, &wire);
        found.push(timed(tied, timers.get(&resend_sock(&event.body))));
    }
    let next: Vec<Option<u64>> = found
        .iter()
        .enumerate()
        .map(|(at, one)| {
            found[at + 1..]
                .iter()
                .find(|o| o.sock == one.sock)
                .map(|o| o.time)
        })
        .collect();
    for (resend, next) in found.iter_mut().zip(next) {
        resend.armed = armed_after(resend, next, timers.get(&resend.sock));
    }
    found
}

fn resend_sock(body: &Body) -> u64 {
    match body {
        Body::TcpRetransmit(its) => its.id.sock,
        Body::TcpSynack(its) => its.id.sock,
        _ => 0,
    }
}

fn of_segment(time: u64, its: &TcpRetransmit, symbols: &[Symbol]) -> Resend {
    let (cause, by) = classify(its, symbols);
    Resend {
        range: Range {
            start: its.seq,
            end: its.end_seq,
        },
        backoff: its.snap.backoff,
        rto: its.snap.rto,
        srtt_us: its.snap.srtt_us,
        err: its.err,
        ..bare(time, Flow::sent_by(&its.id), its.id.sock, cause, by)
    }
}

/// The hook tells no sequence number: that of the SYN-ACKs to this client.
fn of_synack(time: u64, its: &TcpSynack, wire: &Wire) -> Resend {
    let flow = Flow::sent_by(&its.id);
    let both = SYN | ACK;
    let first = wire
        .of(flow)
        .iter()
        .find(|seen| seen.packet.flags & both == both);
    Resend {
        range: Range::new(first.map_or(0, |seen| seen.packet.seq), 1),
        backoff: u8::try_from(its.num_timeout).unwrap_or(u8::MAX),
        ..bare(time, flow, its.id.sock, Cause::SynAck, By::Segment)
    }
}

fn bare(time: u64, flow: Flow, sock: u64, cause: Cause, by: By) -> Resend {
    Resend {
        time,
        flow,
        sock,
        range: Range::new(0, 0),
        cause,
        by,
        tie: Tie::Nothing,
        copy: 0,
        on_wire: false,
        needless: false,
        backoff: 0,
        waited: None,
        armed: None,
        waited_ns: None,
        timer_expired: false,
        rto: 0,
        srtt_us: 0,
        err: 0,
    }
}

fn tie(resend: Resend, earlier: &[Resend], wire: &Wire) -> Resend {
    let first = resend.range.start;
    let of_byte =
        |other: &&Resend| other.flow == resend.flow && other.range.holds(first) && other.err == 0;
    let copy = earlier.iter().filter(of_byte).count() + 1;
    let own = wire.copies(resend.flow, first).nth(copy);
    // What was lost must have been sent before this copy was.
    let until = own.map_or(resend.time, |own| own.time.min(resend.time));
    let before = |seen: &&Seen| seen.time < until;
    let copies = || {
        let sent = wire.of(resend.flow).iter().take_while(before);
        sent.filter(|seen| seen.range().overlaps(resend.range))
    };
    let lost = copies().filter(|seen| seen.dropped()).last();
    let needless = got_through(resend.range, copies);
    let answers = || {
        let sent = wire.of(resend.flow.back()).iter().take_while(before);
        sent.filter(|seen| seen.acknowledges(resend.range))
    };
    let unheard = answers().all(Seen::dropped);
    let ack = answers().last().filter(|_| unheard);
    let tie = match (lost, ack) {
        (Some(lost), _) if !needless => Tie::SegmentLost {
            at: lost.time,
            rule: lost.packet.rule,
        },
        (_, Some(ack)) => Tie::AckLost {
            at: ack.time,
            rule: ack.packet.rule,
        },
        _ => Tie::Nothing,
    };
    Resend {
        tie,
        copy: copy as u32,
        on_wire: own.is_some(),
        needless,
        ..resend
    }
}

/// Has every byte of the range got through in one of these copies?
fn got_through<'a, I: Iterator<Item = &'a Seen>>(range: Range, copies: impl Fn() -> I) -> bool {
    let mut byte = range.start;
    while range.holds(byte) {
        let through = copies().find(|seen| !seen.dropped() && seen.range().holds(byte));
        match through {
            Some(seen) => byte = seen.range().end,
            None => return false,
        }
    }
    true
}

/// The wait that led to it: the last one started for its socket before, unless an acknowledgement sent it.
fn timed(resend: Resend, timers: Option<&Vec<Timed>>) -> Resend {
    if !resend.cause.by_timer() {
        return resend;
    }
    let mut before = timers
        .into_iter()
        .flatten()
        .rev()
        .filter(|timed| timed.time <= resend.time && ours(&resend, &timed.timer));
    let last = before.next();
    let started = last
        .into_iter()
        .chain(before)
        .find(|timed| timed.timer.action == TIMER_STARTED);
    Resend {
        waited: started.map(|timed| timed.timer.timeout),
        waited_ns: started.map(|timed| resend.time - timed.time),
        timer_expired: last.is_some_and(|timed| timed.timer.action == TIMER_EXPIRED),
        ..resend
    }
}

/// The next wait: what the timer that sent it has armed before the socket's next resend.
fn armed_after(resend: &Resend, next: Option<u64>, timers: Option<&Vec<Timed>>) -> Option<u64> {
    if !resend.cause.by_timer() {
        return None;
    }
    let after = timers.into_iter().flatten().find(|timed| {
        timed.time > resend.time
            && next.is_none_or(|next| timed.time < next)
            && timed.timer.action == TIMER_STARTED
            && ours(resend, &timed.timer)
    });
    after.map(|timed| timed.timer.timeout)
}

fn ours(resend: &Resend, timer: &TcpTimer) -> bool {
    let which = match resend.cause {
        Cause::SynAck => TIMER_REQUEST,
        _ => TIMER_WRITE,
    };
    timer.which == which
}
