//! Every followed socket, from the events of the instrument `tcp` and the marks of a watch. Pure.
//!
//! A socket is its pointer and a generation: pointers are used again after the end, and a new life begins
//! where the diagram has one begin. TIME_WAIT and half-open requests are small sockets of their own, which
//! state events never show: their timers do, tied to the connection by its ends. What could fool it: an
//! event that was lost (then the next does not follow from the last, which is told as a fault), and a
//! namespace whose number is used again within a run.

use std::collections::{BTreeSet, HashMap};

use probes_common::event::Header;
use probes_common::tcp::{
    HS_ACCEPTED, Handshake, TIMER_EXPIRED, TIMER_REQUEST, TIMER_STARTED, TIMER_TIME_WAIT,
    TcpDestroy, TcpState, TcpTimer,
};

use super::diagram;
use super::ends::Ends;
use super::flow::{Flow, Owner, Role, Source, TimeWait};
use super::owners::Names;
use crate::kernel::tcp::{
    CLOSE, CLOSE_WAIT, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, LAST_ACK, LISTEN, SYN_RECV, SYN_SENT,
    TIME_WAIT, state_name,
};
use crate::stream::{Body, Event, Item};

/// An entry of a listener's queue of half-open connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfOpen {
    pub sock: u64,
    pub since: u64,
    /// Starts of its timer: one, and one for each resent SYN+ACK.
    pub starts: u32,
    /// Its timer has expired and was not started again: it is gone.
    pub over: bool,
}

/// Half-open entries that are over are swept out when this many more have come.
const SWEEP: usize = 4096;

#[derive(Debug, Default)]
pub struct Flows {
    pub(super) open: HashMap<u64, Flow>,
    next: u64,
    pub(super) by_sock: HashMap<u64, u64>,
    /// Connections with both ports known, TIME_WAIT included; listeners are not in it.
    pub(super) by_ends: HashMap<Ends, u64>,
    pub(super) listeners: BTreeSet<u64>,
    by_time_wait: HashMap<u64, u64>,
    generations: HashMap<u64, u32>,
    pub(super) requests: HashMap<Ends, HalfOpen>,
    pub(super) names: Names,
    done: Vec<Flow>,
}

impl Flows {
    pub fn item(&mut self, item: &Item) {
        match item {
            Item::Event(event) => self.event(event),
            Item::Mark(mark) => self.mark(mark),
        }
    }

    pub fn event(&mut self, event: &Event) {
        self.names.event(event);
        let header = &event.header;
        match &event.body {
            Body::TcpState(its) => self.state(header, its),
            Body::TcpDestroy(its) => self.destroyed(header.ktime, its),
            Body::TcpTimer(its) => self.timer(header.ktime, its),
            Body::Handshake(its) if its.what == HS_ACCEPTED => self.accepted(header, its),
            _ => {}
        }
    }

    /// Sockets that have not ended, in no order.
    pub fn open(&self) -> impl Iterator<Item = &Flow> {
        self.open.values()
    }

    /// The connection with these ends that has not ended.
    pub fn at(&self, ends: &Ends) -> Option<&Flow> {
        self.by_ends.get(ends).and_then(|key| self.open.get(key))
    }

    pub fn half_open(&self) -> impl Iterator<Item = (&Ends, &HalfOpen)> {
        self.requests.iter().filter(|(_, entry)| !entry.over)
    }

    /// Those that have ended since the last call, in order of their ends.
    pub fn take_done(&mut self) -> Vec<Flow> {
        std::mem::take(&mut self.done)
    }

    pub fn names(&self) -> &Names {
        &self.names
    }

    fn state(&mut self, header: &Header, its: &TcpState) {
        // close() of a socket that was never connected.
        if its.old == its.new {
            return;
        }
        let key = match begins(its.old, its.new) {
            Some(role) => self.begin(header.ktime, its, role),
            None => self.known(header.ktime, its),
        };
        let Some(flow) = self.open.get_mut(&key) else {
            return;
        };
        if begins(its.old, its.new).is_none() {
            check(flow, its);
        }
        if !diagram::allows(its.old, its.new) {
            let arrow = format!("{}→{}", state_name(its.old), state_name(its.new));
            flow.faults.push(format!("{arrow} is not in the diagram"));
        }
        flow.listed_only = false;
        flow.snap = its.snap;
        flow.err = its.err;
        flow.cookie = its.id.cookie.max(flow.cookie);
        flow.uid = its.id.uid.max(flow.uid);
        if let Some(source) = caller(its.old, its.new)
            && let Some(owner) = owner(header, its, source)
        {
            flow.owned(owner);
        }
        if its.new == CLOSE {
            self.closed(key, header.ktime, its);
        } else {
            if begins(its.old, its.new).is_none() {
                flow.step(its.new, Some(header.ktime));
            }
            self.learn_ends(key, header.ktime, its);
        }
    }

