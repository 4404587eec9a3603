//! One connection, from SYN_RECV → ESTABLISHED of the passive socket to accept.
//!
//! A connection is found again by the pointer of its socket. Pointers are reused, so the newest
//! SYN_RECV → ESTABLISHED with a pointer owns it. Only the last `keep` stay in detail.

use std::collections::{HashMap, VecDeque};

use super::totals::Totals;

/// Number of a connection in order of ESTABLISHED within its crowd.
pub type ConnId = u64;

/// A waiter that was asleep when the connection was established.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sleeper {
    pub pid: u32,
    pub index: Option<u32>,
    pub since: u64,
    /// The listener stood in its epoll instance, as far as seen.
    pub registered: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Connection {
    pub id: ConnId,
    pub sock: u64,
    pub port: u16,
    pub client_port: u16,
    pub phase: u32,
    pub established_at: u64,
    pub sleepers: Vec<Sleeper>,
    /// Unique waiters that were asleep and were woken by this connection, in order.
    pub woken: Vec<u32>,
    /// Wakings by this connection, also of tasks that were not asleep.
    pub wakings: u32,
    /// Sleeping waiters woken by another worker that handed this connection's event on.
    pub cascades: u32,
    /// Woken, looked, slept again without returning from the call.
    pub silent: u32,
    pub eagain: u32,
    /// Woken for it (directly or by cascade) and slept again without having accepted anything.
    pub useless: u32,
    /// Switch-outs of workers between being woken for it and sleeping again.
    pub switches: u32,
    pub on_cpu_ns: u64,
    pub wasted_switches: u32,
    pub wasted_ns: u64,
    /// From first waking to running, of the first woken.
    pub latency_ns: Option<u64>,
    pub winner: Option<u32>,
    pub accepted_at: Option<u64>,
    /// Events of a worker are missing while it was under way: not judged.
    pub gapped: bool,
}

impl Connection {
    pub fn registered_sleepers(&self) -> usize {
        self.sleepers
            .iter()
            .filter(|sleeper| sleeper.registered)
            .count()
    }

    /// The first woken; where none was, the one that got it.
    pub fn pick(&self) -> Option<u32> {
        self.woken.first().copied().or(self.winner)
    }
}

#[derive(Debug, Default)]
pub struct Connections {
    recent: VecDeque<Connection>,
    /// Number of the first in `recent`.
    base: ConnId,
    by_sock: HashMap<u64, ConnId>,
    keep: Option<usize>,
    /// By listening port, of those no longer in detail.
    pub folded: HashMap<u16, Totals>,
}

impl Connections {
    /// Keeps the last `keep` in detail; None = all (a lab's number is bounded).
    pub fn new(keep: Option<usize>) -> Connections {
        Connections {
            keep,
            ..Connections::default()
        }
    }

    pub fn open(&mut self, mut connection: Connection) -> ConnId {
        let id = self.base + self.recent.len() as u64;
        connection.id = id;
        self.by_sock.insert(connection.sock, id);
        self.recent.push_back(connection);
        if self.keep.is_some_and(|keep| self.recent.len() > keep) {
            self.fold_oldest();
        }
        id
    }

    fn fold_oldest(&mut self) {
        let Some(old) = self.recent.pop_front() else {
            return;
        };
        self.base += 1;
        if self.by_sock.get(&old.sock) == Some(&old.id) {
            self.by_sock.remove(&old.sock);
        }
        self.folded.entry(old.port).or_default().add(&old);
    }

    pub fn by_sock(&self, sock: u64) -> Option<ConnId> {
        self.by_sock.get(&sock).copied()
    }

    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        let at = usize::try_from(id.checked_sub(self.base)?).ok()?;
        self.recent.get_mut(at)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.recent.iter()
    }

    /// All ever opened.
    pub fn opened(&self) -> u64 {
        self.base + self.recent.len() as u64
    }

    /// Totals by listening port, those still in detail included.
    pub fn totals(&self) -> std::collections::BTreeMap<u16, Totals> {
        let mut totals: std::collections::BTreeMap<u16, Totals> = self
            .folded
            .iter()
            .map(|(port, totals)| (*port, totals.clone()))
            .collect();
        for connection in &self.recent {
            totals.entry(connection.port).or_default().add(connection);
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(sock: u64) -> Connection {
        Connection {
            sock,
            port: 80,
            woken: vec![1],
            ..Connection::default()
        }
    }

    #[test]
    fn a_reused_pointer_belongs_to_the_newest() {
        let mut connections = Connections::new(None);
        let first = connections.open(connection(7));
        let second = connections.open(connection(7));
        assert_ne!(first, second);
        assert_eq!(connections.by_sock(7), Some(second));
    }

    #[test]
    fn a_long_watch_keeps_the_sums_and_the_last_few() {
        let mut connections = Connections::new(Some(3));
        for sock in 0..10 {
            connections.open(connection(sock));
        }
        assert_eq!(connections.iter().count(), 3);
        assert_eq!(connections.opened(), 10);
        assert_eq!(connections.totals()[&80].connections, 10);
        assert_eq!(connections.by_sock(2), None);
        assert!(connections.get_mut(2).is_none());
        assert_eq!(connections.get_mut(9).unwrap().sock, 9);
    }
}
