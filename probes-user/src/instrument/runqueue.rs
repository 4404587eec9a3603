//! What the instrument `runqueue` has counted: times by CPU, and by task, group, name or control group.
//!
//! The maps are read whole, when asked, and only grow. As JSON (a mark, a recording) a row names only the steps
//! that are not empty.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use probes_common::runqueue::{RunqControl, RunqKey, RunqRow, cause};
use serde::{Deserialize, Serialize};

use super::blocks::{Times, text, times};
use super::{Attachment, sys};

/// Times of one CPU, or of what rows are kept by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedRow {
    /// The CPU, or what `probes_common::runqueue::by` asks for.
    pub key: [u64; 2],
    pub comm: String,
    /// Runnable and not running; running; asleep.
    pub delay: Times,
    pub on_cpu: Times,
    pub asleep: Times,
    /// Of the delays, by `probes_common::runqueue::cause`: how many, how long.
    pub causes: [(u64, u64); cause::ALL],
}

impl SchedRow {
    fn of(key: [u64; 2], raw: &RunqRow) -> SchedRow {
        SchedRow {
            key,
            comm: text(&raw.comm),
            delay: times(&raw.delay, raw.delay_ns, raw.delay_max),
            on_cpu: times(&raw.on_cpu, raw.on_cpu_ns, raw.on_cpu_max),
            asleep: times(&raw.asleep, raw.asleep_ns, raw.asleep_max),
            causes: std::array::from_fn(|at| (raw.cause_count[at], raw.cause_ns[at])),
        }
    }

    pub fn join(&mut self, other: &SchedRow) {
        self.delay.join(&other.delay);
        self.on_cpu.join(&other.on_cpu);
        self.asleep.join(&other.asleep);
        for (mine, its) in self.causes.iter_mut().zip(&other.causes) {
            mine.0 += its.0;
            mine.1 += its.1;
        }
    }
}

/// All that was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    pub cpus: Vec<SchedRow>,
    pub rows: Vec<SchedRow>,
    /// Times that found no row.
    pub full: u64,
}

/// The instrument's maps.
#[derive(Debug)]
pub struct RunqueueMaps {
    control: OwnedFd,
    cpus: OwnedFd,
    rows: OwnedFd,
    full: OwnedFd,
    count: usize,
}

impl RunqueueMaps {
    /// None = the instrument is not among what was loaded.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn of(attachment: &Attachment) -> Result<Option<RunqueueMaps>> {
        if attachment.maps.get("RUNQ_ROWS").is_err() {
            return Ok(None);
        }
        let own = |name: &str| -> Result<OwnedFd> {
            let map = attachment.maps.get(name)?;
            map.try_clone_to_owned()
                .with_context(|| format!("could not duplicate the BPF map {name}"))
        };
        Ok(Some(RunqueueMaps {
            control: own("RUNQ_CONTROL")?,
            cpus: own("RUNQ_CPUS")?,
            rows: own("RUNQ_ROWS")?,
            full: own("RUNQ_FULL")?,
            count: crate::kernel::possible_cpus()? as usize,
        }))
    }

    /// Counts from now on.
    ///
    /// # Errors
    /// The kernel's.
    pub fn follow(&self, control: &RunqControl) -> Result<()> {
        // SAFETY: repr(C) integers without padding, read as bytes.
        let bytes = unsafe {
            std::slice::from_raw_parts(
                std::ptr::from_ref(control).cast::<u8>(),
                size_of::<RunqControl>(),
            )
        };
        sys::map_update(self.control.as_fd(), 0, bytes).context("could not choose what is counted")
    }

    /// # Errors
    /// The kernel's.
    pub fn read(&self) -> Result<Scheduled> {
        let read = || -> io::Result<Scheduled> {
            let mut bytes = vec![0; 8 * self.count];
            sys::map_lookup(self.full.as_fd(), 0, &mut bytes)?;
            let cells = bytes.chunks_exact(8);
            let full = cells.map(|cell| cell.try_into().map_or(0, u64::from_ne_bytes));
            Ok(Scheduled {
                full: full.sum(),
                cpus: self.by_cpu()?,
                rows: self.by_key()?,
            })
        };
        read().context("could not read what was counted of the scheduler")
    }

    fn by_cpu(&self) -> io::Result<Vec<SchedRow>> {
        let mut value = vec![0; size_of::<RunqRow>() * self.count];
        sys::map_lookup(self.cpus.as_fd(), 0, &mut value)?;
        let rows = value.chunks_exact(size_of::<RunqRow>()).enumerate();
        let rows = rows.map(|(cpu, bytes)| SchedRow::of([cpu as u64, 0], &raw(bytes)));
        Ok(rows
            .filter(|row| row.delay.count() + row.on_cpu.count() > 0)
            .collect())
    }

    fn by_key(&self) -> io::Result<Vec<SchedRow>> {
        let mut rows = Vec::new();
        let (mut key, mut next) = (vec![0; size_of::<RunqKey>()], vec![0; size_of::<RunqKey>()]);
        let mut value = vec![0; size_of::<RunqRow>()];
        let map = self.rows.as_fd();
        let mut found = sys::map_next_key(map, None, &mut next)?;
        while found {
            std::mem::swap(&mut key, &mut next);
            if sys::map_lookup_key(map, &key, &mut value)? {
                // SAFETY: repr(C) integers, any bytes are a value; the slice has the size.
                let key = unsafe { key.as_ptr().cast::<RunqKey>().read_unaligned() };
                rows.push(SchedRow::of(key.key, &raw(&value)));
            }
            found = sys::map_next_key(map, Some(&key), &mut next)?;
        }
        rows.sort_by_key(|row| row.key);
        Ok(rows)
    }
}

fn raw(bytes: &[u8]) -> RunqRow {
    // SAFETY: repr(C) integers, any bytes are a value; the slice has the size.
    unsafe { bytes.as_ptr().cast::<RunqRow>().read_unaligned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_and_joined_with_its_causes() {
        let mut row = RunqRow::EMPTY;
        row.delay[5] = 2;
        row.delay_ns = 12_000;
        row.delay_max = 7_000;
        row.cause_count[cause::BUSY as usize] = 2;
        row.comm[..2].copy_from_slice(b"dd");
        let mut one = SchedRow::of([7, 0], &row);
        one.join(&one.clone());
        assert_eq!((one.delay.count(), one.delay.sum_ns), (4, 24_000));
        assert_eq!(one.causes[cause::BUSY as usize].0, 4);
        assert_eq!((one.comm.as_str(), one.delay.max_ns), ("dd", 7_000));
    }

    #[test]
    fn what_was_counted_survives_a_recording() {
        let all = Scheduled {
            rows: vec![SchedRow::of([1, 2], &RunqRow::EMPTY)],
            full: 3,
            ..Scheduled::default()
        };
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Scheduled>(&text).unwrap(), all);
    }
}
