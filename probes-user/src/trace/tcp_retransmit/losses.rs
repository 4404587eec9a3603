//! The watch of a command whose segments are lost on purpose (`--drop`): every loss with the resend that answers it.

use serde_json::{Value, json};

use super::flow::{Flow, Seen, Wire};
use super::rules::ms;
use super::ties::{Resend, Tie, resends};
use crate::evidence::Table;
use crate::kernel::tcp;
use crate::stream::{Body, Event};
use crate::trace::Symbol;
use crate::trace::tcp::ends::Ends;
use crate::trace::tcp::flow::Owner;

/// Events that are kept: packets and resends.
const EVENTS: usize = 100_000;

/// What to drop, as it was asked for: the n-th is rule n + 1.
#[derive(Debug, Default)]
pub struct Losses {
    pub asked: Vec<String>,
    events: Vec<Event>,
    /// Of more than are kept.
    left_out: u64,
}

impl Losses {
    pub fn new(asked: Vec<String>) -> Losses {
        Losses {
            asked,
            ..Losses::default()
        }
    }

    pub fn event(&mut self, event: &Event) {
        let told = matches!(
            event.body,
            Body::Packet(_) | Body::TcpRetransmit(_) | Body::TcpSynack(_)
        );
        if !told {
            return;
        }
        if self.events.len() >= EVENTS {
            self.left_out += 1;
            return;
        }
        self.events.push(*event);
    }

    /// Each lost packet in order of time, with the first resend that answers it and its sender's owner.
    pub fn table(
        &self,
        symbols: &[Symbol],
        begun: u64,
        owner: impl Fn(&Ends) -> Option<Owner>,
    ) -> Table {
        let columns = [
            ("rule", "dropped by"),
            ("at_ms", "at ms"),
            ("from", "from"),
            ("to", "to"),
            ("bytes", "bytes"),
            ("resent_ms", "resent after ms"),
            ("cause", "by"),
            ("lost", "lost"),
            ("owner", "sender"),
            ("pid", "pid"),
        ];
        let mut table = Table::new("losses", "Lost on purpose, and what answered it", &columns);
        let wire = Wire::new(&self.events);
        let resends = resends(&self.events, symbols);
        let mut lost: Vec<(Flow, Seen)> = wire
            .flows()
            .flat_map(|(flow, seen)| seen.iter().map(|seen| (*flow, *seen)))
            .filter(|(_, seen)| seen.dropped())
            .collect();
        lost.sort_by_key(|(flow, seen)| (seen.time, *flow));
        for (flow, seen) in lost {
            // A lost SYN-ACK is a lost segment to one end and a lost acknowledgement to the other.
            let own = |resend: &&Resend| of_segment(resend, flow, &seen);
            let other = |resend: &&Resend| of_ack(resend, flow, &seen);
            let answer = resends.iter().find(own);
            let answer = answer.or_else(|| resends.iter().find(other));
            let sender = answer.map_or(flow, |resend| resend.flow);
            let owner = owner(&ends(sender));
            let rule = self.asked.get((seen.packet.rule as usize).wrapping_sub(1));
            table.rows.push(vec![
                json!(rule),
                json!(ms(seen.time.saturating_sub(begun))),
                json!(ends(flow).local.to_string()),
                json!(ends(flow).remote.to_string()),
                json!(seen.packet.payload),
                json!(answer.map(|resend| ms(resend.time.saturating_sub(seen.time)))),
                json!(answer.map(|resend| resend.cause.name())),
                json!(answer.map(|resend| word(resend.tie))),
                owner.as_ref().map_or(Value::Null, |its| json!(its.comm)),
                owner.as_ref().map_or(Value::Null, |its| json!(its.pid)),
            ]);
        }
        table
    }

    pub fn remarks(&self) -> Option<String> {
        (self.left_out > 0).then(|| {
            let left = self.left_out;
            format!("{left} later packets and resends are not tied to one another")
        })
    }
}

const fn word(tie: Tie) -> &'static str {
    match tie {
        Tie::SegmentLost { .. } => "segment",
        Tie::AckLost { .. } => "ACK",
        Tie::Nothing => "nothing",
    }
}

fn of_segment(resend: &Resend, flow: Flow, seen: &Seen) -> bool {
    let lost = matches!(resend.tie, Tie::SegmentLost { at, .. } if at == seen.time);
    lost && resend.flow == flow
}

/// A dropped acknowledgement is answered by the other end.
fn of_ack(resend: &Resend, flow: Flow, seen: &Seen) -> bool {
    let lost = matches!(resend.tie, Tie::AckLost { at, .. } if at == seen.time);
    lost && resend.flow.back() == flow
}

fn ends(flow: Flow) -> Ends {
    let end = |(bytes, port)| std::net::SocketAddr::new(tcp::address(flow.family, bytes), port);
    Ends {
        netns: flow.netns,
        local: end(flow.from),
        remote: end(flow.to),
    }
}
