//! The report: everything a run has to say, in the form that is published as `probes.report/1`.

use serde::{Deserialize, Serialize};

use crate::evidence::{Finding, Ledger};
use crate::kernel::Kernel;
use crate::trace::{Ending, Mode};

pub const SCHEMA: &str = "probes.report/1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelReport {
    /// `uname -r`.
    pub release: String,
    /// `uname -v`: holds the true patch level on Debian.
    pub version: String,
    pub machine: String,
    pub cpus: u32,
}

impl KernelReport {
    pub fn of(kernel: &Kernel) -> KernelReport {
        KernelReport {
            release: kernel.release.clone(),
            version: kernel.version.clone(),
            machine: kernel.machine.clone(),
            cpus: kernel.cpus,
        }
    }
}

/// One hook: what was tried, what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookReport {
    /// The program's name, which is the kernel's name of the hook.
    pub hook: String,
    /// `tp_btf`, `raw_tp`, `fentry`, `fexit`, `kprobe`, or null.
    pub attached_as: Option<String>,
    pub needed: bool,
    /// What precision is lost without it.
    pub lost_without: String,
    /// Why it did not attach, or why not by a higher rung.
    pub why_not: Option<String>,
}

/// Cost of the run (`--stats`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StatsReport {
    /// Start of the process to last attach, by part, ns, in order.
    pub startup_ns: Vec<(String, u64)>,
    /// VmHWM of our process, bytes.
    pub peak_rss_bytes: u64,
    /// Memory of our maps in the kernel, bytes.
    pub map_bytes: u64,
    /// By program: runs and total ns (only with run-time statistics on).
    pub programs: Vec<ProgramCost>,
    pub events_per_second: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProgramCost {
    pub program: String,
    pub runs: u64,
    pub ns: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub trace: String,
    pub mode: Mode,
    pub kernel: KernelReport,
    /// What was asked: lab options or watch filter.
    pub options: serde_json::Value,
    pub findings: Vec<Finding>,
    pub ledger: Ledger,
    pub ending: Ending,
    pub hooks: Vec<HookReport>,
    pub stats: Option<StatsReport>,
    /// Why the recording is incomplete, if one was asked for and failed.
    pub record_error: Option<String>,
}
