//! A case's evidence in one place: the resets with their causes, the segments of each end, the states.
//!
//! A reset on the wire without an event is `Untold`: 5.10 and 6.1 fire `tcp_send_reset` with a full socket
//! only. So the wire, the events and the namespace's own count of RSTs are held against each other.

use std::collections::{BTreeMap, HashMap, VecDeque};

use probes_common::event::Header;
use probes_common::tcp::{Packet, RESET_RECEIVED, RESET_SENT, TCP_STACK_DEPTH, TcpReset, TcpState};

use super::cause::{
    CLOSE, CLOSE_WAIT, CLOSING, Cause, LAST_ACK, LISTEN, NEW_SYN_RECV, Reset, TIME_WAIT, classify,
};
use super::marks::{Ends, told};
use crate::kernel::symbols::stack::functions;
use crate::stream::Body;
use crate::trace::Symbol;
use crate::trace::scripted::CaseLog;

pub const FIN: u8 = 1;
pub const RST: u8 = 4;

/// What the kernel's numbers and addresses mean.
#[derive(Debug, Clone, Default)]
pub struct Names {
    pub symbols: Vec<Symbol>,
    /// `enum sk_rst_reason`, without the prefix; empty = this kernel has none.
    pub reasons: BTreeMap<u32, String>,
}

/// One RST that was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    pub ktime: u64,
    /// 0 = not known.
    pub pid: u32,
    pub comm: String,
    pub local_port: u16,
    pub remote_port: u16,
    pub cause: Cause,
    pub unread: u32,
    pub reason: Option<String>,
    /// The function nearest to the cause that the stack shows.
    pub function: Option<String>,
    /// Was it seen on the wire?
    pub on_wire: bool,
}

/// Follows sockets from state to state, so that each reset finds what came before it.
#[derive(Debug, Clone, Default)]
pub struct Resets {
    last: HashMap<u64, (u8, u8)>,
    /// Ended, and maybe not yet done with: a socket can be destroyed before its RST is sent.
    ended: VecDeque<u64>,
}

/// Ended sockets that are remembered.
const ENDED: usize = 1024;

impl Resets {
    pub fn state(&mut self, change: &TcpState) {
        self.last.insert(change.id.sock, (change.old, change.new));
    }

    pub fn destroyed(&mut self, sock: u64) {
        self.ended.push_back(sock);
        if self.ended.len() > ENDED
            && let Some(old) = self.ended.pop_front()
            && self.last.get(&old).is_some_and(|(_, new)| *new == CLOSE)
        {
            self.last.remove(&old);
        }
    }

    /// The state before the change that led to this one, if there was one.
    pub fn before(&self, reset: &TcpReset) -> Option<u8> {
        let (old, new) = self.last.get(&reset.id.sock)?;
        Some(if *new == reset.id.state { *old } else { *new })
    }

    pub fn sent(&self, header: &Header, reset: &TcpReset, names: &Names) -> Sent {
        let depth = usize::try_from(reset.depth).unwrap_or(TCP_STACK_DEPTH);
        let frames = &reset.stack[..depth.min(TCP_STACK_DEPTH)];
        let stack: Vec<&str> = functions(frames, &names.symbols).collect();
        let reason = names.reasons.get(&reset.reason).map(String::as_str);
        let before = self.before(reset);
        let known = Reset {
            reason: reason.filter(|reason| *reason != "NOT_SPECIFIED"),
            socket: reset.id.sock != 0,
            state: reset.id.state,
            before,
            unread: unread(reset, before),
            queue_full: reset.snap.ack_backlog > reset.snap.max_ack_backlog,
            stack,
        };
        Sent {
            ktime: header.ktime,
            pid: header.pid,
            comm: comm(&reset.comm),
            local_port: reset.id.local_port,
            remote_port: reset.id.remote_port,
            cause: classify(&known),
            unread: known.unread,
            reason: known.reason.map(str::to_owned),
            function: deciding(&known.stack),
            on_wire: false,
        }
    }
}

pub fn comm(bytes: &[u8; 16]) -> String {
    let len = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

/// Acknowledged and never read. A FIN has a number of its own that nobody reads.
fn unread(reset: &TcpReset, before: Option<u8>) -> u32 {
    let state = reset.id.state;
    if reset.id.sock == 0 || [TIME_WAIT, NEW_SYN_RECV, LISTEN].contains(&state) {
        return 0;
    }
    let ended = [CLOSE_WAIT, CLOSING, LAST_ACK];
    let fin = ended.contains(&state) || before.is_some_and(|before| ended.contains(&before));
    let bytes = reset.snap.rcv_nxt.wrapping_sub(reset.snap.copied_seq);
    // What was read beyond rcv_nxt is nothing that a socket can have.
    let bytes = if bytes > i32::MAX as u32 { 0 } else { bytes };
    bytes.saturating_sub(u32::from(fin))
}

/// What a person would want to see of the stack.
fn deciding(stack: &[&str]) -> Option<String> {
    let plain = ["tcp_send_active_reset", "tcp_v4_do_rcv", "tcp_v6_do_rcv"];
    let told = stack.iter().find(|name| !plain.contains(*name));
    told.or(stack.first()).map(|name| (*name).to_owned())
}

fn untold(ktime: u64, packet: &Packet) -> Sent {
    Sent {
        ktime,
        pid: 0,
        comm: String::new(),
        local_port: packet.source_port,
        remote_port: packet.dest_port,
        cause: Cause::Untold,
        unread: 0,
        reason: None,
        function: None,
        on_wire: true,
    }
}

/// A case with its ends and all that the claims ask of it.
#[derive(Debug)]
pub struct CaseView<'a> {
    pub log: &'a CaseLog,
    pub ends: Option<Ends>,
    pub sent: Vec<Sent>,
}

