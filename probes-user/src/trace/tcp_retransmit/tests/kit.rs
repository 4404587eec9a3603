//! A connection made by hand: what the wire carried, what the kernel resent, which timers it armed.

use probes_common::event::{Header, Kind};
use probes_common::tcp::{
    PACKET_DROPPED, PACKET_PASSED, Packet, SockId, TIMER_EXPIRED, TIMER_STARTED, TIMER_WRITE,
    TcpRetransmit, TcpSynack, TcpTimer,
};

use crate::stream::{Body, Event};
use crate::trace::Symbol;
use crate::trace::tcp_retransmit::cause::SYMBOLS;

pub const CLIENT: u16 = 40_000;
pub const SERVER: u16 = 8_080;
pub const SOCK: u64 = 0x1000;
pub const REQUEST: u64 = 0x2000;
pub const MSS: u16 = 1_000;
pub const ACK: u8 = 16;
pub const MS: u64 = 1_000_000;
const INTERRUPT: &str = "asm_sysvec_apic_timer_interrupt";

/// `icsk_ca_state`
pub const OPEN: u8 = 0;
pub const RECOVERY: u8 = 3;
pub const LOSS: u8 = 4;

pub const BY_RTO: &[&str] = &[
    "tcp_retransmit_timer",
    "tcp_write_timer_handler",
    "tcp_write_timer",
];
pub const BY_PROBE: &[&str] = &["tcp_send_loss_probe", "tcp_write_timer_handler"];
pub const BY_ACK: &[&str] = &["tcp_xmit_recovery", "tcp_ack", "tcp_rcv_established"];

pub fn symbols() -> Vec<Symbol> {
    let names = SYMBOLS.iter().copied().chain([INTERRUPT]);
    let placed = names.enumerate().map(|(at, name)| Symbol {
        name: name.to_owned(),
        start: 0x10_0000 * (at as u64 + 1),
        end: 0x10_0000 * (at as u64 + 1) + 0x1000,
    });
    placed.collect()
}

pub fn id() -> SockId {
    SockId {
        sock: SOCK,
        netns: 7,
        family: 2,
        state: 1,
        local_port: CLIENT,
        remote_port: SERVER,
        local_addr: address(),
        remote_addr: address(),
        ..SockId::default()
    }
}

fn address() -> [u8; 16] {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[127, 0, 0, 1]);
    address
}

/// A resend with these functions on its stack; names that the kernel's symbols lack stand for others.
pub fn resend_with(stack: &[&str], ca_state: u8, pending: u8) -> TcpRetransmit {
    let symbols = symbols();
    let mut resend = TcpRetransmit {
        id: id(),
        depth: stack.len() as u32,
        ..TcpRetransmit::default()
    };
    resend.snap.ca_state = ca_state;
    resend.snap.pending = pending;
    for (slot, name) in resend.stack.iter_mut().zip(stack) {
        let symbol = symbols.iter().find(|symbol| symbol.name == *name);
        *slot = symbol.map_or(0xdead_0000, |symbol| symbol.start + 0x10);
    }
    resend
}

#[derive(Debug, Default, Clone)]
pub struct Wire {
    pub events: Vec<Event>,
    cpu: u32,
}

impl Wire {
    pub fn event(&mut self, time: u64, kind: Kind, body: Body) {
        self.cpu = (self.cpu + 1) % 4;
        let header = Header {
            ktime: time,
            kind: kind as u16,
            cpu: self.cpu,
            ..Header::default()
        };
        self.events.push(Event { header, body });
    }

    /// From the client.
    pub fn data(&mut self, time: u64, seq: u32, passes: bool) -> &mut Wire {
        self.packet(time, true, seq, MSS, ACK, 0, passes)
    }

    /// From the server.
    pub fn ack(&mut self, time: u64, ack: u32, passes: bool) -> &mut Wire {
        self.packet(time, false, 1, 0, ACK, ack, passes)
    }

    #[expect(clippy::too_many_arguments, reason = "a packet has that many fields")]
    pub fn packet(
        &mut self,
        time: u64,
        of_client: bool,
        seq: u32,
        payload: u16,
        flags: u8,
        ack: u32,
        passes: bool,
    ) -> &mut Wire {
        let (source_port, dest_port) = match of_client {
            true => (CLIENT, SERVER),
            false => (SERVER, CLIENT),
        };
        let packet = Packet {
            netns: 7,
            family: 2,
            source_port,
            dest_port,
            source_addr: address(),
            dest_addr: address(),
            seq,
            ack,
            flags,
            payload,
            verdict: if passes {
                PACKET_PASSED
            } else {
                PACKET_DROPPED
            },
            rule: u32::from(!passes),
            ..Packet::default()
        };
        self.event(time, Kind::Packet, Body::Packet(packet));
        self
    }

    pub fn resend(&mut self, time: u64, seq: u32, its: TcpRetransmit) -> &mut Wire {
        let its = TcpRetransmit {
            seq,
            end_seq: seq.wrapping_add(u32::from(MSS)),
            ..its
        };
        self.event(time, Kind::TcpRetransmit, Body::TcpRetransmit(its));
        self
    }

    /// A time-out at this back-off step.
    pub fn rto(&mut self, time: u64, seq: u32, backoff: u8) -> &mut Wire {
        self.rto_after(time, seq, backoff, 51)
    }

    /// The wait that ended, in jiffies.
    pub fn rto_after(&mut self, time: u64, seq: u32, backoff: u8, wait: u64) -> &mut Wire {
        let mut its = resend_with(BY_RTO, LOSS, 0);
        its.snap.backoff = backoff;
        its.snap.rto = wait as u32;
        self.resend(time, seq, its)
    }

    pub fn synack(&mut self, time: u64) -> &mut Wire {
        let its = TcpSynack {
            id: SockId {
                sock: REQUEST,
                local_port: SERVER,
                remote_port: CLIENT,
                ..id()
            },
            ..TcpSynack::default()
        };
        self.event(time, Kind::TcpSynack, Body::TcpSynack(its));
        self
    }

    pub fn armed(&mut self, time: u64, jiffies: u64) -> &mut Wire {
        self.timer(time, SOCK, TIMER_WRITE, TIMER_STARTED, jiffies)
    }

    pub fn expired(&mut self, time: u64) -> &mut Wire {
        self.timer(time, SOCK, TIMER_WRITE, TIMER_EXPIRED, 0)
    }

    pub fn timer(
        &mut self,
        time: u64,
        sock: u64,
        which: u8,
        action: u8,
        timeout: u64,
    ) -> &mut Wire {
        let timer = TcpTimer {
            id: SockId { sock, ..id() },
            which,
            action,
            timeout,
            ..TcpTimer::default()
        };
        self.event(time, Kind::TcpTimer, Body::TcpTimer(timer));
        self
    }
}
