//! syn-queue: what a listener does when its SYN queue is full, with SYN cookies and without.
//!
//! From `timer_start` of `reqsk_timer_handler` (a half-open connection), the surgeon's packets (who was
//! answered, with which options) and the namespace's counters: a SYN that a full queue drops is no drop to the
//! kernel's drop event. What could fool it: a queue that has drained meanwhile (counted before and after), a
//! peer that the kernel knows (no metrics are saved), an accept queue that is full instead (kept empty).

mod cases;
pub mod claims;
pub mod facts;
pub mod judge;
mod ledger;
mod limits;
pub mod marks;
mod options;
mod script;
#[cfg(test)]
mod tests;
mod watch;

use anyhow::Result;

use crate::evidence::Claim;
use crate::evidence::ledger::Ledger;
use crate::lab::Lab;
use crate::lab::script::ScriptLab;
use crate::stream::Item;
use crate::trace::scripted::Cases;
use crate::trace::{Context, Ending, Fold, LabOption, LabOptions, Mode, Outcome, Trace, Watching};

pub struct SynQueue;
pub static SYN_QUEUE: SynQueue = SynQueue;

/// Needed ones first; then what is looked at as well where functions can be probed.
static HOOKS: &[&str] = &[
    "timer_start",
    "surgeon",
    "tcp_conn_request",
    "cookie_v4_init_sequence",
    "cookie_v6_init_sequence",
    "cookie_v4_check",
    "cookie_v6_check",
    "request_queued",
    "tcp_state",
    "kfree_skb",
];

/// The watch knows a request by the timer's way to its listener.
const LAB_ONLY: &[&str] = &["timer_start", "surgeon"];
const WATCH_ONLY: &[&str] = &["request_queued", "tcp_state", "kfree_skb"];

impl Trace for SynQueue {
    fn name(&self) -> &'static str {
        "syn-queue"
    }

    fn summary(&self) -> &'static str {
        "what a full SYN queue does to a new connection, with SYN cookies and without"
    }

    fn claims(&self) -> &'static [Claim] {
        &claims::CLAIMS
    }

    fn hooks(&self) -> &'static [&'static str] {
        HOOKS
    }

    fn needs(&self) -> &'static [&'static str] {
        &HOOKS[..2]
    }

    fn lab_only(&self) -> &'static [&'static str] {
        LAB_ONLY
    }

    fn watch_only(&self) -> &'static [&'static str] {
        WATCH_ONLY
    }

    fn lists_queues(&self) -> bool {
        true
    }

    fn timers(&self) -> &'static [&'static str] {
        &["reqsk_timer_handler"]
    }

    fn options(&self) -> &'static [LabOption] {
        cases::OPTIONS
    }

    fn examples(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("--cookies 0 --backlog 32", "one flood, at another limit"),
            (
                "--variant options/ -v",
                "what a cookie leaves of TCP's options",
            ),
            (
                "-a -i 5s",
                "the queues of every listener of this machine, every five seconds",
            ),
            (
                "--local-port 443",
                "is the listener on that port short of room?",
            ),
        ]
    }

    fn settings(&self) -> &'static [&'static str] {
        &[
            "net.core.somaxconn",
            "net.ipv4.tcp_max_syn_backlog",
            "net.ipv4.tcp_syncookies",
            "net.ipv4.tcp_timestamps",
        ]
    }

    fn watching(&self) -> Watching {
        Watching::Sockets
    }

    fn page(&self) -> &'static str {
        include_str!("../../../../docs/traces/syn-queue.md")
    }

    fn lab(&self, options: &LabOptions) -> Result<Box<dyn Lab>> {
        let cases = cases::cases(&cases::Plan::new(options)?)?;
        Ok(Box::new(ScriptLab::new(cases)))
    }

    fn lab_options(&self, options: &LabOptions) -> Result<serde_json::Value> {
        Ok(serde_json::to_value(cases::Plan::new(options)?)?)
    }

    fn fold(&self, context: &Context) -> Box<dyn Fold> {
        if context.mode == Mode::Watch {
            return Box::new(watch::WatchFold::new(context));
        }
        let attached = |name: &&str| context.attached.iter().any(|own| own == name);
        Box::new(LabFold {
            cases: Cases::default(),
            functions: facts::FUNCTIONS.iter().all(attached),
        })
    }
}

struct LabFold {
    cases: Cases,
    functions: bool,
}

const EVIDENCE: &str = "request timers, packets and the namespace's counters";
const WITH_FUNCTIONS: &str =
    "request timers, packets, the namespace's counters, tcp_conn_request and the cookie functions";

impl Fold for LabFold {
    fn item(&mut self, item: &Item) {
        self.cases.item(item);
    }

    fn interim(&self) -> Ledger {
        Ledger::default()
    }

    fn finish(self: Box<Self>, ending: &Ending) -> Outcome {
        let cases: judge::Cases = self
            .cases
            .logs()
            .map(|log| (log.label.clone(), facts::read(log, self.functions)))
            .collect();
        let whole: Vec<&facts::Facts> = cases
            .iter()
            .filter_map(|(_, its)| its.as_ref().ok())
            .collect();
        let evidence = if self.functions {
            WITH_FUNCTIONS
        } else {
            EVIDENCE
        };
        Outcome {
            ledger: ledger::ledger(&whole),
            findings: judge::judge(&cases, ending.blocks(&[]).as_ref(), evidence),
        }
    }
}
