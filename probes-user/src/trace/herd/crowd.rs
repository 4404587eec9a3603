//! The workers of one scene (or of one watch), their connections, and what ties the two together.
//!
//! A waking belongs to a connection when its stack says so and the socket in this CPU's slot is that
//! connection's, in the same phase. A cascade belongs to the connection that its waker was woken for.
//! What could fool it is counted, never guessed: wakings without an owner, without a stack, from
//! another phase, of tasks not yet seen.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use probes_common::event::{
    Exec, Exit, Fork, Header, SWITCH_PREEMPT, SockState, Switch, SysExit, WaitWake, Waking,
};

use super::calls;
use super::connection::{ConnId, Connection, Connections, Sleeper};
use super::registrations::Registrations;
use super::stack::{Cause, Classifier};
use super::tasks::{Met, State};
use super::timeline::{Lane, Timeline};
use super::worker::{Call, Episode, Worker};
use crate::evidence::Histogram;
use crate::stream::{Body, Event};

const SYN_RECV: u8 = 3;
const ESTABLISHED: u8 = 1;
/// Listening sockets told apart on one port.
const LISTENERS: usize = 1024;

/// Positive controls and everything that could not be tied to a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub established: u64,
    pub wakings: u64,
    pub data_ready: u64,
    /// Successful accepts, and those whose connection was not seen to be established.
    pub accepts: u64,
    pub accepts_unseen: u64,
    pub eagain: u64,
    /// A connection's waking whose socket nobody knows.
    pub unattributed: u64,
    /// A connection's waking in another phase than the connection.
    pub wrong_phase: u64,
    /// A sleeping waiter was woken while a connection was in the slot, and no stack says by what.
    pub no_stack: u64,
    /// A connection's waking met a task whose state was not known.
    pub unknown_state: u64,
    /// By wake function, exclusive flag, and whether it woke somebody.
    pub wait_wakes: BTreeMap<(u32, bool, bool), u64>,
}

/// Exited tasks that had to do with a listener and keep their row; further ones are only summed.
const DEPARTED: usize = 256;

/// What tasks that have exited leave behind (watch only).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gone {
    pub workers: u64,
    pub won: u64,
    pub eagain: u64,
    pub wakeups: u64,
    pub on_cpu_ns: u64,
    pub timer: u64,
}

#[derive(Debug, Default)]
pub struct Crowd {
    classifier: Rc<Classifier>,
    pub workers: BTreeMap<u32, Worker>,
    pub connections: Connections,
    pub registrations: Registrations,
    pub counts: Counts,
    pub gone: Gone,
    /// Exited tasks that keep their row.
    pub departed: Vec<Worker>,
    /// Waking to running, of all waiters woken.
    pub latency: Histogram,
    /// Listening sockets seen in accept and epoll_ctl, by port; several = SO_REUSEPORT.
    pub listeners: BTreeMap<u16, BTreeSet<u64>>,
    /// EAGAIN by listening port.
    pub eagain_by_port: BTreeMap<u16, u64>,
    /// The only port of a scene; None = any.
    port: Option<u16>,
    /// Take up tasks as they appear (watch).
    open: bool,
}

impl Crowd {
    /// A scene's crowd: these workers, this port, every connection kept.
    pub fn closed(classifier: Rc<Classifier>, port: u16, workers: Vec<Worker>) -> Crowd {
        Crowd {
            classifier,
            workers: workers
                .into_iter()
                .map(|worker| (worker.pid, worker))
                .collect(),
            port: Some(port),
            ..Crowd::default()
        }
    }

    /// A watch's crowd: whoever appears, the last `keep` connections in detail.
    pub fn open(classifier: Rc<Classifier>, keep: usize) -> Crowd {
        Crowd {
            classifier,
            connections: Connections::new(Some(keep)),
            open: true,
            ..Crowd::default()
        }
    }

