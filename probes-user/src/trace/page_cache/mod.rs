//! page-cache: how many of the pages that are asked for are in memory, what brings them in, who writes them back.
//!
//! From the instrument `page_cache`: everything is counted in the kernel, by file, process and control group,
//! and read once. A hit is a page asked for that had been used before. What could fool it: use through mmap of
//! pages that a read call had read ahead, and two readers of one piece of a file at the same instant.

mod judge;
mod script;

use anyhow::Result;

#[cfg(test)]
pub use judge::QUESTIONS;

use super::pages::settle::{self, Question};
use super::pages::steps::Case;
use super::pages::watch::WatchFold;
use super::pages::{HOOKS, NEEDS, OPTIONS, Options, tables};
use super::scripted::Cases;
use super::{Context, Ending, Fold, LabOption, LabOptions, Mode, Outcome, Trace, Watching};
use crate::evidence::{Claim, Ledger};
use crate::lab::Lab;
use crate::stream::Item;

pub struct PageCache;

pub static PAGE_CACHE: PageCache = PageCache;

impl Trace for PageCache {
    fn name(&self) -> &'static str {
        "page-cache"
    }

    fn summary(&self) -> &'static str {
        "hit ratio of the page cache per file and process, read-ahead, and who dirties and writes back"
    }

    fn claims(&self) -> &'static [Claim] {
        &judge::CLAIMS
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
        &[
            (
                "--variant ext4 --size 256",
                "one file system, a larger file",
            ),
            ("-- grep -r word .", "what a command finds in the cache"),
            ("-c / -i 2s", "all processes, every two seconds"),
        ]
    }

    fn settings(&self) -> &'static [&'static str] {
        &[
            "/sys/kernel/mm/lru_gen/enabled",
            "vm.dirty_background_ratio",
            "vm.dirty_expire_centisecs",
        ]
    }

    fn watching(&self) -> Watching {
        Watching::Tasks
    }

    fn page(&self) -> &'static str {
        include_str!("../../../../docs/traces/page-cache.md")
    }

    fn lab(&self, options: &LabOptions) -> Result<Box<dyn Lab>> {
        let size = Options::of(options)?.size_bytes;
        super::pages::lab(options, |fs| script::case(fs, size))
    }

    fn lab_options(&self, options: &LabOptions) -> Result<serde_json::Value> {
        Ok(serde_json::to_value(Options::of(options)?)?)
    }

    fn fold(&self, context: &Context) -> Box<dyn Fold> {
        match context.mode {
            Mode::Watch => Box::new(WatchFold::default()),
            Mode::Lab => Box::new(LabFold::new(context, &judge::QUESTIONS)),
        }
    }
}

/// Judges whole cases.
pub struct LabFold {
    questions: &'static [Question],
    options: Options,
    cases: Cases,
}

impl LabFold {
    pub fn new(context: &Context, questions: &'static [Question]) -> LabFold {
        LabFold {
            questions,
            options: serde_json::from_value(context.options.clone()).unwrap_or_default(),
            cases: Cases::default(),
        }
    }
}

impl Fold for LabFold {
    fn item(&mut self, item: &Item) {
        if matches!(item, Item::Mark(_)) {
            self.cases.item(item);
        }
    }

    fn interim(&self) -> Ledger {
        tables::of_lab(&self.cases)
    }

    fn incomplete(&self) -> bool {
        let last = self.cases.last().and_then(Case::of);
        last.is_some_and(|case| !case.counts_agree() || case.disturbed_by().is_some())
    }

    fn finish(self: Box<Self>, ending: &Ending) -> Outcome {
        Outcome {
            findings: settle::judge(self.questions, &self.cases, &self.options, ending),
            ledger: self.interim(),
        }
    }
}
