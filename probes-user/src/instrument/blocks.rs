//! What the instrument `block` has counted: totals by disk and class, times by disk, operation and owner.
//!
//! The maps are per CPU and are read whole, when asked; they only grow, so what happened between two looks is
//! the difference. As JSON (a mark, a recording) a row names only the steps that are not empty.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use probes_common::block::{
    BUCKETS, DISKS, DiskFilter, FOLLOW_ALL, FOLLOW_LISTED, REQUESTS_FULL, ROWS_FULL, Row, RowKey,
    TOTALS_LEN, Total, UNKNOWN_END, bucket_begin_us, total_row,
};
use serde::{Deserialize, Serialize};

use super::{Attachment, sys};

/// Times by step of the log-linear scale: how many.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    steps: BTreeMap<u32, u64>,
    pub sum_ns: u64,
    pub max_ns: u64,
}

impl Times {
    pub fn count(&self) -> u64 {
        self.steps.values().sum()
    }

    /// For times one by one.
    pub fn add(&mut self, ns: u64) {
        *self
            .steps
            .entry(probes_common::block::bucket(ns))
            .or_default() += 1;
        self.sum_ns += ns;
        self.max_ns = self.max_ns.max(ns);
    }

    /// The begin of the step, µs, in which the `percent`th of a hundred lies; None when empty.
    pub fn percentile_us(&self, percent: u64) -> Option<u64> {
        let rank = (self.count() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (step, count) in &self.steps {
            seen += count;
            if seen >= rank {
                return Some(bucket_begin_us(*step).min(self.max_ns / 1000));
            }
        }
        None
    }

    pub fn join(&mut self, other: &Times) {
        for (step, count) in &other.steps {
            *self.steps.entry(*step).or_default() += count;
        }
        self.sum_ns += other.sum_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
    }
}

/// Finished requests of one owner, one operation, one disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRow {
    /// The kernel's `dev_t`.
    pub dev: u32,
    pub op: u32,
    pub tgid: u32,
    pub cgroup: u64,
    pub comm: String,
    pub requests: u64,
    pub bytes: u64,
    /// From queue to driver, from driver to end.
    pub queue: Times,
    pub device: Times,
}

/// All that was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocks {
    pub rows: Vec<BlockRow>,
    pub(crate) totals: Vec<u64>,
}

impl Blocks {
    pub fn total(&self, slot: u32, class: u32, total: Total) -> u64 {
        self.at(total_row(slot, class, total))
    }

    fn at(&self, row: u32) -> u64 {
        self.totals.get(row as usize).copied().unwrap_or_default()
    }

    /// Of one class by name, what is not 0.
    pub fn class(&self, slot: u32, class: u32) -> BTreeMap<String, u64> {
        let named = Total::ALL.iter().zip(Total::NAMES);
        named
            .map(|(total, name)| ((*name).to_owned(), self.total(slot, class, *total)))
            .filter(|(_, value)| *value > 0)
            .collect()
    }

    /// What found no room in the maps, in words; None = nothing.
    pub fn overflow(&self) -> Option<String> {
        let kinds = [
            (ROWS_FULL, "requests without a row"),
            (REQUESTS_FULL, "requests not followed"),
            (UNKNOWN_END, "requests seen only at their end"),
        ];
        let told: Vec<String> = kinds
            .into_iter()
            .filter(|(row, _)| self.at(*row) > 0)
            .map(|(row, what)| format!("{} {what}", self.at(row)))
            .collect();
        (!told.is_empty()).then(|| told.join(", "))
    }

    /// Totals counted since `before`; without rows.
    #[must_use]
    pub fn since(&self, before: &Blocks) -> Blocks {
        let totals = self.totals.iter().enumerate();
        Blocks {
            rows: Vec::new(),
            totals: totals
                .map(|(at, now)| now.saturating_sub(before.at(at as u32)))
                .collect(),
        }
    }
}

/// The instrument's maps.
#[derive(Debug)]
pub struct BlockMaps {
    rows: OwnedFd,
    totals: OwnedFd,
    filter: OwnedFd,
    cpus: usize,
}

