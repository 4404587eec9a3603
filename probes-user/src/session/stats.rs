//! What a run costs: start-up by part, memory, ns per event of each program.

use std::os::fd::OwnedFd;

use crate::instrument::{Attachment, sys};
use crate::kernel;
use crate::render::report::{ProgramCost, StatsReport};

/// Run-time statistics of programs, on while this lives. Adds about 40 ns to every program run.
#[derive(Debug)]
pub struct Meter {
    _stats: Option<OwnedFd>,
}

impl Meter {
    /// Not an error where the kernel refuses: the costs are then missing from the report.
    pub fn start(wanted: bool) -> Meter {
        Meter { _stats: if wanted { sys::enable_stats().ok() } else { None } }
    }
}

/// Programs that were entered again on the same CPU while running: the kernel skips those runs (counted
/// since 5.12, `bpf_prog_inc_misses_counter` in kernel/bpf/syscall.c).
pub fn misses(attachment: &Attachment) -> Vec<(String, u64)> {
    attachment
        .attached
        .iter()
        .filter_map(|attached| {
            let misses = sys::prog_info(attached.fd()).ok()?.recursion_misses;
            (misses > 0).then(|| (format!("{} entered while running", attached.program), misses))
        })
        .collect()
}

pub fn report(attachment: &Attachment, parts: &[(String, u64)], records: u64, duration_ns: u64) -> StatsReport {
    let programs = attachment
        .attached
        .iter()
        .filter_map(|attached| {
            let info = sys::prog_info(attached.fd()).ok()?;
            Some(ProgramCost { program: attached.program.to_owned(), runs: info.run_cnt, ns: info.run_time_ns })
        })
        .collect();
    StatsReport {
        startup_ns: parts.to_vec(),
        peak_rss_bytes: kernel::own_rss_peak().unwrap_or(0),
        map_bytes: attachment.maps.bytes(),
        programs,
        events_per_second: if duration_ns == 0 { 0.0 } else { records as f64 * 1e9 / duration_ns as f64 },
    }
}
