//! One run: kernel facts, instruments, stream, fold, report. `lab` and `watch` drive it.

pub mod interrupt;
pub mod lab;
pub mod pump;
pub mod start;
pub mod stats;
pub mod watch;

use std::collections::BTreeSet;
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

/// What a watch has seen of its target so far.
#[derive(Debug, Default)]
pub struct Sightings {
    /// Thread groups of the watched tasks.
    pub groups: BTreeSet<u32>,
    /// (address, port, sockets) already told.
    pub listeners: BTreeSet<(String, u16, u32)>,
    /// Registrations have not been told yet; later ones come as epoll_ctl events.
    pub first: bool,
    /// The target is a name: processes that bear it may still come.
    pub waits_for_comm: bool,
}
