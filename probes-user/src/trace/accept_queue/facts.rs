//! What one case of accept-queue shows: the script's marks beside packets and resends as the kernel tells them.

use probes_common::tcp::{PACKET_PASSED, Packet, TIMER_REQUEST, TIMER_STARTED};
use serde::de::DeserializeOwned;

use super::marks::{
    CLIENT_PORT, DRAINED, DRAINING, Drained, FULL, HELD, LIMITS, Limits, MEETING, MET, PORT,
    RESENT, Segment, Standing,
};
use crate::lab::queue::socket::ESTABLISHED;
use crate::stream::Body;
use crate::trace::scripted::CaseLog;

const RST: u8 = 4;
const SYN: u8 = 2;
const ACK: u8 = 16;
const OVERFLOWS: &str = "TcpExtListenOverflows";

#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub label: String,
    pub limits: Limits,
    pub held: Option<Standing>,
    pub full: Standing,
    pub met: Standing,
    pub resent: Option<Standing>,
    pub drained: Drained,
    /// The client's segments that came in once the queue was full: its SYN, or those with an ACK.
    pub came_in: u64,
    /// SYN-ACKs to the client before that and after.
    pub synacks_before: u64,
    pub synacks_after: u64,
    /// Of those after, as the kernel's own resends.
    pub resends: u64,
    pub resets: u64,
    /// The client's request had a timer: it was half-open.
    pub requested: bool,
}

impl Facts {
    pub fn overflows(&self) -> u64 {
        let resent = self.resent.as_ref().map_or(0, |its| its.counter(OVERFLOWS));
        self.met.counter(OVERFLOWS) + resent
    }

    /// The last look before the queue was drained.
    pub fn last(&self) -> &Standing {
        self.resent.as_ref().unwrap_or(&self.met)
    }
}

/// # Errors
/// What keeps this case from being judged.
pub fn read(log: &CaseLog) -> Result<Facts, String> {
    let label = &log.label;
    if log.ended_at.is_none() {
        return Err(format!("{label} did not come to its end"));
    }
    let missing = |what: &str| format!("{label}: no mark {what:?}");
    let need = |what: &str| log.named(what).next().ok_or_else(|| missing(what));
    // Counted from when the segment is let go to when the queue is drained.
    let window = (need(MEETING)?.ktime, need(DRAINING)?.ktime);
    let facts = Facts {
        label: label.clone(),
        limits: standing(log, LIMITS).ok_or_else(|| missing(LIMITS))?,
        held: standing(log, HELD),
        full: standing(log, FULL).ok_or_else(|| missing(FULL))?,
        met: standing(log, MET).ok_or_else(|| missing(MET))?,
        resent: standing(log, RESENT),
        drained: standing(log, DRAINED).ok_or_else(|| missing(DRAINED))?,
        ..Facts::default()
    };
    let facts = watched(log, facts, window);
    agree(&facts)?;
    Ok(facts)
}

fn standing<T: DeserializeOwned>(log: &CaseLog, name: &str) -> Option<T> {
    let mut marks = log.named(name);
    marks.find_map(|mark| serde_json::from_value(mark.data.clone()).ok())
}

fn watched(log: &CaseLog, mut facts: Facts, (met, to): (u64, u64)) -> Facts {
    let wanted = if facts.limits.segment == Segment::Syn {
        SYN
    } else {
        ACK
    };
    for event in &log.events {
        let time = event.header.ktime;
        let meeting = (met..to).contains(&time);
        match &event.body {
            Body::Packet(packet) if ours(packet) => {
                if packet.dest_port == PORT {
                    let seen = packet.verdict == PACKET_PASSED && packet.flags & wanted != 0;
                    facts.came_in += u64::from(meeting && seen);
                } else if packet.flags & RST != 0 {
                    facts.resets += u64::from(time < to);
                } else if packet.flags & (SYN | ACK) == SYN | ACK {
                    facts.synacks_before += u64::from(time < met);
                    facts.synacks_after += u64::from(meeting);
                }
            }
            Body::TcpSynack(synack) if synack.id.remote_port == CLIENT_PORT => {
                facts.resends += u64::from(meeting);
            }
            Body::TcpTimer(timer) if timer.id.remote_port == CLIENT_PORT && time < to => {
                let kind = (timer.which, timer.action, timer.id.local_port);
                facts.requested |= kind == (TIMER_REQUEST, TIMER_STARTED, PORT);
            }
            _ => {}
        }
    }
    facts
}

/// Between the client and the listener.
fn ours(packet: &Packet) -> bool {
    let ports = (packet.source_port, packet.dest_port);
    ports == (CLIENT_PORT, PORT) || ports == (PORT, CLIENT_PORT)
}

/// The case is what it is meant to be: a full queue, and one segment that met it.
fn agree(facts: &Facts) -> Result<(), String> {
    let label = &facts.label;
    let say = |why: String| Err(format!("{label}: {why}"));
    let full = &facts.full;
    if full.counter(OVERFLOWS) != 1 || full.waiting < facts.limits.max_ack_backlog {
        return say(format!(
            "{} wait, {} refused",
            full.waiting,
            full.counter(OVERFLOWS)
        ));
    }
    if facts.came_in == 0 || facts.met.counter(OVERFLOWS) == 0 {
        return say("no segment of the client met the full queue".to_owned());
    }
    let queued = facts.limits.segment == Segment::Ack;
    if facts.requested != queued {
        return say(format!(
            "a request timer: {}, expected: {queued}",
            facts.requested
        ));
    }
    if let Some(held) = &facts.held {
        let (established, half_open) = (held.client == ESTABLISHED, held.half_open);
        if !established || half_open != u64::from(queued) || facts.synacks_before == 0 {
            return say(format!(
                "before, the client was in state {} with {half_open} half-open",
                held.client
            ));
        }
    }
    Ok(())
}
