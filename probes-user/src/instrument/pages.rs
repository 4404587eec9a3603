//! What the instrument `page_cache` has counted: rows by file, process and control group, and everybody's totals.
//!
//! The maps are per CPU and are read whole, when asked; they only grow, so what happened between two looks is
//! the difference. As JSON (a mark, a recording) a row is its key and the counts that are not 0.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use probes_common::pages::{Count, FileKey, FileName, Row as RawRow, RowKey, owner, total};
use serde::{Deserialize, Serialize};

use super::{Attachment, sys};

/// Counts of one process (of one control group) at one file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRow {
    pub owner: u32,
    /// The kernel's `dev_t`.
    pub dev: u32,
    pub ino: u64,
    pub tgid: u32,
    pub cgroup: u64,
    pub comm: String,
    /// Last part of the file's path; empty of a device.
    pub name: String,
    pub(crate) counts: BTreeMap<String, u64>,
}

type Key = (u32, u32, u64, u32, u64);

impl PageRow {
    pub fn get(&self, count: Count) -> u64 {
        let name = Count::NAMES[count as usize];
        self.counts.get(name).copied().unwrap_or_default()
    }

    /// For rows built by hand.
    pub fn set(&mut self, count: Count, value: u64) {
        let name = Count::NAMES[count as usize];
        match value {
            0 => drop(self.counts.remove(name)),
            value => drop(self.counts.insert(name.to_owned(), value)),
        }
    }

    fn key(&self) -> Key {
        (self.owner, self.dev, self.ino, self.tgid, self.cgroup)
    }

    /// Joins another row's counts.
    pub fn join(&mut self, other: &PageRow) {
        for count in Count::ALL {
            let (mine, its) = (self.get(*count), other.get(*count));
            self.set(*count, joined(*count, mine, its));
        }
    }

    fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

fn joined(count: Count, one: u64, other: u64) -> u64 {
    match (one, other) {
        (0, value) | (value, 0) => value,
        _ if count.is_first() => one.min(other),
        _ if count.is_time() => one.max(other),
        _ => one + other,
    }
}

/// All that was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    pub rows: Vec<PageRow>,
    /// By `probes_common::pages::total`.
    pub(crate) totals: Vec<u64>,
}

impl Pages {
    /// Pages of everybody that came in, of this owner.
    pub fn inserted(&self, owner: u32) -> u64 {
        self.total(total::INSERTED + owner)
    }

    pub fn deleted(&self, owner: u32) -> u64 {
        self.total(total::DELETED + owner)
    }

    pub fn total(&self, row: u32) -> u64 {
        self.totals.get(row as usize).copied().unwrap_or_default()
    }

    /// What found no room in the maps, in words; None = nothing.
    pub fn overflow(&self) -> Option<String> {
        let kinds = [
            (total::ROWS_FULL, "pages without a row"),
            (total::CHUNKS_FULL, "pages read ahead, used or not"),
            (total::CALLS_FULL, "calls not remembered"),
            (total::TOO_LONG, "pages of calls longer than 16 MiB"),
        ];
        let told: Vec<String> = kinds
            .into_iter()
            .filter(|(row, _)| self.total(*row) > 0)
            .map(|(row, what)| format!("{} {what}", self.total(row)))
            .collect();
        (!told.is_empty()).then(|| told.join(", "))
    }

    /// What was counted since `before`. First times that are older stay what they were.
    pub fn since(&self, before: &Pages) -> Pages {
        let old: BTreeMap<Key, &PageRow> = before.rows.iter().map(|row| (row.key(), row)).collect();
        let mut rows = Vec::new();
        for row in &self.rows {
            let mut grown = row.clone();
            if let Some(old) = old.get(&row.key()) {
                for count in Count::ALL {
                    let (now, then) = (row.get(*count), old.get(*count));
                    let moved = if !count.is_time() {
                        now.saturating_sub(then)
                    } else if now == then {
                        0
                    } else {
                        now
                    };
                    grown.set(*count, moved);
                }
            }
            if !grown.is_empty() {
                rows.push(grown);
            }
        }
        let totals = self.totals.iter().enumerate();
        Pages {
            rows,
            totals: totals
                .map(|(at, now)| now.saturating_sub(before.total(at as u32)))
                .collect(),
        }
    }
}

/// Name of an owner, for tables.
pub fn owner_name(owner: u32) -> &'static str {
    match owner {
        owner::NONE => "process",
        owner::FILE => "file",
        owner::DEVICE => "device",
        owner::SHMEM => "shmem",
        owner::SWAP => "swap",
        _ => "other",
    }
}

/// The instrument's maps.
#[derive(Debug)]
pub struct PageMaps {
    rows: OwnedFd,
    files: OwnedFd,
    pub(crate) totals: OwnedFd,
    cpus: usize,
}