    pub fn event(&mut self, event: &Event, timeline: &mut Timeline) {
        let header = &event.header;
        match &event.body {
            Body::Waking(waking) => self.waking(header, waking, timeline),
            Body::Wakeup(wakeup) => {
                if let Some(worker) = self.workers.get_mut(&wakeup.target) {
                    worker.task.wakeup(header.ktime);
                }
            }
            Body::Switch(switch) => self.switch(header, switch, timeline),
            Body::SysEnter(enter) => {
                if let Some(worker) = self.worker(header) {
                    worker.call = Call::In(enter.nr);
                }
            }
            Body::SysExit(exit) => self.sys_exit(header, exit, timeline),
            Body::SockState(state) => self.sock_state(header, state, timeline),
            Body::Fork(fork) => self.fork(fork),
            Body::Exec(exec) => self.exec(header, exec),
            Body::Exit(exit) => self.exit(exit),
            Body::DataReady(_) => self.counts.data_ready += 1,
            Body::WaitWake(wake) => self.wait_wake(wake),
            // Of instruments that a herd does not use.
            _ => {}
        }
    }

    /// The current task's worker; a watch takes up who calls for the first time.
    fn worker(&mut self, header: &Header) -> Option<&mut Worker> {
        if self.open && !self.workers.contains_key(&header.pid) {
            let mut worker = Worker::new(header.pid, header.tgid);
            worker.task.state = State::Running {
                since: header.ktime,
                woken: None,
            };
            self.workers.insert(header.pid, worker);
        }
        let worker = self.workers.get_mut(&header.pid)?;
        worker.tgid = header.tgid;
        Some(worker)
    }

    fn waking(&mut self, header: &Header, waking: &Waking, timeline: &mut Timeline) {
        if self.open {
            self.workers
                .entry(waking.target)
                .or_insert_with(|| Worker::new(waking.target, 0));
        }
        let Some(worker) = self.workers.get_mut(&waking.target) else {
            return;
        };
        self.counts.wakings += 1;
        let cause = self.classifier.classify(waking);
        let waited = worker.waits_since().is_some();
        let met = worker.task.waking(header.ktime);
        let conn = match cause {
            Cause::Connection => self.owner(header, waking),
            Cause::Cascade => self.cascade_owner(header),
            _ => None,
        };
        timeline.note(header.ktime, Lane::Worker(waking.target), || {
            match (met, cause) {
                (Met::Sleeper { .. }, Cause::Connection) => "woken by conn.".to_owned(),
                (Met::Sleeper { .. }, cause) => format!("woken: {}", cause.name()),
                _ => "(not asleep)".to_owned(),
            }
        });
        if cause == Cause::Connection && met == Met::Unknown {
            self.counts.unknown_state += 1;
        }
        if cause == Cause::Unknown && waited && waking.conn != 0 {
            self.counts.no_stack += 1;
        }
        self.attribute(waking.target, cause, conn, waited);
    }

    /// Enters a waking into its connection and, if a waiter slept, into the waiter's tally.
    fn attribute(&mut self, target: u32, cause: Cause, conn: Option<ConnId>, waited: bool) {
        if let Some(connection) = conn.and_then(|id| self.connections.get_mut(id)) {
            match cause {
                Cause::Connection => {
                    connection.wakings += 1;
                    if waited && !connection.woken.contains(&target) {
                        connection.woken.push(target);
                    }
                }
                Cause::Cascade if waited => connection.cascades += 1,
                _ => {}
            }
        }
        let Some(worker) = self.workers.get_mut(&target) else {
            return;
        };
        if waited {
            *worker.wakeups.entry(cause).or_default() += 1;
            worker.episode = Some(Episode::new(conn));
        }
    }

    fn owner(&mut self, header: &Header, waking: &Waking) -> Option<ConnId> {
        let Some(id) = self.connections.by_sock(waking.conn) else {
            self.counts.unattributed += 1;
            return None;
        };
        let connection = self.connections.get_mut(id)?;
        if connection.phase != header.phase {
            self.counts.wrong_phase += 1;
            return None;
        }
        Some(id)
    }

    /// The connection that the waker was woken for; else the newest, if it is of the same phase.
    fn cascade_owner(&mut self, header: &Header) -> Option<ConnId> {
        let of_waker = self
            .workers
            .get(&header.pid)
            .and_then(|worker| worker.episode?.conn);
        if of_waker.is_some() {
            return of_waker;
        }
        let newest = self.connections.opened().checked_sub(1)?;
        let connection = self.connections.get_mut(newest)?;
        (header.phase != 0 && connection.phase == header.phase).then_some(newest)
    }

