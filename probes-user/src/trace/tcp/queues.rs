//! The mark of a watch that wants queues: what the kernel says of a namespace's listeners, and the namespace
//! of itself. One for each namespace that has listeners, whenever something of it has changed.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::stream::Mark;

pub const QUEUES: &str = "queues";

/// The knobs of both queues, by sysctl.
pub const SOMAXCONN: &str = "net.core.somaxconn";
pub const MAX_SYN_BACKLOG: &str = "net.ipv4.tcp_max_syn_backlog";
pub const SYNCOOKIES: &str = "net.ipv4.tcp_syncookies";
pub const ABORT_ON_OVERFLOW: &str = "net.ipv4.tcp_abort_on_overflow";
pub const KNOBS: [&str; 4] = [SOMAXCONN, MAX_SYN_BACKLOG, SYNCOOKIES, ABORT_ON_OVERFLOW];

/// What is counted of queues, by nstat's names.
pub const LISTEN_DROPS: &str = "TcpExtListenDrops";
pub const OVERFLOWS: &str = "TcpExtListenOverflows";
pub const FULL_DROP: &str = "TcpExtTCPReqQFullDrop";
pub const FULL_COOKIES: &str = "TcpExtTCPReqQFullDoCookies";
pub const COOKIES_SENT: &str = "TcpExtSyncookiesSent";
pub const COOKIES_VALID: &str = "TcpExtSyncookiesRecv";
pub const COOKIES_FAILED: &str = "TcpExtSyncookiesFailed";
pub const COUNTERS: [&str; 7] = [
    LISTEN_DROPS,
    OVERFLOWS,
    FULL_DROP,
    FULL_COOKIES,
    COOKIES_SENT,
    COOKIES_VALID,
    COOKIES_FAILED,
];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerMark {
    /// 0 = not known.
    pub cookie: u64,
    pub family: u16,
    pub local: SocketAddr,
    /// Connections that wait for accept().
    pub waiting: u32,
    pub limit: u32,
    /// SYNs and ACKs dropped since it began to listen.
    pub drops: Option<u32>,
    /// None = another listener has this address too.
    pub half_open: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuesMark {
    pub netns: u32,
    /// By name; what this kernel does not have is left out.
    pub knobs: BTreeMap<String, u64>,
    pub counters: BTreeMap<String, u64>,
    /// Those that were asked for.
    pub listeners: Vec<ListenerMark>,
    /// All there are.
    pub listeners_count: u64,
}

impl QueuesMark {
    /// # Errors
    /// Never for this type (its maps have string keys).
    pub fn to_mark(&self, ktime: u64) -> Result<Mark> {
        Ok(Mark {
            ktime,
            name: QUEUES.to_owned(),
            data: serde_json::to_value(self)?,
        })
    }

    /// None = another mark, or a damaged one.
    pub fn from_mark(mark: &Mark) -> Option<QueuesMark> {
        (mark.name == QUEUES)
            .then(|| serde_json::from_value(mark.data.clone()).ok())
            .flatten()
    }

    pub fn knob(&self, name: &str) -> Option<u64> {
        self.knobs.get(name).copied()
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or_default()
    }
}
