//! block-io: one request's life, from bio to end; what merges and what is read ahead, and whose the writes are.
//!
//! Counts and requests come from the instrument `block` on tracepoints alone, filtered by the lab's own disk in
//! the kernel. What could fool it: requests of the file system's own (journal, tables), so a request belongs to
//! a part only by the inode of its page, or by its task where its memory is the task's own.

pub mod claims;
pub mod facts;
pub mod judge;
mod ledger;
pub mod marks;
mod script;
#[cfg(test)]
mod tests;
pub mod watch;

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::evidence::Claim;
use crate::evidence::ledger::Ledger;
use crate::exit::usage;
use crate::lab::Lab;
use crate::lab::disk::Fs;
use crate::lab::script::{Case, ScriptLab};
use crate::stream::Item;
use crate::trace::scripted::Cases;
use crate::trace::{Context, Ending, Fold, LabOption, LabOptions, Mode, Outcome, Trace, Watching};
use facts::{Facts, Unfit};

pub struct BlockIo;
pub static BLOCK_IO: BlockIo = BlockIo;

static HOOKS: &[&str] = &[
    "block_bio_queue",
    "block_bio_backmerge",
    "block_bio_frontmerge",
    "block_split",
    "block_bio_remap",
    "block_bio_complete",
    "block_getrq",
    "block_plug",
    "block_unplug",
    "block_rq_insert",
    "block_rq_merge",
    "block_rq_issue",
    "block_rq_requeue",
    "block_rq_complete",
    "block_inode_dirty",
];

/// Of the counts that must agree; who is behind a write-back is one claim's matter.
static NEEDS: &[&str] = &[
    "block_bio_queue",
    "block_bio_backmerge",
    "block_bio_frontmerge",
    "block_split",
    "block_getrq",
    "block_rq_merge",
    "block_rq_issue",
    "block_rq_requeue",
    "block_rq_complete",
];

static OPTIONS: &[LabOption] = &[LabOption {
    name: "size",
    value: "N",
    help: "MiB that are written, from 4 on (default 64)",
}];

const SIZE: u32 = 64;
/// For each wait, on the slowest guest beside noise.
const BUDGET: Duration = Duration::from_secs(120);

fn size_mib(options: &LabOptions) -> Result<u32> {
    match options.number("size")?.unwrap_or(SIZE) {
        size @ 4..=65536 => Ok(size),
        size => usage(format!("--size {size}: from 4 to 65536 MiB")),
    }
}

impl Trace for BlockIo {
    fn name(&self) -> &'static str {
        "block-io"
    }

    fn summary(&self) -> &'static str {
        "what becomes of reads and writes on their way to the disk: merges, read-ahead, times, and whose they are"
    }

    fn claims(&self) -> &'static [Claim] {
        &claims::CLAIMS
    }

    fn hooks(&self) -> &'static [&'static str] {
        HOOKS
    }

    fn needs(&self) -> &'static [&'static str] {
        NEEDS
    }

    fn options(&self) -> &'static [LabOption] {
        OPTIONS
    }

    fn examples(&self) -> &'static [(&'static str, &'static str)] {
        &[("--variant xfs --size 16", "one file system, less data")]
    }

    fn settings(&self) -> &'static [&'static str] {
        &[
            "vm.dirty_background_ratio",
            "vm.dirty_expire_centisecs",
            "vm.dirty_writeback_centisecs",
        ]
    }

    fn watching(&self) -> Watching {
        Watching::Disks
    }

    fn page(&self) -> &'static str {
        include_str!("../../../../docs/traces/block-io.md")
    }

    fn lab(&self, options: &LabOptions) -> Result<Box<dyn Lab>> {
        let size = u64::from(size_mib(options)?) << 20;
        let asked = Fs::ALL.into_iter().filter(|fs| options.wants(fs.name()));
        let cases: Vec<Case> = asked
            .map(|fs| Case::new(fs.name(), BUDGET, move |stage| script::run(stage, fs, size)))
            .collect();
        if cases.is_empty() {
            return usage("no variant of that name: ext4, xfs, raw");
        }
        Ok(Box::new(ScriptLab::new(cases)))
    }

    fn lab_options(&self, options: &LabOptions) -> Result<serde_json::Value> {
        Ok(json!({ "size_mib": size_mib(options)?, "variants": options.variants }))
    }

    fn fold(&self, context: &Context) -> Box<dyn Fold> {
        match context.mode {
            Mode::Lab => Box::new(LabFold {
                cases: Cases::default(),
                attached: context.attached.clone(),
            }),
            Mode::Watch => Box::new(watch::WatchFold::new(context)),
        }
    }
}

struct LabFold {
    cases: Cases,
    attached: Vec<String>,
}

impl Fold for LabFold {
    fn item(&mut self, item: &Item) {
        self.cases.item(item);
    }

    fn interim(&self) -> Ledger {
        Ledger::default()
    }

    /// Counts that must agree and do not: events are missing.
    fn incomplete(&self) -> bool {
        let last = self.cases.last().map(facts::read);
        matches!(last, Some(Ok(facts)) if facts.disagreement().is_some())
    }

    fn finish(self: Box<Self>, ending: &Ending) -> Outcome {
        let cases: Vec<(String, Result<Facts, Unfit>)> = self
            .cases
            .logs()
            .map(|log| (log.label.clone(), facts::read(log)))
            .collect();
        let whole: Vec<&Facts> = cases
            .iter()
            .filter_map(|(_, its)| its.as_ref().ok())
            .collect();
        let mut remarks: Vec<String> = self.cases.remark().into_iter().collect();
        if whole.iter().any(|facts| facts.disk.nomerges != 0) {
            remarks.push(
                "this kernel's loop driver forbids merging; the lab allowed it on its disks"
                    .to_owned(),
            );
        }
        Outcome {
            ledger: ledger::ledger(&whole, remarks),
            findings: judge::judge(&cases, ending.blocks(&[]).as_ref(), &self.attached),
        }
    }
}
