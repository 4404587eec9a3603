//! Others' counts of the same: /proc/meminfo against everybody's insertions and deletions, mincore(2) and
//! cachestat(2) against what came in, /proc/PID/io against what the device was asked for.

use probes_common::pages::{Count, owner};

use super::steps::{Sums, Who};
use crate::lab::pages::PAGE;

/// The kernel adds to its own counters in batches per CPU; others go on between two looks.
const SLACK: u64 = 512;
const SHARE: f64 = 0.02;

#[derive(Debug, Clone, PartialEq)]
pub struct Witness {
    pub what: &'static str,
    pub counted: i64,
    pub said: i64,
    pub agrees: bool,
}

impl Witness {
    fn new(what: &'static str, counted: i64, said: i64, moved: u64) -> Witness {
        let bound = SLACK + (moved as f64 * SHARE) as u64;
        Witness {
            what,
            counted,
            said,
            agrees: counted.abs_diff(said) <= bound,
        }
    }

    /// `Cached of /proc/meminfo: 16384 counted, 16390 said`
    pub fn told(&self) -> String {
        format!(
            "{}: {} counted, {} said",
            self.what, self.counted, self.said
        )
    }
}

fn grown(sums: &Sums<'_>, of: u32) -> (i64, u64) {
    let (inserted, deleted) = (sums.step.pages.inserted(of), sums.step.pages.deleted(of));
    (
        inserted.cast_signed() - deleted.cast_signed(),
        inserted + deleted,
    )
}

/// All that applies to this step.
pub fn of(sums: &Sums<'_>) -> Vec<Witness> {
    let step = sums.step;
    let (devices, moved) = grown(sums, owner::DEVICE);
    let mut all = vec![Witness::new(
        "Buffers of /proc/meminfo",
        devices,
        step.memory.buffers,
        moved,
    )];
    let (files, moved) = grown(sums, owner::FILE);
    let (others, more) = grown(sums, owner::OTHER);
    all.push(Witness::new(
        "Cached without Shmem",
        files + others,
        step.memory.files(),
        moved + more,
    ));
    let fetched = sums.count(Who::Actor, Count::device_read_bytes);
    if step.did.tgid == 0 && fetched > 0 && step.io.read_bytes > 0 {
        let metadata = sums.device(Who::Actor, &[Count::device_read_bytes]);
        let own = match sums.subject.fs.owner() {
            owner::DEVICE => fetched,
            _ => fetched + metadata,
        };
        all.push(Witness::new(
            "read_bytes of /proc/PID/io, pages",
            (own / PAGE).cast_signed(),
            (step.io.read_bytes / PAGE).cast_signed(),
            own / PAGE,
        ));
    }
    if let Some(stat) = step.cachestat {
        all.push(Witness {
            what: "cachestat(2) and mincore(2)",
            counted: stat.cache.cast_signed(),
            said: step.resident.cast_signed(),
            agrees: stat.cache.abs_diff(step.resident) <= step.resident / 50,
        });
    }
    all
}

/// Those that contradict; on a machine where others work at the same time /proc/meminfo alone settles nothing.
pub fn contradicting(sums: &Sums<'_>) -> Vec<Witness> {
    of(sums).into_iter().filter(|its| !its.agrees).collect()
}