    /// A new life at a pointer.
    fn begin(&mut self, ktime: u64, its: &TcpState, role: Role) -> u64 {
        if let Some(old) = self.by_sock.get(&its.id.sock).copied() {
            if let Some(flow) = self.open.get_mut(&old) {
                flow.faults.push("its end was not seen".to_owned());
            }
            self.finish(old, ktime);
        }
        let mut flow = Flow::new(Ends::of(&its.id), its.id.family, ktime, role);
        flow.step(its.new, Some(ktime));
        self.insert(its.id.sock, flow)
    }

    fn insert(&mut self, sock: u64, mut flow: Flow) -> u64 {
        let generation = self.generations.entry(sock).or_default();
        *generation += 1;
        (flow.sock, flow.generation) = (sock, *generation);
        self.keep(flow)
    }

    /// A flow without a pointer of its own is kept too: what is known from a list only.
    pub(super) fn keep(&mut self, flow: Flow) -> u64 {
        self.next += 1;
        if flow.sock != 0 {
            self.by_sock.insert(flow.sock, self.next);
        }
        if flow.is_listener() {
            self.listeners.insert(self.next);
        } else if flow.ends.whole() {
            // Who has these ends already gives way only when this one's are learnt.
            self.by_ends.entry(flow.ends).or_insert(self.next);
        }
        self.open.insert(self.next, flow);
        self.next
    }

    /// The flow of a pointer; one that a list has shown; or one that nobody has told of.
    fn known(&mut self, ktime: u64, its: &TcpState) -> u64 {
        let sock = its.id.sock;
        if let Some(key) = self.by_sock.get(&sock) {
            return *key;
        }
        let ends = Ends::of(&its.id);
        let listed = match its.old {
            LISTEN => self.listed_listener(&ends, its.id.cookie),
            _ => self.by_ends.get(&ends).copied(),
        };
        let listed = listed.filter(|key| {
            let flow = self.open.get(key);
            flow.is_some_and(|flow| flow.sock == 0 && flow.time_wait.is_none())
        });
        if let Some(key) = listed {
            self.bind(key, sock);
            return key;
        }
        let role = match its.old {
            LISTEN => Role::Listener,
            SYN_SENT => Role::Active,
            SYN_RECV => Role::Passive,
            _ => Role::Unknown,
        };
        let mut flow = Flow::new(ends, its.id.family, ktime, role);
        flow.step(its.old, None);
        self.insert(sock, flow)
    }

    fn bind(&mut self, key: u64, sock: u64) {
        let generation = self.generations.entry(sock).or_default();
        *generation += 1;
        if let Some(flow) = self.open.get_mut(&key) {
            (flow.sock, flow.generation) = (sock, *generation);
        }
        self.by_sock.insert(sock, key);
    }

    /// Ports come late: a client's is chosen after SYN_SENT, a child's peer is told after SYN_RECV.
    fn learn_ends(&mut self, key: u64, ktime: u64, its: &TcpState) {
        let ends = Ends::of(&its.id);
        let listens = its.new == LISTEN;
        if !ends.whole() || listens {
            return;
        }
        match self.by_ends.get(&ends).copied() {
            // A child's peer is known from its begin on newer kernels: then that is when it learns the rest.
            Some(same) if same == key && begins(its.old, its.new).is_none() => return,
            Some(same) if same == key => {}
            Some(other) => self.replaced(other, key, ktime),
            None => {}
        }
        self.by_ends.insert(ends, key);
        let request = self.requests.remove(&ends);
        let listener = self.listener_owner(&ends);
        let Some(flow) = self.open.get_mut(&key) else {
            return;
        };
        flow.ends = ends;
        if flow.role == Role::Passive {
            // It was half open from the request on.
            if let (Some(request), Some(first)) = (request, flow.path.first_mut())
                && first.state == SYN_RECV
            {
                first.since = Some(request.since);
                flow.begun = request.since;
            }
            if let Some(owner) = listener {
                flow.owned(owner);
            }
        }
    }