    fn switch(&mut self, header: &Header, switch: &Switch, timeline: &mut Timeline) {
        let now = header.ktime;
        if let Some(worker) = self.workers.get_mut(&switch.prev) {
            let left =
                worker
                    .task
                    .switch_out(now, switch.prev_state, switch.flags & SWITCH_PREEMPT != 0);
            if let Some(episode) = &mut worker.episode {
                episode.switches += 1;
                episode.on_cpu_ns = episode.on_cpu_ns.saturating_add(left.ran_ns);
            }
            let waits = worker.waits_since().is_some();
            timeline.note(now, Lane::Worker(switch.prev), || {
                if left.voluntary {
                    "sleeps".to_owned()
                } else {
                    "preempted".to_owned()
                }
            });
            if waits {
                self.settle(switch.prev);
            }
        }
        if let Some(worker) = self.workers.get_mut(&switch.next) {
            let latency = worker.task.switch_in(now);
            timeline.note(now, Lane::Worker(switch.next), || "runs".to_owned());
            if let (Some(latency), Some(episode)) = (latency, &mut worker.episode)
                && !episode.ran
            {
                episode.ran = true;
                self.latency.add(latency);
                if let Some(connection) = episode.conn.and_then(|id| self.connections.get_mut(id))
                    && connection.woken.first() == Some(&switch.next)
                {
                    connection.latency_ns = Some(latency);
                }
            }
        }
    }

    /// A worker sleeps in its waiting call again: its episode is over.
    fn settle(&mut self, pid: u32) {
        let Some(worker) = self.workers.get_mut(&pid) else {
            return;
        };
        let Some(episode) = worker.episode.take() else {
            return;
        };
        let Some(id) = episode.conn else { return };
        worker.useless += u64::from(episode.useless());
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.switches += episode.switches;
        connection.on_cpu_ns = connection.on_cpu_ns.saturating_add(episode.on_cpu_ns);
        connection.silent += u32::from(episode.silent());
        if episode.useless() {
            connection.useless += 1;
            connection.wasted_switches += episode.switches;
            connection.wasted_ns = connection.wasted_ns.saturating_add(episode.on_cpu_ns);
        }
    }

    fn sys_exit(&mut self, header: &Header, exit: &SysExit, timeline: &mut Timeline) {
        let Some(worker) = self.worker(header) else {
            return;
        };
        worker.call = Call::None;
        *worker.returns.entry(exit.nr).or_default() += 1;
        if calls::is_waiting(exit.nr)
            && let Some(episode) = &mut worker.episode
        {
            episode.returns += 1;
        }
        self.listener(exit);
        if exit.nr == calls::EPOLL_CTL {
            let tgid = header.tgid;
            self.registrations.epoll_ctl(tgid, exit);
        }
        timeline.note(header.ktime, Lane::Worker(header.pid), || told(exit));
        if calls::is_accept(exit.nr) {
            if exit.ret >= 0 {
                self.accepted(header, exit);
            } else if exit.ret == calls::EAGAIN {
                self.found_nothing(header.pid, exit.fd_port);
            }
        }
    }

    fn listener(&mut self, exit: &SysExit) {
        let acts_on_one = calls::is_accept(exit.nr) || exit.nr == calls::EPOLL_CTL;
        if !acts_on_one || exit.fd_state != calls::LISTEN || exit.fd_sock == 0 {
            return;
        }
        let sockets = self.listeners.entry(exit.fd_port).or_default();
        if sockets.len() < LISTENERS {
            sockets.insert(exit.fd_sock);
        }
    }

    fn accepted(&mut self, header: &Header, exit: &SysExit) {
        self.counts.accepts += 1;
        if let Some(worker) = self.workers.get_mut(&header.pid) {
            worker.won += 1;
            if let Some(episode) = &mut worker.episode {
                episode.won += 1;
            }
        }
        let found = self
            .connections
            .by_sock(exit.new_sock)
            .and_then(|id| self.connections.get_mut(id));
        match found {
            // A pointer whose connection has been accepted already is a newer one's, not seen.
            Some(connection) if connection.winner.is_none() => {
                connection.winner = Some(header.pid);
                connection.accepted_at = Some(header.ktime);
            }
            _ => self.counts.accepts_unseen += 1,
        }
    }

