//! One worker: what it does now, why it is awake, what it has won.
//!
//! A worker's time is cut into episodes: woken out of its waiting call, until it sleeps in one again.
//! What happens in an episode (switches, time, EAGAINs, accepts) belongs to what woke it. Sleeping
//! elsewhere (a delay before accept, a futex) does not end an episode.

use std::collections::BTreeMap;

use super::calls;
use super::connection::ConnId;
use super::stack::Cause;
use super::tasks::Task;

/// Where a worker stands with respect to system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Call {
    /// Not seen yet.
    #[default]
    Unknown,
    /// In none that is followed.
    None,
    In(u32),
}

#[derive(Debug, Clone, Copy)]
pub struct Episode {
    pub conn: Option<ConnId>,
    pub returns: u32,
    pub eagain: u32,
    pub won: u32,
    pub switches: u32,
    pub on_cpu_ns: u64,
    /// It has run since it was woken.
    pub ran: bool,
}

impl Episode {
    pub fn new(conn: Option<ConnId>) -> Episode {
        Episode {
            conn,
            returns: 0,
            eagain: 0,
            won: 0,
            switches: 0,
            on_cpu_ns: 0,
            ran: false,
        }
    }

    pub fn useless(&self) -> bool {
        self.won == 0
    }

    pub fn silent(&self) -> bool {
        self.won == 0 && self.returns == 0
    }
}

#[derive(Debug, Clone, Default)]
pub struct Worker {
    pub pid: u32,
    pub tgid: u32,
    pub index: Option<u32>,
    pub comm: String,
    pub task: Task,
    pub call: Call,
    pub episode: Option<Episode>,
    /// Connections it accepted.
    pub won: u64,
    pub eagain: u64,
    /// Returns by system call number.
    pub returns: BTreeMap<u32, u64>,
    /// Wakeups out of a waiting call, by cause.
    pub wakeups: BTreeMap<Cause, u64>,
    /// Woken for a connection, slept again with nothing.
    pub useless: u64,
}

impl Worker {
    pub fn new(pid: u32, tgid: u32) -> Worker {
        Worker {
            pid,
            tgid,
            ..Worker::default()
        }
    }

    /// Asleep in a call that waits for connections (or in one that began before we looked)?
    pub fn waits_since(&self) -> Option<u64> {
        self.in_waiting_call()
            .then(|| self.task.asleep_since())
            .flatten()
    }

    pub fn in_waiting_call(&self) -> bool {
        match self.call {
            Call::Unknown => true,
            Call::None => false,
            Call::In(nr) => calls::is_waiting(nr),
        }
    }

    /// It accepted or tried to, or was woken by a connection.
    pub fn met_a_listener(&self) -> bool {
        self.returned(calls::is_accept) > 0 || self.wakeups_by(Cause::Connection) > 0
    }

    /// Came out of a waiting call, or is known to be in one.
    pub fn has_waited(&self) -> bool {
        matches!(self.call, Call::In(nr) if calls::is_waiting(nr))
            || self.returned(calls::is_waiting) > 0
    }

    pub fn wakeups_by(&self, cause: Cause) -> u64 {
        self.wakeups.get(&cause).copied().unwrap_or(0)
    }

    pub fn returned(&self, call: fn(u32) -> bool) -> u64 {
        self.returns
            .iter()
            .filter(|(nr, _)| call(**nr))
            .map(|(_, count)| count)
            .sum()
    }
}
