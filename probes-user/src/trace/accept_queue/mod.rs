//! accept-queue: what becomes of a connection whose handshake ends while the accept queue is full.
//!
//! From the surgeon's packets (what came in, what was answered), `tcp_retransmit_synack`, `timer_start` of
//! `reqsk_timer_handler` and the namespace's counters. What could fool it: SYN, final ACK and cookie's ACK
//! meet different code, so each has cases of its own, its ACKs held back until the queue is full.

mod cases;
pub mod claims;
pub mod facts;
pub mod judge;
mod ledger;
pub mod marks;
mod script;
#[cfg(test)]
mod tests;

use anyhow::Result;

use crate::evidence::Claim;
use crate::evidence::ledger::Ledger;
use crate::lab::Lab;
use crate::lab::script::ScriptLab;
use crate::stream::Item;
use crate::trace::scripted::Cases;
use crate::trace::{Context, Ending, Fold, LabOption, LabOptions, Outcome, Trace, Watching};

pub struct AcceptQueue;
pub static ACCEPT_QUEUE: AcceptQueue = AcceptQueue;

static HOOKS: &[&str] = &["timer_start", "tcp_retransmit_synack", "surgeon"];

impl Trace for AcceptQueue {
    fn name(&self) -> &'static str {
        "accept-queue"
    }

    fn summary(&self) -> &'static str {
        "what a full accept queue does to a client that ends its handshake"
    }

    fn claims(&self) -> &'static [Claim] {
        &claims::CLAIMS
    }

    fn hooks(&self) -> &'static [&'static str] {
        HOOKS
    }

    fn needs(&self) -> &'static [&'static str] {
        HOOKS
    }

    fn options(&self) -> &'static [LabOption] {
        cases::OPTIONS
    }

    fn examples(&self) -> &'static [(&'static str, &'static str)] {
        &[(
            "--abort-on-overflow 1 --backlog 32",
            "the resets alone, at another limit",
        )]
    }

    fn settings(&self) -> &'static [&'static str] {
        &[
            "net.core.somaxconn",
            "net.ipv4.tcp_abort_on_overflow",
            "net.ipv4.tcp_synack_retries",
        ]
    }

    fn watching(&self) -> Watching {
        Watching::Nothing
    }

    fn page(&self) -> &'static str {
        include_str!("../../../../docs/traces/accept-queue.md")
    }

    fn lab(&self, options: &LabOptions) -> Result<Box<dyn Lab>> {
        let cases = cases::cases(&cases::Plan::new(options)?)?;
        Ok(Box::new(ScriptLab::new(cases)))
    }

    fn lab_options(&self, options: &LabOptions) -> Result<serde_json::Value> {
        Ok(serde_json::to_value(cases::Plan::new(options)?)?)
    }

    fn fold(&self, _context: &Context) -> Box<dyn Fold> {
        Box::new(LabFold(Cases::default()))
    }
}

struct LabFold(Cases);

impl Fold for LabFold {
    fn item(&mut self, item: &Item) {
        self.0.item(item);
    }

    fn interim(&self) -> Ledger {
        Ledger::default()
    }

    fn finish(self: Box<Self>, ending: &Ending) -> Outcome {
        let cases: judge::Cases = self
            .0
            .logs()
            .map(|log| (log.label.clone(), facts::read(log)))
            .collect();
        let whole: Vec<&facts::Facts> = cases
            .iter()
            .filter_map(|(_, its)| its.as_ref().ok())
            .collect();
        Outcome {
            ledger: ledger::ledger(&whole),
            findings: judge::judge(&cases, ending.blocks(&[]).as_ref()),
        }
    }
}
