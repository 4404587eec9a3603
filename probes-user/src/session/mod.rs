//! One run: kernel facts, instruments, stream, fold, report. `lab` and `watch` drive it.

pub mod interrupt;
pub mod lab;
pub mod pump;
pub mod start;
pub mod stats;

use std::path::PathBuf;
use std::time::Duration;

use crate::instrument::Without;

/// What the command line says about any run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    pub duration: Option<Duration>,
    pub interval: Option<Duration>,
    /// Show what the run costs.
    pub stats: bool,
    pub record: Option<PathBuf>,
    pub timeline: Option<u64>,
    /// Bytes of the event ring.
    pub ring_bytes: u32,
    pub without: Without,
    /// Show progress on standard error.
    pub progress: bool,
}
