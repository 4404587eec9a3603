//! The per-CPU counters: records sent, records lost by kind, failures inside the programs.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;

use probes_common::Kind;
use probes_common::control::counter;

use super::sys;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// By kind name.
    pub emitted: BTreeMap<String, u64>,
    /// Records that the full ring refused, by kind name.
    pub lost: BTreeMap<String, u64>,
    /// Failures inside the programs, by what failed.
    pub failed: BTreeMap<String, u64>,
}

impl Counters {
    /// # Errors
    /// The kernel's.
    pub fn read(map: BorrowedFd<'_>, possible_cpus: usize) -> io::Result<Counters> {
        let mut row = vec![0u8; possible_cpus * 8];
        let mut sum = |index: u32| -> io::Result<u64> {
            sys::map_lookup(map, index, &mut row)?;
            let cells = row
                .chunks_exact(8)
                .map(|c| c.try_into().map_or(0, u64::from_ne_bytes));
            Ok(cells.sum())
        };
        let mut counters = Counters::default();
        for kind in Kind::ALL {
            let number = *kind as u32;
            let name = kind.name().to_owned();
            add(
                &mut counters.emitted,
                &name,
                sum(counter::EMITTED + number)?,
            );
            add(&mut counters.lost, &name, sum(counter::DROPPED + number)?);
        }
        add(
            &mut counters.failed,
            "kernel stack not available",
            sum(counter::STACK_FAILED)?,
        );
        add(
            &mut counters.failed,
            "memory not readable",
            sum(counter::READ_FAILED)?,
        );
        Ok(counters)
    }
}

fn add(map: &mut BTreeMap<String, u64>, name: &str, value: u64) {
    if value != 0 {
        map.insert(name.to_owned(), value);
    }
}