impl BlockMaps {
    /// None = the instrument is not among what was loaded.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn of(attachment: &Attachment) -> Result<Option<BlockMaps>> {
        if attachment.maps.get("BLOCK_ROWS").is_err() {
            return Ok(None);
        }
        let own = |name: &str| -> Result<OwnedFd> {
            let map = attachment.maps.get(name)?;
            map.try_clone_to_owned()
                .with_context(|| format!("could not duplicate the BPF map {name}"))
        };
        Ok(Some(BlockMaps {
            rows: own("BLOCK_ROWS")?,
            totals: own("BLOCK_TOTALS")?,
            filter: own("BLOCK_FILTER")?,
            cpus: crate::kernel::possible_cpus()? as usize,
        }))
    }

    /// Follows these disks from now on, None = all; tells of requests that took at least `slower_ns`.
    ///
    /// # Errors
    /// More than [`DISKS`].
    pub fn follow(&self, disks: Option<&[u32]>, slower_ns: u64) -> Result<()> {
        let listed = disks.unwrap_or_default();
        if listed.len() > DISKS {
            bail!("{} disks: at most {DISKS} can be followed", listed.len());
        }
        let mut filter = DiskFilter {
            follow: if disks.is_some() {
                FOLLOW_LISTED
            } else {
                FOLLOW_ALL
            },
            slower_ns,
            ..DiskFilter::default()
        };
        for (slot, dev) in filter.disks.iter_mut().zip(listed) {
            *slot = *dev;
        }
        // SAFETY: repr(C) integers without padding, read as bytes.
        let bytes = unsafe {
            std::slice::from_raw_parts((&raw const filter).cast::<u8>(), size_of::<DiskFilter>())
        };
        sys::map_update(self.filter.as_fd(), 0, bytes).context("could not choose the disks")
    }

    /// # Errors
    /// The kernel's.
    pub fn read(&self) -> Result<Blocks> {
        Ok(Blocks {
            rows: self
                .rows()
                .context("could not read the times of requests")?,
            totals: self
                .totals()
                .context("could not read the totals of disks")?,
        })
    }

    fn totals(&self) -> io::Result<Vec<u64>> {
        let mut value = vec![0; 8 * self.cpus];
        (0..TOTALS_LEN)
            .map(|row| {
                sys::map_lookup(self.totals.as_fd(), row, &mut value)?;
                let cells = value.chunks_exact(8);
                Ok(cells
                    .map(|cell| cell.try_into().map_or(0, u64::from_ne_bytes))
                    .sum())
            })
            .collect()
    }

    fn rows(&self) -> io::Result<Vec<BlockRow>> {
        let mut rows = Vec::new();
        let (mut key, mut next) = (vec![0; size_of::<RowKey>()], vec![0; size_of::<RowKey>()]);
        let mut value = vec![0; size_of::<Row>() * self.cpus];
        let map = self.rows.as_fd();
        let mut found = sys::map_next_key(map, None, &mut next)?;
        while found {
            std::mem::swap(&mut key, &mut next);
            if sys::map_lookup_key(map, &key, &mut value)? {
                rows.push(row(&key, &value));
            }
            found = sys::map_next_key(map, Some(&key), &mut next)?;
        }
        rows.sort_by_key(|row| (row.dev, row.op, row.tgid, row.cgroup));
        Ok(rows)
    }
}

/// A row as the kernel has it, a part for each CPU.
fn row(key: &[u8], value: &[u8]) -> BlockRow {
    // SAFETY: repr(C) integers, any bytes are a value; both slices have the size.
    let key = unsafe { key.as_ptr().cast::<RowKey>().read_unaligned() };
    let mut row = BlockRow {
        dev: key.dev,
        op: key.op,
        tgid: key.tgid,
        cgroup: key.cgroup,
        ..BlockRow::default()
    };
    for part in value.chunks_exact(size_of::<Row>()) {
        // SAFETY: as above.
        let part = unsafe { part.as_ptr().cast::<Row>().read_unaligned() };
        if part.requests == 0 {
            continue;
        }
        row.requests += part.requests;
        row.bytes += part.bytes;
        row.comm = text(&part.comm);
        row.queue
            .join(&times(&part.queue, part.queue_ns, part.queue_max));
        row.device
            .join(&times(&part.device, part.device_ns, part.device_max));
    }
    row
}

pub(super) fn times(buckets: &[u32; BUCKETS], sum_ns: u64, max_ns: u64) -> Times {
    let full = buckets.iter().enumerate().filter(|(_, count)| **count > 0);
    Times {
        steps: full
            .map(|(at, count)| (at as u32, u64::from(*count)))
            .collect(),
        sum_ns,
        max_ns,
    }
}

/// Up to the first NUL.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_begin_of_its_step_and_never_beyond_the_greatest() {
        let mut times = Times::default();
        assert_eq!(times.percentile_us(50), None);
        for us in 1..=100 {
            times.add(us * 1000);
        }
        assert_eq!(times.count(), 100);
        assert_eq!(times.percentile_us(50), Some(48));
        assert_eq!(times.percentile_us(99), Some(96));
        assert_eq!(times.max_ns, 100_000);
    }

    #[test]
    fn a_row_joins_the_parts_of_all_cpus() {
        let key = RowKey {
            dev: 7 << 20,
            op: 1,
            tgid: 42,
            _pad: 0,
            cgroup: 1,
        };
        let mut parts = [Row::EMPTY; 3];
        for (part, requests) in parts.iter_mut().zip([2_u64, 0, 3]) {
            part.requests = requests;
            part.bytes = requests * 4096;
            part.queue[5] = requests as u32;
            part.device_max = requests * 10;
            part.comm[..2].copy_from_slice(b"dd");
        }
        // SAFETY: repr(C) integers without padding.
        let bytes = |at: *const u8, len| unsafe { std::slice::from_raw_parts(at, len) };
        let joined = row(
            bytes((&raw const key).cast(), size_of::<RowKey>()),
            bytes(parts.as_ptr().cast(), size_of_val(&parts)),
        );
        assert_eq!(
            (joined.requests, joined.bytes, joined.queue.count()),
            (5, 5 * 4096, 5)
        );
        assert_eq!((joined.device.max_ns, joined.comm.as_str()), (30, "dd"));
    }

    #[test]
    fn totals_between_two_looks_are_the_difference() {
        let mut before = Blocks {
            totals: vec![0; TOTALS_LEN as usize],
            ..Blocks::default()
        };
        let at = total_row(1, 1, Total::issues) as usize;
        before.totals[at] = 4;
        let mut after = before.clone();
        after.totals[at] = 9;
        let grown = after.since(&before);
        assert_eq!(grown.total(1, 1, Total::issues), 5);
        assert_eq!(grown.class(1, 1).len(), 1);
        assert_eq!(grown.overflow(), None);
        after.totals[ROWS_FULL as usize] = 2;
        assert_eq!(after.overflow().unwrap(), "2 requests without a row");
    }
}