    /// Another flow has the same ends: the same socket as a list had it, or a TIME_WAIT that gave way.
    fn replaced(&mut self, other: u64, by: u64, ktime: u64) {
        let listed = self.open.get(&other).is_some_and(|flow| flow.listed_only);
        if !listed {
            self.finish(other, ktime);
            return;
        }
        if let (Some(old), Some(flow)) = (self.open.remove(&other), self.open.get_mut(&by)) {
            flow.inode = old.inode;
            flow.cookie = flow.cookie.max(old.cookie);
            flow.holders = old.holders;
            if let Some(owner) = old.owner {
                flow.owned(owner);
            }
        }
    }

    /// CLOSE: the end, unless TIME_WAIT takes over.
    fn closed(&mut self, key: u64, ktime: u64, its: &TcpState) {
        self.by_sock.remove(&its.id.sock);
        let Some(flow) = self.open.get_mut(&key) else {
            return;
        };
        flow.closed = Some(ktime);
        if let Some(small) = flow.time_wait
            && small.expired.is_none()
        {
            if small.state != flow.state() {
                flow.step(small.state, Some(small.started));
            }
            return;
        }
        let ends = flow.ends;
        flow.step(CLOSE, Some(ktime));
        self.finish(key, ktime);
        if its.old == LAST_ACK && its.err == 0 {
            self.peer_waits(&ends, ktime);
        }
    }

    /// Our last ACK came from the other end, so that it has had our FIN: its small socket, if it is here, is
    /// in TIME_WAIT by now. Its timer does not tell: it is started anew only if that changes its slot.
    fn peer_waits(&mut self, ends: &Ends, ktime: u64) {
        let peer = self.by_ends.get(&ends.mirrored());
        let Some(flow) = peer.and_then(|key| self.open.get_mut(key)) else {
            return;
        };
        if let Some(small) = &mut flow.time_wait
            && small.state == FIN_WAIT2
        {
            small.state = TIME_WAIT;
            if flow.state() == FIN_WAIT2 {
                flow.step(TIME_WAIT, Some(ktime));
            }
        }
    }

    fn destroyed(&mut self, ktime: u64, its: &TcpDestroy) {
        let Some(key) = self.by_sock.get(&its.id.sock).copied() else {
            return;
        };
        if let Some(flow) = self.open.get_mut(&key) {
            let last = state_name(flow.state());
            flow.faults.push(format!("destroyed while in {last}"));
        }
        self.finish(key, ktime);
    }

    pub(super) fn finish(&mut self, key: u64, ktime: u64) {
        let Some(mut flow) = self.open.remove(&key) else {
            return;
        };
        if self.by_sock.get(&flow.sock) == Some(&key) {
            self.by_sock.remove(&flow.sock);
        }
        if self.by_ends.get(&flow.ends) == Some(&key) {
            self.by_ends.remove(&flow.ends);
        }
        self.listeners.remove(&key);
        if let Some(small) = flow.time_wait
            && self.by_time_wait.get(&small.sock) == Some(&key)
        {
            self.by_time_wait.remove(&small.sock);
        }
        flow.ended = Some(ktime);
        flow.closed.get_or_insert(ktime);
        self.done.push(flow);
    }

    fn accepted(&mut self, header: &Header, its: &Handshake) {
        let key = self.by_sock.get(&its.other);
        if let Some(flow) = key.and_then(|key| self.open.get_mut(key))
            && header.tgid != 0
        {
            flow.owned(Owner {
                pid: header.tgid,
                comm: self.names.of(header.tgid),
                source: Source::Accept,
            });
        }
    }

    fn timer(&mut self, ktime: u64, its: &TcpTimer) {
        match (its.which, its.action) {
            (TIMER_TIME_WAIT, TIMER_STARTED) => self.waits(ktime, its),
            (TIMER_TIME_WAIT, TIMER_EXPIRED) => self.waited(ktime, its),
            (TIMER_REQUEST, TIMER_STARTED) => {
                let ends = Ends::of(&its.id);
                let new = HalfOpen {
                    sock: its.id.sock,
                    since: ktime,
                    starts: 0,
                    over: false,
                };
                if self.requests.len() % SWEEP == SWEEP - 1 {
                    self.requests.retain(|_, entry| !entry.over);
                }
                let entry = self.requests.entry(ends).or_insert(new);
                if entry.sock != its.id.sock {
                    *entry = new;
                }
                entry.starts += 1;
                entry.over = false;
            }
            (TIMER_REQUEST, TIMER_EXPIRED) => {
                if let Some(entry) = self.requests.get_mut(&Ends::of(&its.id)) {
                    entry.over = true;
                }
            }
            _ => {}
        }
    }

