//! What `xtask` tells the guest's init, and what init answers: the one place for both ends.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where init finds its job and its modules in the initramfs.
pub const JOB_PATH: &str = "/probes/job.json";
pub const MODULES_PATH: &str = "/probes/modules.json";
pub const MODULES_DIR: &str = "/probes/modules";

/// Names of the virtio-serial ports; init links them under `/dev/virtio-ports`.
pub const CONSOLE_PORT: &str = "probes.console";
pub const RESULTS_PORT: &str = "probes.results";
pub const CONTROL_PORT: &str = "probes.control";
/// Tells the job where its result lines go.
pub const RESULTS_ENV: &str = "PROBES_RESULTS";

/// Jobs that init does itself; they try the runner.
pub const BUILTIN_TRUE: &str = "@true";
pub const BUILTIN_PANIC: &str = "@panic";
/// Init stops answering: only the host's own deadline ends it.
pub const BUILTIN_HANG: &str = "@hang";
/// A job that never ends: init's deadline ends it, with the guest's stacks in the log.
pub const BUILTIN_SLEEP: &str = "@sleep";
/// An interactive shell on the first serial line.
pub const BUILTIN_SHELL: &str = "@shell";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    pub argv: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    pub timeout_s: u64,
}

/// One line on the control port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Control {
    /// Init is up; `uptime_ms` since the kernel started.
    Boot { kernel: String, uptime_ms: u64 },
    /// Something init could not do, though it goes on.
    Warning { message: String },
    /// The job outlived its time; the exit line still follows.
    Timeout { seconds: u64 },
    /// The job's exit code; nothing follows.
    Exit { code: u8 },
}

/// The modules in the image: loaded in this order, or on demand when `eager` is false.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    pub name: String,
    pub file: String,
    pub depends: Vec<String>,
    pub aliases: Vec<String>,
    pub eager: bool,
}
