//! What the scripts say beside their steps: the disk's own counts, how a call ended, what became of hot files.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::trace::scripted::CaseLog;

pub const DISK: &str = "disk";
pub const TRIED: &str = "tried";
pub const HOT: &str = "hot";
/// Why a call was left out: `{ why }`.
pub const NOT_TRIED: &str = "not-tried";

/// Growth of /sys/block/DISK/stat over a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskGrowth {
    pub step: String,
    /// Reads that the disk has done, and how many were merged into others before.
    pub reads: u64,
    pub read_merges: u64,
    pub read_bytes: u64,
    pub written_bytes: u64,
    /// Largest request of this disk.
    pub max_request_bytes: u64,
}

/// A call on a file opened O_DIRECT that may not be possible directly.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    pub step: String,
    /// Bytes, or minus errno.
    pub ret: i64,
    pub bytes: u64,
    pub write: bool,
}

/// One stream past hot files in a group with little memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hot {
    pub direct: bool,
    /// How often each hot file was read before.
    pub touched: u32,
    pub files: u64,
    /// Files of which every page is in memory, before the stream and after it (mincore).
    pub before: u64,
    pub after: u64,
    pub pages_before: u64,
    pub pages_after: u64,
    /// Pages of hot files that left memory during the stream by the hand of others than who read it: kswapd,
    /// or whoever on the machine ran short of memory.
    #[serde(default)]
    pub dropped_by_others: u64,
    pub pages: u64,
    pub stream_bytes: u64,
    pub limit_bytes: u64,
    /// memory.stat of the group, bytes of files; before and after.
    pub cached_before_bytes: u64,
    pub cached_after_bytes: u64,
    pub mglru: Option<bool>,
    pub group_version: u8,
}

pub fn all<T: DeserializeOwned>(log: &CaseLog, name: &str) -> Vec<T> {
    log.named(name)
        .filter_map(|mark| serde_json::from_value(mark.data.clone()).ok())
        .collect()
}
