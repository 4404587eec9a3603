//! One run: kernel facts, instruments, stream, fold, report. `lab` and `watch` drive it.

pub mod interrupt;
pub mod lab;
pub mod pump;
pub mod start;
pub mod stats;
pub mod watch;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

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
    /// The surgeon is wanted in a watch too.
    pub surgeon: bool,
    /// Who woke whom is wanted of the scheduler.
    pub wakers: bool,
    /// Show progress on standard error.
    pub progress: bool,
    /// Created when everything is attached and the target is watched.
    pub ready_file: Option<PathBuf>,
}

impl RunOptions {
    /// # Errors
    /// The file cannot be made.
    pub fn announce_ready(&self) -> Result<()> {
        match &self.ready_file {
            Some(path) => std::fs::write(path, b"ready\n")
                .with_context(|| format!("could not write {}", path.display())),
            None => Ok(()),
        }
    }
}
