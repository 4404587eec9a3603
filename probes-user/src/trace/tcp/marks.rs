//! The marks of a watch of sockets: what was there before the start, and whose it is.

use std::net::SocketAddr;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::stream::Mark;

pub const SOCKET: &str = "socket";

/// A process that has a descriptor of the socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerMark {
    pub pid: u32,
    pub comm: String,
}

/// A socket as the kernel listed it (`socket`). The mark's time is just before the list was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketMark {
    pub netns: u32,
    pub family: u16,
    pub state: u8,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// As in `TcpState::id`; 0 = not known.
    pub cookie: u64,
    /// 0 = no process has it: not accepted yet, closed, or TIME_WAIT.
    pub inode: u64,
    pub uid: u32,
    /// The first process that has it, by pid; none = none found.
    pub owner: Option<OwnerMark>,
    /// All that have it, as far as they were looked at.
    pub holders: Vec<u32>,
    /// 0 none, 1 resend, 2 keepalive, 3 TIME_WAIT, 4 zero-window probe.
    pub timer: u8,
    pub expires_ms: u64,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub rtt_us: u32,
}

impl SocketMark {
    /// # Errors
    /// Never for this type (no maps with non-string keys).
    pub fn to_mark(&self, ktime: u64) -> Result<Mark> {
        Ok(Mark {
            ktime,
            name: SOCKET.to_owned(),
            data: serde_json::to_value(self)?,
        })
    }

    /// None = another mark, or a damaged one.
    pub fn from_mark(mark: &Mark) -> Option<SocketMark> {
        (mark.name == SOCKET)
            .then(|| serde_json::from_value(mark.data.clone()).ok())
            .flatten()
    }
}
