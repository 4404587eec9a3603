//! The two ends of a connection, and the packets of each direction as the surgeon saw them.

use std::collections::HashMap;

use probes_common::tcp::{PACKET_DROPPED, Packet, SockId};

use super::seq::{Range, before};
use crate::stream::{Body, Event};

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const ACK: u8 = 16;

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    pub netns: u32,
    pub family: u16,
    pub from: ([u8; 16], u16),
    pub to: ([u8; 16], u16),
}

impl Flow {
    /// What this socket sends.
    pub fn sent_by(id: &SockId) -> Flow {
        Flow {
            netns: id.netns,
            family: id.family,
            from: (id.local_addr, id.local_port),
            to: (id.remote_addr, id.remote_port),
        }
    }

    pub fn of(packet: &Packet) -> Flow {
        Flow {
            netns: packet.netns,
            family: packet.family,
            from: (packet.source_addr, packet.source_port),
            to: (packet.dest_addr, packet.dest_port),
        }
    }

    pub fn back(self) -> Flow {
        Flow {
            from: self.to,
            to: self.from,
            ..self
        }
    }
}

/// A packet at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    pub time: u64,
    pub packet: Packet,
}

impl Seen {
    /// Sequence numbers that it takes: payload, SYN and FIN.
    pub fn range(&self) -> Range {
        let flags = self.packet.flags;
        let signs = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        Range::new(self.packet.seq, u32::from(self.packet.payload) + signs)
    }

    pub fn dropped(&self) -> bool {
        self.packet.verdict == PACKET_DROPPED
    }

    /// Does it acknowledge all of `range`?
    pub fn acknowledges(&self, range: Range) -> bool {
        self.packet.flags & ACK != 0 && !before(self.packet.ack, range.end)
    }
}

/// All packets of a case, by direction and in order of time.
#[derive(Debug, Default)]
pub struct Wire(HashMap<Flow, Vec<Seen>>);

impl Wire {
    /// `events` in order of time.
    pub fn new<'a>(events: impl IntoIterator<Item = &'a Event>) -> Wire {
        let mut wire = Wire::default();
        for event in events {
            if let Body::Packet(packet) = &event.body {
                let seen = Seen {
                    time: event.header.ktime,
                    packet: *packet,
                };
                wire.0.entry(Flow::of(packet)).or_default().push(seen);
            }
        }
        wire
    }

    pub fn of(&self, flow: Flow) -> &[Seen] {
        self.0.get(&flow).map_or(&[], Vec::as_slice)
    }

    pub fn flows(&self) -> impl Iterator<Item = (&Flow, &[Seen])> {
        self.0.iter().map(|(flow, seen)| (flow, seen.as_slice()))
    }

    /// Copies of the segment that holds this byte.
    pub fn copies(&self, flow: Flow, byte: u32) -> impl Iterator<Item = &Seen> {
        let seen = self.of(flow).iter();
        seen.filter(move |seen| seen.range().holds(byte))
    }
}
