//! One socket from its first event to its end: the states it went through, and whose it was.

use probes_common::tcp::TcpSnap;

use super::ends::Ends;
use crate::kernel::tcp::{CLOSE, LISTEN, state_name};

/// How an owner is known, best first. Events in interrupt context name nobody: whoever runs there is a
/// bystander.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Its own connect() or listen().
    Call,
    /// Its own accept().
    Accept,
    /// It has a descriptor of it.
    Descriptor,
    /// It closed or shut it.
    Close,
    /// It has the listener that the connection came in by.
    Listener,
}

impl Source {
    pub const fn word(self) -> &'static str {
        match self {
            Source::Call => "call",
            Source::Accept => "accept",
            Source::Descriptor => "descriptor",
            Source::Close => "close",
            Source::Listener => "listener",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Of the process (thread group).
    pub pid: u32,
    pub comm: String,
    pub source: Source,
}

/// Who began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It called connect().
    Active,
    /// It came in by a listener.
    Passive,
    Listener,
    /// It was there before the start.
    Unknown,
}

impl Role {
    pub const fn word(self) -> &'static str {
        match self {
            Role::Active => "active",
            Role::Passive => "passive",
            Role::Listener => "listener",
            Role::Unknown => "older",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub state: u8,
    /// None = before it was first seen.
    pub since: Option<u64>,
}

/// The small socket that takes over where `inet_sock_set_state` says CLOSE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWait {
    /// `struct inet_timewait_sock *`; 0 = known from a list only.
    pub sock: u64,
    /// FIN_WAIT2 or TIME_WAIT.
    pub state: u8,
    /// When its timer was last started, and for how many jiffies.
    pub started: u64,
    pub timeout: u64,
    pub expired: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// `struct sock *`; 0 = known from a list only.
    pub sock: u64,
    /// Which socket at that address, from 1.
    pub generation: u32,
    pub cookie: u64,
    pub ends: Ends,
    pub family: u16,
    pub uid: u32,
    pub inode: u64,
    pub role: Role,
    pub path: Vec<Step>,
    pub owner: Option<Owner>,
    /// All processes that had it when it was listed.
    pub holders: Vec<u32>,
    pub snap: TcpSnap,
    /// `sk_err` of the last change.
    pub err: u32,
    pub time_wait: Option<TimeWait>,
    pub begun: u64,
    /// When its full socket was closed; TIME_WAIT may go on.
    pub closed: Option<u64>,
    pub ended: Option<u64>,
    /// What does not fit the diagram or the event before, in words.
    pub faults: Vec<String>,
    /// A list has shown it and no event yet: its state may be old by a little.
    pub listed_only: bool,
}

/// More than any life without faults has; a socket that is connected again begins a new one.
const STEPS: usize = 16;

impl Flow {
    pub fn new(ends: Ends, family: u16, begun: u64, role: Role) -> Flow {
        Flow {
            sock: 0,
            generation: 0,
            cookie: 0,
            ends,
            family,
            uid: 0,
            inode: 0,
            role,
            path: Vec::new(),
            owner: None,
            holders: Vec::new(),
            snap: TcpSnap::default(),
            err: 0,
            time_wait: None,
            begun,
            closed: None,
            ended: None,
            faults: Vec::new(),
            listed_only: false,
        }
    }

    /// The state it is in, or was in last.
    pub fn state(&self) -> u8 {
        self.path.last().map_or(CLOSE, |step| step.state)
    }

    pub fn step(&mut self, state: u8, since: Option<u64>) {
        if self.path.len() < STEPS {
            self.path.push(Step { state, since });
        } else if self.faults.len() < STEPS {
            self.faults
                .push("more changes of state than a connection has".to_owned());
        }
    }

    /// A better source wins; of equals the first.
    pub fn owned(&mut self, owner: Owner) {
        if self
            .owner
            .as_ref()
            .is_none_or(|known| owner.source < known.source)
        {
            self.owner = Some(owner);
        }
    }

    pub fn is_listener(&self) -> bool {
        self.role == Role::Listener || self.path.iter().any(|step| step.state == LISTEN)
    }

    pub fn was_in(&self, state: u8) -> bool {
        self.path.iter().any(|step| step.state == state)
    }

    /// When a state was entered.
    pub fn entered(&self, state: u8) -> Option<u64> {
        self.path.iter().find(|step| step.state == state)?.since
    }

    /// Every state with the time spent in it, ns; None = its begin was not seen. The last one goes on until
    /// `now`, or ended with the socket.
    pub fn spans(&self, now: u64) -> Vec<(u8, Option<u64>)> {
        let end = self.ended.unwrap_or(now);
        let ends = self.path.iter().skip(1).map(|step| step.since);
        let spans = self.path.iter().zip(ends.chain([Some(end)]));
        spans
            .filter(|(step, _)| step.state != CLOSE)
            .map(|(step, end)| {
                let span = |since: u64| end.map(|end| end.saturating_sub(since));
                (step.state, step.since.and_then(span))
            })
            .collect()
    }

    /// `SYN_SENT→ESTABLISHED→…`, CLOSE at the end if it has ended.
    pub fn states(&self) -> Vec<&'static str> {
        self.path
            .iter()
            .map(|step| state_name(step.state))
            .collect()
    }
}
