//! wakeups: who wakes whom, how long until the woken task runs, and why it took so long.
//!
//! The lab from `sched_waking` (with its stack), `sched_wakeup`, `sched_migrate_task` and `sched_switch` of its own
//! tasks. What could fool it: a waking in an interrupt, whose current task is a bystander; somebody else who comes
//! onto the CPU between two tasks; ordinary tasks that preempt each other when woken (so the lab's do not).

mod claims;
mod facts;
mod hops;
mod judge;
mod ledger;
mod marks;
mod roles;
mod script;
#[cfg(test)]
mod tests;
pub mod watch;

use anyhow::Result;
use serde_json::json;

use crate::evidence::{Claim, Ledger};
use crate::exit::usage;
use crate::lab::Lab;
use crate::lab::script::ScriptLab;
use crate::stream::Item;
use crate::trace::herd::stack::Classifier;
use crate::trace::herd::symbols;
use crate::trace::scripted::Cases;
use crate::trace::{Context, Ending, Fold, LabOptions, Mode, Outcome, Trace, Watching};

pub struct Wakeups;

pub static WAKEUPS: Wakeups = Wakeups;

const LAB: &[&str] = &[
    "sched_waking",
    "sched_wakeup",
    "sched_switch",
    "sched_migrate_task",
];

const WATCH: &[&str] = &[
    "runq_wakeup",
    "runq_wakeup_new",
    "runq_migrate",
    "runq_switch",
];

const HOOKS: &[&str] = &[
    "sched_waking",
    "sched_wakeup",
    "sched_switch",
    "sched_migrate_task",
    "runq_wakeup",
    "runq_wakeup_new",
    "runq_migrate",
    "runq_switch",
];

const NEEDS: &[&str] = &[
    "sched_waking",
    "sched_wakeup",
    "sched_switch",
    "sched_migrate_task",
    "runq_wakeup",
    "runq_switch",
];

impl Trace for Wakeups {
    fn name(&self) -> &'static str {
        "wakeups"
    }

    fn summary(&self) -> &'static str {
        "who wakes whom, how long until the woken task runs, and why it took so long"
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

    fn lab_only(&self) -> &'static [&'static str] {
        LAB
    }

    fn watch_only(&self) -> &'static [&'static str] {
        WATCH
    }

    fn symbols(&self) -> &'static [&'static str] {
        &symbols::NAMES
    }

    fn examples(&self) -> &'static [(&'static str, &'static str)] {
        &[(
            "--variant pipe --variant futex",
            "only the cost of a hand-off",
        )]
    }

    fn watching(&self) -> Watching {
        Watching::Scheduler
    }

    fn alone(&self) -> bool {
        true
    }

    fn page(&self) -> &'static str {
        include_str!("../../../../docs/traces/wakeups.md")
    }

    fn lab(&self, options: &LabOptions) -> Result<Box<dyn Lab>> {
        let cases = script::cases(|label| options.wants(label));
        if cases.is_empty() {
            let names = options.variants.join(" or ");
            return usage(format!("no case is called {names}"));
        }
        Ok(Box::new(ScriptLab::new(cases)))
    }

    fn lab_options(&self, options: &LabOptions) -> Result<serde_json::Value> {
        Ok(json!({ "variants": options.variants }))
    }

    fn fold(&self, context: &Context) -> Box<dyn Fold> {
        if context.mode == Mode::Watch {
            return Box::new(watch::WatchFold::new(context));
        }
        let variants = context.options["variants"].clone();
        Box::new(LabFold {
            classifier: Classifier::new(&context.symbols),
            asked: LabOptions {
                variants: serde_json::from_value(variants).unwrap_or_default(),
                ..LabOptions::default()
            },
            cases: Cases::default(),
        })
    }
}

struct LabFold {
    classifier: Classifier,
    asked: LabOptions,
    cases: Cases,
}

impl Fold for LabFold {
    fn item(&mut self, item: &Item) {
        self.cases.item(item);
    }

    fn interim(&self) -> Ledger {
        ledger::of_lab(&self.cases, &self.classifier)
    }

    fn incomplete(&self) -> bool {
        let last = self.cases.last();
        last.is_some_and(|log| !facts::whole(log, &self.classifier))
    }

    fn finish(self: Box<Self>, ending: &Ending) -> Outcome {
        let mut ledger = self.interim();
        ledger.remarks.extend(self.cases.remark());
        Outcome {
            findings: judge::judge(&self.cases, &self.classifier, &self.asked, ending),
            ledger,
        }
    }
}
