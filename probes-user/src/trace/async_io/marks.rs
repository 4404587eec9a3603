//! What the script says: each request or call before it is made, what came of it, and when it was served.

use serde::{Deserialize, Serialize};

use crate::trace::scripted::CaseLog;

pub const REQUEST: &str = "request";
pub const SUBMITTED: &str = "submitted";
pub const SERVED: &str = "served";
pub const REAPED: &str = "reaped";
pub const CALL: &str = "call";
pub const RETURNED: &str = "returned";

/// Which way a request must go for the instrument to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    Inline,
    Polled,
    Worker,
    /// The file itself has it: neither of the others.
    File,
}

/// A request of io_uring is about to be submitted, alone, under a phase of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub name: String,
    pub user_data: u64,
    /// A positive control: None = it is what the trace finds out.
    pub must: Option<Way>,
    /// There is nothing to be had before the script serves it.
    pub starved: bool,
}

/// `io_uring_enter` has returned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    pub user_data: u64,
    /// Completions that the ring showed at that moment.
    pub shown: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaped {
    pub user_data: u64,
    pub res: i32,
}

/// What a read is done on, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    pub name: String,
    /// x86-64 number of the system call.
    pub nr: u32,
    /// Somebody serves it only once it sleeps.
    pub starved: bool,
    pub phase: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returned {
    pub name: String,
    /// Bytes, completions taken, or minus errno.
    pub ret: i64,
    /// Complete when the call had returned.
    pub complete: usize,
    /// Of the read itself: bytes or minus errno.
    pub res: i64,
    /// When the other side wrote (CLOCK_MONOTONIC); 0 = never.
    pub served_at: u64,
}

/// All marks of this name, with their times.
pub fn all<T: serde::de::DeserializeOwned>(log: &CaseLog, name: &str) -> Vec<(u64, T)> {
    log.named(name)
        .filter_map(|mark| {
            let data = serde_json::from_value(mark.data.clone()).ok()?;
            Some((mark.ktime, data))
        })
        .collect()
}
