//! Which disks a watch of disks is about: options of the traces that watch them.
//!
//! Disks and the threshold are filtered in the kernel; whose a request is, in the fold.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::args::duration;
use crate::exit::usage;

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Watch disks, for anybody or for the processes above")]
pub struct DiskArgs {
    /// Every disk of this machine, whosever requests
    #[arg(short, long, group = "target")]
    pub all: bool,
    /// This disk (vda, loop3; repeatable)
    #[arg(long, value_name = "NAME")]
    pub disk: Vec<String>,
    /// A line for each request that takes at least this long (10ms)
    #[arg(long, value_name = "D", value_parser = duration)]
    pub slower: Option<Duration>,
}

impl DiskArgs {
    /// Does any of them ask for a watch?
    pub fn any(&self) -> bool {
        self.all || !self.disk.is_empty() || self.slower.is_some()
    }

    /// The kernel's numbers of the disks that were named; None = all.
    ///
    /// # Errors
    /// No such disk.
    pub fn devices(&self) -> Result<Option<Vec<u32>>> {
        if self.disk.is_empty() {
            return Ok(None);
        }
        self.disk
            .iter()
            .map(|name| device(name))
            .collect::<Result<_>>()
            .map(Some)
    }
}

fn device(name: &str) -> Result<u32> {
    let plain = name.trim_start_matches("/dev/");
    let path = Path::new("/sys/block").join(plain);
    let text = std::fs::read_to_string(path.join("dev")).unwrap_or_default();
    let numbers = text.trim().split_once(':');
    let numbers = numbers.and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
    match numbers {
        Some((major, minor)) if !plain.contains('/') => Ok(major << 20 | minor),
        _ => usage(format!(
            "no disk {name}: /sys/block lists them (whole disks, no partitions)"
        )),
    }
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}