    fn found_nothing(&mut self, pid: u32, port: u16) {
        self.counts.eagain += 1;
        if self.eagain_by_port.len() < usize::from(u16::MAX) {
            *self.eagain_by_port.entry(port).or_default() += 1;
        }
        let Some(worker) = self.workers.get_mut(&pid) else {
            return;
        };
        worker.eagain += 1;
        let Some(episode) = &mut worker.episode else {
            return;
        };
        episode.eagain += 1;
        if let Some(connection) = episode.conn.and_then(|id| self.connections.get_mut(id)) {
            connection.eagain += 1;
        }
    }

    fn sock_state(&mut self, header: &Header, state: &SockState, timeline: &mut Timeline) {
        let ours = self.port.is_none_or(|port| port == state.local_port);
        if !ours || (state.old, state.new) != (SYN_RECV, ESTABLISHED) {
            return;
        }
        self.counts.established += 1;
        if self.open {
            timeline.begin(header.ktime, self.connections.opened(), 0);
        }
        timeline.note(header.ktime, Lane::Softirq, || "ESTABLISHED".to_owned());
        let sleepers = self.sleepers(state.local_port);
        self.connections.open(Connection {
            sock: state.sock,
            port: state.local_port,
            client_port: state.remote_port,
            phase: header.phase,
            established_at: header.ktime,
            sleepers,
            ..Connection::default()
        });
    }

    /// Waiters asleep now. A watch that knows who registered the listener counts only those.
    fn sleepers(&self, port: u16) -> Vec<Sleeper> {
        let restrict = self.open && self.registrations.any(port);
        self.workers
            .values()
            .filter_map(|worker| {
                let registered = self.registrations.stands(worker.tgid, port);
                let since = worker.waits_since()?;
                (registered || !restrict).then_some(Sleeper {
                    pid: worker.pid,
                    index: worker.index,
                    since,
                    registered,
                })
            })
            .collect()
    }

    fn fork(&mut self, fork: &Fork) {
        if !self.open {
            return;
        }
        let mut worker = Worker::new(fork.child, fork.child_tgid);
        worker.comm = text(&fork.comm);
        worker.task.state = State::Runnable { woken: None };
        worker.call = Call::None;
        let parent = self
            .workers
            .get(&fork.parent)
            .map_or(fork.parent, |parent| parent.tgid);
        if parent != fork.child_tgid {
            self.registrations.inherit(parent, fork.child_tgid);
        }
        self.workers.insert(fork.child, worker);
    }

    fn exec(&mut self, header: &Header, exec: &Exec) {
        if let Some(worker) = self.worker(header) {
            worker.comm = text(&exec.comm);
        }
    }

    fn exit(&mut self, exit: &Exit) {
        if !self.open {
            return;
        }
        let registered = self.registrations.has(exit.tgid);
        if exit.pid == exit.tgid {
            self.registrations.forget(exit.tgid);
        }
        let Some(worker) = self.workers.remove(&exit.pid) else {
            return;
        };
        if (registered || worker.met_a_listener()) && self.departed.len() < DEPARTED {
            self.departed.push(worker);
            return;
        }
        self.gone.workers += 1;
        self.gone.won += worker.won;
        self.gone.eagain += worker.eagain;
        self.gone.wakeups += worker.wakeups.values().sum::<u64>();
        self.gone.timer += worker.wakeups_by(Cause::Timer);
        self.gone.on_cpu_ns = self.gone.on_cpu_ns.saturating_add(worker.task.on_cpu_ns);
    }

    fn wait_wake(&mut self, wake: &WaitWake) {
        let key = (wake.function, wake.entry_flags & 1 != 0, wake.ret == 1);
        if self.counts.wait_wakes.len() < 64 || self.counts.wait_wakes.contains_key(&key) {
            *self.counts.wait_wakes.entry(key).or_default() += 1;
        }
    }
}

fn told(exit: &SysExit) -> String {
    let name = calls::name(exit.nr);
    match exit.ret {
        calls::EAGAIN => "EAGAIN".to_owned(),
        ret if ret < 0 => format!("{name} → error {}", -ret),
        ret if calls::is_accept(exit.nr) => format!("{name} → fd {ret}"),
        ret => format!("{name} → {ret}"),
    }
}

/// A comm: up to the first NUL.
fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
