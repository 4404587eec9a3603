//! Reads the rows in which `copy` and `syscalls` count the lab's actions.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use probes_common::copy::{CallRow, CopyRow, FAMILIES, SLOTS};

use super::{Attachment, sys};
use crate::kernel;
use crate::lab::counted::Counted;

/// The maps, as far as they are loaded.
#[derive(Debug)]
pub struct Counts {
    copies: Option<OwnedFd>,
    calls: Option<OwnedFd>,
}

impl Counts {
    /// # Errors
    /// No descriptors left.
    pub fn of(attachment: &Attachment) -> Result<Counts> {
        let map = |name: &str| -> Result<Option<OwnedFd>> {
            let Ok(fd) = attachment.maps.get(name) else {
                return Ok(None);
            };
            let own = fd.try_clone_to_owned();
            Ok(Some(own.with_context(|| {
                format!("could not duplicate the map {name}")
            })?))
        };
        Ok(Counts {
            copies: map("COPIES")?,
            calls: map("CALLS")?,
        })
    }

    /// # Errors
    /// Neither is loaded, or the kernel's.
    pub fn read(&self, phase: u32) -> Result<Counted> {
        if self.copies.is_none() && self.calls.is_none() {
            bail!("neither copies nor system calls are counted: no hook of theirs is loaded");
        }
        let slot = phase % SLOTS;
        let mut counted = Counted::default();
        if let Some(map) = &self.copies {
            let row: [u64; CopyRow::LEN] = sum(map, slot, |field, sum, value| {
                // The last field is a name, not a count.
                if field + 1 == CopyRow::LEN {
                    value.max(sum)
                } else {
                    sum + value
                }
            })?;
            counted.copies = row.to_vec();
        }
        if let Some(map) = &self.calls {
            for (index, family) in FAMILIES.iter().enumerate() {
                let key = slot * FAMILIES.len() as u32 + index as u32;
                let row: [u64; CallRow::LEN] = sum(map, key, |_, sum, value| sum + value)?;
                if row.iter().any(|value| *value != 0) {
                    counted.calls.insert((*family).to_owned(), row);
                }
            }
        }
        Ok(counted)
    }
}

fn sum<const N: usize>(
    map: &OwnedFd,
    key: u32,
    join: impl Fn(usize, u64, u64) -> u64,
) -> Result<[u64; N]> {
    let cpus = kernel::possible_cpus().context("could not count the CPUs")? as usize;
    let mut bytes = vec![0u8; cpus * N * 8];
    sys::map_lookup(map.as_fd(), key, &mut bytes).context("could not read a row of counts")?;
    let mut row = [0; N];
    for (index, cell) in bytes.chunks_exact(8).enumerate() {
        let value = cell.try_into().map_or(0, u64::from_ne_bytes);
        row[index % N] = join(index % N, row[index % N], value);
    }
    Ok(row)
}