    fn waits(&mut self, ktime: u64, its: &TcpTimer) {
        let ends = Ends::of(&its.id);
        let state = if its.id.state == FIN_WAIT2 {
            FIN_WAIT2
        } else {
            TIME_WAIT
        };
        let small = TimeWait {
            sock: its.id.sock,
            state,
            started: ktime,
            timeout: its.timeout,
            expired: None,
        };
        let before = self.by_time_wait.get(&small.sock).copied();
        let key = self.by_ends.get(&ends).copied();
        // The pointer is another connection's now.
        if let Some(other) = before.filter(|before| Some(*before) != key) {
            self.finish(other, ktime);
        }
        let key = key.unwrap_or_else(|| {
            let mut flow = Flow::new(ends, its.id.family, ktime, Role::Unknown);
            flow.step(state, Some(ktime));
            self.keep(flow)
        });
        self.by_time_wait.insert(small.sock, key);
        if let Some(flow) = self.open.get_mut(&key) {
            let took_over = !self.by_sock.contains_key(&flow.sock);
            if took_over && flow.state() != state {
                flow.step(state, Some(ktime));
            }
            flow.time_wait = Some(small);
        }
    }

    fn waited(&mut self, ktime: u64, its: &TcpTimer) {
        let by_pointer = self.by_time_wait.get(&its.id.sock);
        let listed = || self.by_ends.get(&Ends::of(&its.id));
        let Some(key) = by_pointer.or_else(listed).copied() else {
            return;
        };
        let Some(flow) = self.open.get_mut(&key) else {
            return;
        };
        let Some(small) = &mut flow.time_wait else {
            return;
        };
        small.expired = Some(ktime);
        // The substate at its end: a small socket that began in FIN_WAIT2 may have come to TIME_WAIT unseen.
        if small.state == FIN_WAIT2 && its.id.state == TIME_WAIT {
            small.state = TIME_WAIT;
            flow.step(TIME_WAIT, None);
        }
        flow.step(CLOSE, Some(ktime));
        self.finish(key, ktime);
    }
}

/// The transitions that begin a life, and whose.
fn begins(old: u8, new: u8) -> Option<Role> {
    match (old, new) {
        (CLOSE, SYN_SENT) => Some(Role::Active),
        (LISTEN, SYN_RECV) => Some(Role::Passive),
        (CLOSE, LISTEN) => Some(Role::Listener),
        _ => None,
    }
}

/// The transitions that only a system call makes, so that the current task is the one that did it.
fn caller(old: u8, new: u8) -> Option<Source> {
    match (old, new) {
        (CLOSE, SYN_SENT | LISTEN) => Some(Source::Call),
        (_, FIN_WAIT1) | (CLOSE_WAIT, LAST_ACK) | (LISTEN, CLOSE) => Some(Source::Close),
        _ => None,
    }
}

/// A last descriptor dropped in interrupt context is closed by a kernel worker, which owns nothing.
fn owner(header: &Header, its: &TcpState, source: Source) -> Option<Owner> {
    let comm = super::owners::text(&its.comm);
    (header.tgid != 0 && !comm.starts_with("kworker/")).then_some(Owner {
        pid: header.tgid,
        comm,
        source,
    })
}

/// Does the event follow from the one before?
fn check(flow: &mut Flow, its: &TcpState) {
    let last = flow.state();
    if last == its.old {
        return;
    }
    if flow.listed_only
        || (flow.role == Role::Passive && last == ESTABLISHED && its.old == SYN_RECV)
    {
        // The list is younger than this event by a little.
        if let Some(step) = flow.path.last_mut() {
            (step.state, step.since) = (its.old, None);
        }
        return;
    }
    let (last, old) = (state_name(last), state_name(its.old));
    flow.faults
        .push(format!("left {old}, but was last seen to enter {last}"));
    flow.step(its.old, None);
}
