//! async-io: does submitting return early, does a non-blocking read not wait, and who does a request of io_uring?
//!
//! From io_uring's tracepoints (one record for each completion), system calls and `sched_switch` of the lab's
//! thread. What could fool it: a fast completion that only looks inline (the stack tells it apart), and data
//! that come by themselves (nothing comes before the script sends it, and that is marked).

mod evidence;
mod ledger;
mod marks;
mod script;
#[cfg(test)]
mod tests;
mod verdict;
mod watch;

use anyhow::Result;
use serde_json::json;

use crate::evidence::{Claim, Ledger};
use crate::exit::usage;
use crate::lab::Lab;
use crate::lab::script::ScriptLab;
use crate::stream::Item;
use crate::trace::scripted::Cases;
use crate::trace::{Context, Ending, Fold, LabOptions, Mode, Outcome, Trace, Watching};

pub struct AsyncIo;

pub static ASYNC_IO: AsyncIo = AsyncIo;

const LAB_ONLY: &[&str] = &[
    "sys_enter",
    "sys_exit",
    "sched_switch",
    "sched_waking",
    "sched_wakeup",
];

impl Trace for AsyncIo {
    fn name(&self) -> &'static str {
        "async-io"
    }

    fn summary(&self) -> &'static str {
        "whether submitting returns early, and who does a request of io_uring: inline, poll, worker"
    }

    fn claims(&self) -> &'static [Claim] {
        &verdict::CLAIMS
    }

    fn hooks(&self) -> &'static [&'static str] {
        &[
            "io_uring_submit_req",
            "io_uring_submit_sqe",
            "io_uring_poll_arm",
            "io_uring_queue_async_work",
            "io_uring_complete",
            "io_uring_cqe_overflow",
            "sys_enter",
            "sys_exit",
            "sched_switch",
            "sched_waking",
            "sched_wakeup",
        ]
    }

    fn needs(&self) -> &'static [&'static str] {
        &[
            "io_uring_poll_arm",
            "io_uring_queue_async_work",
            "io_uring_complete",
            "sys_enter",
            "sys_exit",
            "sched_switch",
            "sched_waking",
            "sched_wakeup",
        ]
    }

    fn lab_only(&self) -> &'static [&'static str] {
        LAB_ONLY
    }

    /// read, io_submit, preadv2, io_uring_enter
    fn syscalls(&self) -> &'static [u32] {
        &[0, 209, 327, 426]
    }

    fn examples(&self) -> &'static [(&'static str, &'static str)] {
        &[("--variant uring", "only the requests of io_uring")]
    }

    fn settings(&self) -> &'static [&'static str] {
        &["fs.aio-max-nr", "kernel.io_uring_disabled"]
    }

    fn watching(&self) -> Watching {
        Watching::Tasks
    }

    fn page(&self) -> &'static str {
        include_str!("../../../../docs/traces/async-io.md")
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
            return Box::new(watch::WatchFold::default());
        }
        let variants = context.options["variants"].clone();
        Box::new(LabFold {
            attached: context.attached.clone(),
            asked: LabOptions {
                variants: serde_json::from_value(variants).unwrap_or_default(),
                ..LabOptions::default()
            },
            cases: Cases::default(),
        })
    }
}

struct LabFold {
    attached: Vec<String>,
    asked: LabOptions,
    cases: Cases,
}

impl Fold for LabFold {
    fn item(&mut self, item: &Item) {
        self.cases.item(item);
    }

    fn interim(&self) -> Ledger {
        ledger::of_lab(&self.cases)
    }

    fn incomplete(&self) -> bool {
        self.cases.last().is_some_and(|log| !evidence::whole(log))
    }

    fn finish(self: Box<Self>, ending: &Ending) -> Outcome {
        let mut ledger = self.interim();
        ledger.remarks.extend(self.cases.remark());
        Outcome {
            findings: verdict::judge(&self.cases, &self.attached, &self.asked, ending),
            ledger,
        }
    }
}
