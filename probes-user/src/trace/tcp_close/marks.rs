//! What the scripts say: the ends, what was written, how close() went, what the peer read.
//!
//! Of each connection one end is *the closer*, the other *the peer*. Times are CLOCK_MONOTONIC, as the events'.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cause::Cause;
use crate::trace::scripted::CaseLog;

/// A mark of this trace: its name and its data.
pub trait Told: Serialize + DeserializeOwned {
    const NAME: &'static str;
}

macro_rules! told {
    ($($name:literal => $mark:ty),+ $(,)?) => {
        $(impl Told for $mark {
            const NAME: &'static str = $name;
        })+
    };
}

told! {
    "ends" => Ends,
    "wrote" => Wrote,
    "close" => Close,
    "closed" => Closed,
    "read" => Read,
    "got" => Got,
    "answer" => Answer,
    "left" => Left,
    "provoked" => Provoked,
    "lacking" => Lacking,
}

/// Local ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    pub closer: u16,
    pub peer: u16,
}

/// By the end that has something to lose; all of it was taken by the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrote {
    pub bytes: u64,
    pub checksum: u64,
}

/// close() of the closer comes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Close {
    /// Not acknowledged by the peer (SIOCOUTQ).
    pub unsent_bytes: u64,
    /// Received and not read (FIONREAD).
    pub unread_bytes: u64,
    /// SO_LINGER, seconds; None = off.
    pub linger_s: Option<u64>,
    pub nonblocking: bool,
}

/// close() has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    pub began: u64,
    pub ended: u64,
    /// 0 = it succeeded.
    pub errno: i32,
    pub tid: u32,
}

impl Closed {
    pub fn took(&self) -> u64 {
        self.ended.saturating_sub(self.began)
    }
}

/// The peer begins to read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// What FIONREAD says of the peer.
    pub waiting_bytes: u64,
    /// What TCP_INFO says of the peer.
    pub state: u8,
}

/// What the peer read until the end: errno 0 = end of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Got {
    pub bytes: u64,
    pub checksum: u64,
    pub errno: i32,
}

/// What a call of the peer said before it read: errno 0 = success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub call: String,
    pub errno: i32,
}

/// States of what the namespace still has of the closer's socket, from /proc/net/tcp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    pub states: Vec<u8>,
}

/// The reset that the script has just caused; None = that there must be none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provoked {
    pub cause: Option<Cause>,
}

/// The kernel cannot do what the case is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacking {
    pub what: String,
    pub errno: i32,
}

/// The first mark of this kind.
pub fn told<T: Told>(log: &CaseLog) -> Option<T> {
    log.named(T::NAME)
        .find_map(|mark| serde_json::from_value(mark.data.clone()).ok())
}

/// When the first mark of this kind was made.
pub fn when<T: Told>(log: &CaseLog) -> Option<u64> {
    log.named(T::NAME).map(|mark| mark.ktime).next()
}
