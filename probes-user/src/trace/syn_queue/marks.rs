//! What the script of syn-queue says it did and saw: the independent witness beside the kernel's events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lab::queue::socket::{ESTABLISHED, Info, SYN_SENT};

pub const LIMITS: &str = "limits";
/// Before the flood, without cookies where the case has them always.
pub const CONTRAST: &str = "contrast";
/// Before the flood.
pub const CONTROL: &str = "control";
pub const FLOOD: &str = "flood";
pub const ATTEMPTS: &str = "attempts";

/// The listener of every case; of a second run in one, the next port.
pub const PORT: u16 = 20_000;

/// What bounds the queues, as asked for and as the listening socket says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Of listen().
    pub backlog: u32,
    pub somaxconn: u32,
    pub max_syn_backlog: u32,
    pub cookies: u32,
    /// `sk_max_ack_backlog`, from TCP_INFO of the listener.
    pub max_ack_backlog: u32,
    pub port: u16,
    pub v6: bool,
}

/// One genuine connect().
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub port: u16,
    pub client: Info,
    /// Of the accepted socket; None = there was none.
    pub server: Option<Info>,
}

impl Attempt {
    pub fn came_through(&self) -> bool {
        self.server.is_some() && self.client.state == ESTABLISHED
    }

    pub fn unanswered(&self) -> bool {
        self.server.is_none() && self.client.state == SYN_SENT
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    pub tries: Vec<Attempt>,
    /// Half-open connections as /proc/net/tcp lists them, before and after.
    pub half_open_before: u64,
    pub half_open_after: u64,
    /// What the namespace counted meanwhile.
    pub grown: BTreeMap<String, u64>,
}

impl Attempts {
    pub fn came_through(&self) -> usize {
        self.tries.iter().filter(|its| its.came_through()).count()
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.grown.get(name).copied().unwrap_or_default()
    }
}

/// Spoofed SYNs, in rounds until a round leaves no further half-open connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloodMark {
    pub sent: u64,
    /// As /proc/net/tcp lists them at the end.
    pub half_open: u64,
    pub rounds: u64,
    /// SYNs of the last round, none of which was kept.
    pub last_round: u64,
    pub grown: BTreeMap<String, u64>,
}

impl FloodMark {
    pub fn counter(&self, name: &str) -> u64 {
        self.grown.get(name).copied().unwrap_or_default()
    }
}
