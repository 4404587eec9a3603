//! What a run costs: start-up by part, memory, ns per event of each program.

use std::os::fd::OwnedFd;

use crate::instrument::hook::hook;
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
        Meter {
            _stats: if wanted {
                sys::enable_stats().ok()
            } else {
                None
            },
        }
    }
}

/// Runs that the kernel kept from a program because it was already running on that CPU (counted since 5.12,
/// `bpf_prog_inc_misses_counter` in kernel/bpf/syscall.c), for whatever task.
#[derive(Debug, Default)]
pub struct Misses {
    /// Of needed programs that have no further copy: events may be lost.
    pub lost: Vec<(String, u64)>,
    /// Made good by a further copy (see `again` in probes-ebpf; what all missed shows as a gap in the
    /// stream), or of programs that no verdict needs.
    pub harmless: u64,
}

pub fn misses(attachment: &Attachment) -> Misses {
    let mut misses = Misses::default();
    let has = |program: &str| {
        attachment
            .attached
            .iter()
            .any(|other| other.program == program)
    };
    for attached in &attachment.attached {
        let Ok(info) = sys::prog_info(attached.fd()) else {
            continue;
        };
        let Some((_, hook)) = hook(attached.program) else {
            continue;
        };
        let mut reports = attachment.reports.iter();
        let needed = reports.any(|report| report.hook == hook.program && report.needed);
        let made_good = hook.again.iter().any(|copy| has(copy.program));
        if info.recursion_misses == 0 {
            continue;
        } else if needed && !made_good {
            misses.lost.push((
                format!("{} entered while running", attached.program),
                info.recursion_misses,
            ));
        } else {
            misses.harmless += info.recursion_misses;
        }
    }
    misses
}

pub fn report(
    attachment: &Attachment,
    parts: &[(String, u64)],
    records: u64,
    duration_ns: u64,
) -> StatsReport {
    let programs = attachment
        .attached
        .iter()
        .filter_map(|attached| {
            let info = sys::prog_info(attached.fd()).ok()?;
            Some(ProgramCost {
                program: attached.program.to_owned(),
                runs: info.run_cnt,
                ns: info.run_time_ns,
            })
        })
        .collect();
    StatsReport {
        startup_ns: parts.to_vec(),
        peak_rss_bytes: kernel::own_rss_peak().unwrap_or(0),
        map_bytes: attachment.maps.bytes(),
        programs,
        events_per_second: if duration_ns == 0 {
            0.0
        } else {
            records as f64 * 1e9 / duration_ns as f64
        },
    }
}
