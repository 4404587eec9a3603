//! What a watch of the scheduler counts by, and which delays it tells: options of the traces that watch it.

use std::time::Duration;

use clap::{Args, ValueEnum};
use probes_common::runqueue::by;

use super::args::duration;

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Watch the scheduler, for everybody or for the processes above")]
pub struct SchedArgs {
    /// Every task of this machine
    #[arg(short, long, group = "target")]
    pub all: bool,
    /// A row of times for each of these; cpu costs least
    #[arg(long, value_name = "KEY", default_value = "tgid")]
    pub by: By,
    /// A line for each delay from being queued to running of at least this long (10ms)
    #[arg(long, value_name = "D", value_parser = duration)]
    pub slower: Option<Duration>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum By {
    Cpu,
    Pid,
    #[default]
    Tgid,
    Comm,
    Cgroup,
}

impl By {
    pub fn number(self) -> u32 {
        match self {
            By::Cpu => by::CPU,
            By::Pid => by::PID,
            By::Tgid => by::TGID,
            By::Comm => by::COMM,
            By::Cgroup => by::CGROUP,
        }
    }
}

impl SchedArgs {
    /// Does any of them ask for a watch?
    pub fn any(&self) -> bool {
        self.all || self.slower.is_some()
    }

    pub fn slower_ns(&self) -> Option<u64> {
        let slower = self.slower?;
        Some(u64::try_from(slower.as_nanos()).unwrap_or(u64::MAX))
    }
}
