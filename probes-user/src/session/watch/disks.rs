//! The watch of disks: all of them or some, for everybody or for somebody's processes.
//!
//! The programs count; now and then, and at the end, what they have counted goes into the stream as a mark. Of
//! processes that are followed the fold takes their rows, those of children that have ended included.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Subject;
use super::tasks::Followed;
use crate::cli::disks::DiskArgs;
use crate::kernel::monotonic_ns;
use crate::session::lab::Run;
use crate::stream::Item;
use crate::trace::block_io::watch::Counted;
use crate::watch::Target;

pub(super) struct Disks {
    /// None = everybody.
    followed: Option<Followed>,
    args: DiskArgs,
    /// None = all.
    devices: Option<Vec<u32>>,
    /// Thread groups that were ever followed.
    groups: BTreeSet<u32>,
}

impl Disks {
    pub fn new(target: Option<Target>, args: &DiskArgs) -> Disks {
        Disks {
            followed: target.map(Followed::new),
            args: args.clone(),
            devices: None,
            groups: BTreeSet::new(),
        }
    }

    fn slower_ns(&self) -> Option<u64> {
        let slower = self.args.slower?;
        Some(u64::try_from(slower.as_nanos()).unwrap_or(u64::MAX))
    }

    fn remember(&mut self) {
        if let Some(followed) = &self.followed {
            self.groups.extend(&followed.groups);
        }
    }

    fn tell(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.remember();
        let blocks = run.started.shared.block_maps()?.read()?;
        let devices: BTreeSet<u32> = blocks.rows.iter().map(|row| row.dev).collect();
        let counted = Counted {
            names: names(&devices),
            groups: self.followed.is_some().then(|| self.groups.clone()),
            blocks,
        };
        let mark = counted
            .to_mark(monotonic_ns())
            .context("could not write a mark")?;
        run.started.pump.mark(mark);
        Ok(())
    }
}

fn path(device: u32) -> PathBuf {
    format!("/sys/dev/block/{}:{}", device >> 20, device & 0xf_ffff).into()
}

fn names(devices: &BTreeSet<u32>) -> BTreeMap<u32, String> {
    let name = |device: &u32| {
        let link = std::fs::read_link(path(*device)).ok()?;
        let name = link.file_name()?.to_string_lossy().into_owned();
        Some((*device, name))
    };
    devices.iter().filter_map(name).collect()
}

impl Subject for Disks {
    fn check(&mut self) -> Result<()> {
        self.devices = self.args.devices()?;
        self.followed.as_ref().map_or(Ok(()), Followed::check)
    }

    fn described(&self) -> Value {
        json!({ "disks": self.args.disk, "slower_ns": self.slower_ns() })
    }

    fn follows_tasks(&self) -> bool {
        self.followed.is_some()
    }

    fn begin(&mut self, run: &mut Run<'_>) -> Result<()> {
        let slower = self.slower_ns().unwrap_or(u64::MAX);
        let shared = &run.started.shared;
        // Without its hooks the report says what is missing.
        if let Ok(maps) = shared.block_maps() {
            maps.follow(self.devices.as_deref(), slower)?;
        }
        let Some(followed) = &mut self.followed else {
            shared.set_enabled(true);
            return Ok(());
        };
        followed.expect_names(run);
        run.started.shared.set_enabled(true);
        followed.begin(run)
    }

    fn item(&mut self, item: &Item) {
        if let Some(followed) = &mut self.followed {
            followed.item(item);
            self.groups.extend(&followed.groups);
        }
    }

    fn look(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.tell(run)
    }

    /// Nobody is left, or no disk of those that were named.
    fn ended(&self) -> bool {
        let nobody = self.followed.as_ref().is_some_and(Followed::ended);
        let gone = |devices: &Vec<u32>| devices.iter().all(|device| !path(*device).exists());
        nobody || self.devices.as_ref().is_some_and(gone)
    }

    fn end(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.tell(run)
    }
}