impl<'a> CaseView<'a> {
    pub fn new(log: &'a CaseLog, names: &Names) -> CaseView<'a> {
        let mut resets = Resets::default();
        let mut sent = Vec::new();
        for event in &log.events {
            match &event.body {
                Body::TcpState(change) => resets.state(change),
                Body::TcpDestroy(its) => resets.destroyed(its.id.sock),
                Body::TcpReset(reset) if reset.direction == RESET_SENT => {
                    sent.push(resets.sent(&event.header, reset, names));
                }
                _ => {}
            }
        }
        let mut view = CaseView {
            log,
            ends: told(log),
            sent,
        };
        view.join_wire();
        view
    }

    /// Each RST on the wire finds its event, or becomes an entry of its own.
    fn join_wire(&mut self) {
        let wire: Vec<(u64, Packet)> = self
            .packets(RST)
            .map(|(time, packet)| (time, *packet))
            .collect();
        for (ktime, packet) in wire {
            // The event of an answer in a listener's name has the listener's ends: no peer.
            let exact = self.place(&packet, packet.dest_port);
            match exact.or_else(|| self.place(&packet, 0)) {
                Some(at) => {
                    self.sent[at].on_wire = true;
                    self.sent[at].remote_port = packet.dest_port;
                }
                None => self.sent.push(untold(ktime, &packet)),
            }
        }
    }

    fn place(&self, packet: &Packet, remote: u16) -> Option<usize> {
        self.sent.iter().position(|sent| {
            !sent.on_wire && (sent.local_port, sent.remote_port) == (packet.source_port, remote)
        })
    }

    /// Segments with one of these flags.
    pub fn packets(&self, flags: u8) -> impl Iterator<Item = (u64, &Packet)> {
        self.log
            .events
            .iter()
            .filter_map(move |event| match &event.body {
                Body::Packet(packet) if packet.flags & flags != 0 => {
                    Some((event.header.ktime, packet))
                }
                _ => None,
            })
    }

    /// Of these, how many the closer sent.
    pub fn by_closer(&self, flags: u8) -> u64 {
        let Some(ends) = self.ends else { return 0 };
        let sent = self
            .packets(flags)
            .filter(|(_, packet)| packet.source_port == ends.closer);
        sent.count() as u64
    }

    pub fn resets_by_closer(&self) -> impl Iterator<Item = &Sent> {
        let closer = self.ends.map(|ends| ends.closer);
        self.sent
            .iter()
            .filter(move |sent| Some(sent.local_port) == closer)
    }

    /// The closer's changes of state.
    pub fn states(&self) -> impl Iterator<Item = (u64, &TcpState)> {
        let ends = self.ends;
        self.log
            .events
            .iter()
            .filter_map(move |event| match &event.body {
                Body::TcpState(change)
                    if ends.is_some_and(|ends| {
                        (change.id.local_port, change.id.remote_port) == (ends.closer, ends.peer)
                    }) =>
                {
                    Some((event.header.ktime, change))
                }
                _ => None,
            })
    }

    /// When the closer first came to one of these states, and with which numbers.
    pub fn came_to(&self, states: &[u8]) -> Option<(u64, &TcpState)> {
        self.states()
            .find(|(_, change)| states.contains(&change.new))
    }

    /// RSTs that arrived at a socket, by the kernel's word.
    pub fn received(&self) -> u64 {
        let got = self.log.events.iter().filter(|event| {
            matches!(&event.body, Body::TcpReset(reset) if reset.direction == RESET_RECEIVED)
        });
        got.count() as u64
    }

    /// On the wire, as the namespace counted them, and as told by events or found without one.
    pub fn counts(&self) -> [u64; 3] {
        [
            self.packets(RST).count() as u64,
            self.log.counter("TcpOutRsts"),
            self.sent.len() as u64,
        ]
    }

    /// Did every RST leave the same trace everywhere?
    pub fn counts_agree(&self) -> bool {
        let [wire, counted, told] = self.counts();
        wire == counted && counted == told
    }
}