impl PageMaps {
    /// None = the instrument is not among what was loaded.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn of(attachment: &Attachment) -> Result<Option<PageMaps>> {
        if attachment.maps.get("PAGE_ROWS").is_err() {
            return Ok(None);
        }
        let own = |name: &str| -> Result<OwnedFd> {
            attachment
                .maps
                .get(name)?
                .try_clone_to_owned()
                .with_context(|| format!("could not duplicate the BPF map {name}"))
        };
        Ok(Some(PageMaps {
            rows: own("PAGE_ROWS")?,
            files: own("PAGE_FILES")?,
            totals: own("PAGE_TOTALS")?,
            cpus: crate::kernel::possible_cpus()? as usize,
        }))
    }

    /// # Errors
    /// The kernel's.
    pub fn read(&self) -> Result<Pages> {
        let names = self.names().context("could not read the names of files")?;
        let mut rows = self.rows().context("could not read the counts of pages")?;
        for row in &mut rows {
            if let Some(name) = names.get(&(row.owner, row.dev, row.ino)) {
                row.name.clone_from(name);
            }
        }
        let totals = self
            .totals()
            .context("could not read the totals of pages")?;
        Ok(Pages { rows, totals })
    }

    fn names(&self) -> io::Result<BTreeMap<(u32, u32, u64), String>> {
        let mut names = BTreeMap::new();
        let mut value = [0; size_of::<FileName>()];
        each_key::<FileKey>(&self.files, |key, bytes| {
            if sys::map_lookup_key(self.files.as_fd(), bytes, &mut value)? {
                names.insert((key.owner, key.dev, key.ino), text(&value));
            }
            Ok(())
        })?;
        Ok(names)
    }

    fn rows(&self) -> io::Result<Vec<PageRow>> {
        let mut rows = Vec::new();
        let mut value = vec![0; size_of::<RawRow>() * self.cpus];
        each_key::<RowKey>(&self.rows, |key, bytes| {
            if !sys::map_lookup_key(self.rows.as_fd(), bytes, &mut value)? {
                return Ok(());
            }
            let mut row = PageRow {
                owner: key.owner,
                dev: key.dev,
                ino: key.ino,
                tgid: key.tgid,
                cgroup: key.cgroup,
                ..PageRow::default()
            };
            for cpu in value.chunks_exact(size_of::<RawRow>()) {
                let (counts, comm) = cpu.split_at(8 * Count::LEN);
                let numbers = counts
                    .chunks_exact(8)
                    .map(|cell| cell.try_into().map_or(0, u64::from_ne_bytes));
                for (count, number) in Count::ALL.iter().zip(numbers) {
                    row.set(*count, joined(*count, row.get(*count), number));
                }
                if comm.iter().any(|byte| *byte != 0) {
                    row.comm = text(comm);
                }
            }
            rows.push(row);
            Ok(())
        })?;
        rows.sort_by_key(PageRow::key);
        Ok(rows)
    }

    fn totals(&self) -> io::Result<Vec<u64>> {
        let mut value = vec![0; 8 * self.cpus];
        (0..total::LEN)
            .map(|row| {
                sys::map_lookup(self.totals.as_fd(), row, &mut value)?;
                let cells = value
                    .chunks_exact(8)
                    .map(|cell| cell.try_into().map_or(0, u64::from_ne_bytes));
                Ok(cells.sum())
            })
            .collect()
    }
}

/// Up to the first NUL.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}

/// Every key of a hash map that nothing is ever deleted from.
fn each_key<K: Copy>(
    map: &OwnedFd,
    mut take: impl FnMut(K, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut key = vec![0u8; size_of::<K>()];
    let mut next = vec![0u8; size_of::<K>()];
    let mut found = sys::map_next_key(map.as_fd(), None, &mut next)?;
    while found {
        std::mem::swap(&mut key, &mut next);
        // SAFETY: the keys are repr(C) integers, any bytes are a value; as many as it has were filled in.
        let typed = unsafe { key.as_ptr().cast::<K>().read_unaligned() };
        take(typed, &key)?;
        found = sys::map_next_key(map.as_fd(), Some(&key), &mut next)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(tgid: u32, counts: &[(Count, u64)]) -> PageRow {
        let mut row = PageRow {
            tgid,
            ..PageRow::default()
        };
        for (count, value) in counts {
            row.set(*count, *value);
        }
        row
    }

    #[test]
    fn what_happened_between_two_looks_is_the_difference() {
        let before = Pages {
            rows: vec![row(1, &[(Count::asked, 10), (Count::first_dirtied_ns, 5)])],
            totals: vec![7],
        };
        let after = Pages {
            rows: vec![
                row(1, &[(Count::asked, 14), (Count::first_dirtied_ns, 5)]),
                row(2, &[(Count::dirtied, 3)]),
                row(3, &[]),
            ],
            totals: vec![9],
        };
        let grown = after.since(&before);
        assert_eq!(grown.rows.len(), 2);
        assert_eq!(grown.rows[0], row(1, &[(Count::asked, 4)]));
        assert_eq!(grown.rows[1].get(Count::dirtied), 3);
        assert_eq!(grown.total(0), 2);
    }

    #[test]
    fn times_are_joined_by_the_first_and_the_last_and_counts_by_their_sum() {
        let mut one = row(
            1,
            &[
                (Count::asked, 1),
                (Count::first_dirtied_ns, 8),
                (Count::last_dirtied_ns, 9),
            ],
        );
        one.join(&row(
            1,
            &[
                (Count::asked, 2),
                (Count::first_dirtied_ns, 3),
                (Count::last_dirtied_ns, 4),
            ],
        ));
        assert_eq!(one.get(Count::asked), 3);
        assert_eq!(one.get(Count::first_dirtied_ns), 3);
        assert_eq!(one.get(Count::last_dirtied_ns), 9);
    }

    #[test]
    fn rows_survive_a_recording() {
        let pages = Pages {
            rows: vec![row(1, &[(Count::asked, 10)])],
            totals: vec![1, 2],
        };
        let text = serde_json::to_string(&pages).unwrap();
        assert_eq!(serde_json::from_str::<Pages>(&text).unwrap(), pages);
    }

    #[test]
    fn what_found_no_room_is_told() {
        let mut pages = Pages::default();
        assert_eq!(pages.overflow(), None);
        pages.totals = vec![0; total::LEN as usize];
        pages.totals[total::ROWS_FULL as usize] = 4;
        assert_eq!(pages.overflow().unwrap(), "4 pages without a row");
    }
}
