//! direct-io: does O_DIRECT really go past the page cache, and what is lost and won by that?
//!
//! From the instrument `page_cache` (pages inserted, by inode and by call) and the disk's own counts. What could
//! fool it: metadata that the disk reads as well (the file's extents are read before each step), and pages that
//! others bring in (counted by inode, on a disk that nobody else knows).

mod evidence;
mod hot;
mod judge;
mod ledger;
mod marks;
mod script;
#[cfg(test)]
mod tests;
mod verdict;
mod watch;

use std::time::Duration;

use anyhow::Result;

use self::evidence::View;
use self::marks::{HOT, Hot};
use super::pages::{HOOKS, NEEDS, OPTIONS, Options};
use crate::evidence::{Claim, Ledger};
use crate::exit::usage;
use crate::lab::Lab;
use crate::lab::pages::FsName;
use crate::lab::script::{Case, ScriptLab};
use crate::stream::Item;
use crate::trace::scripted::Cases;
use crate::trace::{Context, Ending, Fold, LabOption, LabOptions, Mode, Outcome, Trace, Watching};

pub struct DirectIo;

pub static DIRECT_IO: DirectIo = DirectIo;

const FILE_SYSTEMS: [FsName; 2] = [FsName::Ext4, FsName::Xfs];
const HOT_CASE: &str = "hot";
/// Blocks by number instead of extents.
const INDIRECT_CASE: &str = "ext4-indirect";
const BUDGET: Duration = Duration::from_secs(60);

fn cases(options: &LabOptions, bytes: u64) -> Vec<Case> {
    let files = FILE_SYSTEMS.iter().map(|fs| {
        Case::new(fs.name(), BUDGET, move |stage| {
            script::file(stage, *fs, bytes)
        })
        .watched()
    });
    // The stream must be larger than the group's memory.
    let stream = bytes.max(4 * hot::LIMIT);
    let hot = Case::new(HOT_CASE, BUDGET, move |stage| hot::files(stage, stream));
    let indirect = Case::new(INDIRECT_CASE, BUDGET, |stage| script::indirect(stage)).watched();
    let all = files.chain([indirect, hot.watched()]);
    all.filter(|case| options.wants(&case.label)).collect()
}

impl Trace for DirectIo {
    fn name(&self) -> &'static str {
        "direct-io"
    }

    fn summary(&self) -> &'static str {
        "whether O_DIRECT goes past the page cache, what it costs, and where it silently does not"
    }

    fn claims(&self) -> &'static [Claim] {
        &verdict::CLAIMS
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
            ("--variant hot", "only the hot files beside a stream"),
            (
                "-- dd if=FILE of=/dev/null iflag=direct",
                "did the command's O_DIRECT go past the cache?",
            ),
        ]
    }

    fn settings(&self) -> &'static [&'static str] {
        &["/sys/kernel/mm/lru_gen/enabled", "vm.swappiness"]
    }

    fn watching(&self) -> Watching {
        Watching::Tasks
    }

    fn page(&self) -> &'static str {
        include_str!("../../../../docs/traces/direct-io.md")
    }

    fn lab(&self, options: &LabOptions) -> Result<Box<dyn Lab>> {
        let cases = cases(options, Options::of(options)?.size_bytes);
        if cases.is_empty() {
            let names = options.variants.join(" or ");
            return usage(format!("no case is called {names}: ext4, xfs or hot"));
        }
        Ok(Box::new(ScriptLab::new(cases)))
    }

    fn lab_options(&self, options: &LabOptions) -> Result<serde_json::Value> {
        Ok(serde_json::to_value(Options::of(options)?)?)
    }

    fn fold(&self, context: &Context) -> Box<dyn Fold> {
        if context.mode == Mode::Watch {
            return Box::new(watch::WatchFold::default());
        }
        let options: Options = serde_json::from_value(context.options.clone()).unwrap_or_default();
        Box::new(LabFold {
            asked: options.asked(),
            cases: Cases::default(),
        })
    }
}

struct LabFold {
    asked: LabOptions,
    cases: Cases,
}

impl Fold for LabFold {
    fn item(&mut self, item: &Item) {
        if matches!(item, Item::Mark(_)) {
            self.cases.item(item);
        }
    }

    fn interim(&self) -> Ledger {
        ledger::of_lab(&self.cases)
    }

    /// A call with O_DIRECT that was not seen whole.
    fn incomplete(&self) -> bool {
        let Some(log) = self.cases.last() else {
            return false;
        };
        // Reclaim for others was at work, before a stream or beside it.
        let disturbed = |hot: &Hot| hot.pages_before != hot.pages || hot.dropped_by_others > 0;
        let doubtful = View::of(log).is_some_and(|view| {
            let direct = view.steps().filter(|step| step.direct_calls() > 0);
            direct.map(|step| step.believed()).any(|its| its.is_err())
        });
        doubtful || marks::all::<Hot>(log, HOT).iter().any(disturbed)
    }

    fn finish(self: Box<Self>, ending: &Ending) -> Outcome {
        let mut ledger = self.interim();
        ledger.remarks.extend(self.cases.remark());
        Outcome {
            findings: verdict::judge(&self.cases, &self.asked, ending),
            ledger,
        }
    }
}
