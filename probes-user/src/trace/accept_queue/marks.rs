//! What the script of accept-queue says it did and saw.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

// How it stood afterwards.
pub const LIMITS: &str = "limits";
pub const HELD: &str = "held";
pub const FULL: &str = "full";
pub const MET: &str = "met";
pub const RESENT: &str = "resent";
pub const DRAINED: &str = "drained";

// What is about to be done.
pub const HOLDING: &str = "holding";
pub const FILLING: &str = "filling";
pub const MEETING: &str = "meeting";
pub const RESENDING: &str = "resending";
pub const DRAINING: &str = "draining";

/// The listener of every case, and the client whose segment meets the full queue.
pub const PORT: u16 = 20_000;
pub const CLIENT_PORT: u16 = 30_000;

/// Which segment meets the full accept queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Segment {
    /// The first of a connection.
    #[default]
    Syn,
    /// The last of a handshake, its request waiting in the SYN queue.
    Ack,
    /// The same, its request nowhere but in a cookie.
    CookieAck,
}

impl Segment {
    pub const ALL: [Segment; 3] = [Segment::Syn, Segment::Ack, Segment::CookieAck];

    pub const fn name(self) -> &'static str {
        match self {
            Segment::Syn => "syn",
            Segment::Ack => "ack",
            Segment::CookieAck => "cookie-ack",
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub segment: Segment,
    pub v6: bool,
    pub backlog: u32,
    pub somaxconn: u32,
    pub abort_on_overflow: u32,
    /// `sk_max_ack_backlog`, from TCP_INFO of the listener.
    pub max_ack_backlog: u32,
}

/// How it stands with the client and the listener at some step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// TCP state of the client; 0 = it has not begun.
    pub client: u8,
    /// Its pending error number.
    pub error: i32,
    /// The listener's accept queue.
    pub waiting: u32,
    /// As /proc/net/tcp lists them.
    pub half_open: u64,
    /// What the namespace counted since the last step.
    pub grown: BTreeMap<String, u64>,
}

impl Standing {
    pub fn counter(&self, name: &str) -> u64 {
        self.grown.get(name).copied().unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// The client was among the accepted.
    pub came_through: bool,
    pub others: u64,
}
