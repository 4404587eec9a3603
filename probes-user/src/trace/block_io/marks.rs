//! What the script of block-io says it did and saw.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Why the case cannot be run here.
pub const LACKS: &str = "lacks";
pub const DISK: &str = "disk";
pub const TOTALS: &str = "totals";
/// What was counted by a watch so far.
pub const COUNTED: &str = "counted";

// The parts of a case: begun with an action of the name, told with a `Part` of the name behind it.
pub const SEQUENTIAL_WRITES: &str = "sequential writes";
pub const DIRECT_WRITES: &str = "direct writes";
pub const FIRST_READ: &str = "first read";
pub const SEQUENTIAL_READS: &str = "sequential reads";
pub const RANDOM_READS: &str = "random reads";
pub const WRITERS: &str = "writers";
/// When the disk is quiet after a part.
pub const BETWEEN: &str = "between";
/// Of each part when it is over.
pub const PART: &str = "part";

pub const PAGE: u64 = 4096;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskMark {
    pub fs: String,
    pub name: String,
    /// The kernel's `dev_t`.
    pub dev: u32,
    pub max_kib: u64,
    pub read_ahead_kib: u64,
    /// Merging was forbidden by the driver (queue/nomerges) until the lab allowed it.
    pub nomerges: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub name: String,
    pub phase: u32,
    /// Thread that made the calls.
    pub pid: u32,
    pub comm: String,
    /// Of the file; 0 = the device itself.
    pub ino: u64,
    pub calls: u64,
    pub bytes: u64,
    /// What /proc/PID/io has charged the thread with: write_bytes or read_bytes.
    pub charged: u64,
}

/// Counts of the followed disk between two moments at which it was quiet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// By the name of `probes_common::block::Total`.
    pub read: BTreeMap<String, u64>,
    pub write: BTreeMap<String, u64>,
    pub other: BTreeMap<String, u64>,
    /// Growth of /sys/block/X/stat.
    pub stat: Vec<u64>,
    /// What found no room in the maps.
    pub overflow: Option<String>,
}
