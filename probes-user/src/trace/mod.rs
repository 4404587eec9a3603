//! A trace asks one question: its claims, the instruments it needs, its workload, its fold, its verdict.

use std::time::Duration;

use anyhow::Result;
use probes_common::config::TIMER_FUNCTIONS;
use serde::{Deserialize, Serialize};

use crate::cli::args::duration;
use crate::evidence::{Claim, ClaimResult, Finding, Ledger};
use crate::exit::usage;
use crate::lab::Lab;
use crate::stream::Item;

pub mod accept_herd;
pub mod accept_queue;
pub mod async_io;
pub mod backoff;
pub mod block_io;
pub mod buffer_cache;
pub mod direct_io;
pub mod epoll_herd;
pub mod herd;
pub mod page_cache;
pub mod pages;
pub mod reuse_port;
pub mod rules;
pub mod scripted;
pub mod syn_queue;
pub mod syn_retry;
pub mod synack_retry;
pub mod tcp;
pub mod tcp_close;
pub mod tcp_retransmit;
pub mod tcp_states;
pub mod wakeups;
pub mod zero_copy;

/// Every trace there is: the one list that all others are derived from.
#[rustfmt::skip]
pub static TRACES: &[&dyn Trace] = &[
    &accept_herd::ACCEPT_HERD,
    &epoll_herd::EPOLL_HERD,
    &reuse_port::REUSE_PORT,
    &syn_retry::SYN_RETRY,
    &synack_retry::SYNACK_RETRY,
    &syn_queue::SYN_QUEUE,
    &accept_queue::ACCEPT_QUEUE,
    &tcp_retransmit::TCP_RETRANSMIT,
    &tcp_close::TCP_CLOSE,
    &tcp_states::TCP_STATES,
    &block_io::BLOCK_IO,
    &async_io::ASYNC_IO,
    &direct_io::DIRECT_IO,
    &buffer_cache::BUFFER_CACHE,
    &page_cache::PAGE_CACHE,
    &zero_copy::ZERO_COPY,
    &wakeups::WAKEUPS,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Our own workload in a sandbox; claims are judged.
    Lab,
    /// Somebody's own process; the ledger is shown.
    Watch,
}

/// A kernel function's place in memory, so that stacks in a recording can be read elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symbol {
    pub name: String,
    pub start: u64,
    /// One past the last byte (the next symbol's start).
    pub end: u64,
}

/// What a fold must know besides the items. Stored at the head of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Context {
    pub trace: String,
    pub mode: Mode,
    /// The lab's options or the watch filter, as the trace wrote them.
    pub options: serde_json::Value,
    /// The functions named by [`Trace::symbols`], and interrupt entry points, as far as this kernel has them.
    pub symbols: Vec<Symbol>,
    /// Names of the programs that attached (`sched_waking`, `sk_data_ready`, `tcp_child_process` …).
    pub attached: Vec<String>,
    /// Names of the values of enums in events (`skb_drop_reason`, `sk_rst_reason`), as this kernel has them.
    #[serde(default)]
    pub enums: std::collections::BTreeMap<String, std::collections::BTreeMap<u32, String>>,
    /// Print one connection as a swim lane: its index in the run.
    pub timeline: Option<u64>,
}

impl Context {
    /// The kernel's own name of a value (`SKB_DROP_REASON_NO_SOCKET`), if this kernel has the enum and a
    /// hook that sends it was asked for.
    pub fn reason_name(&self, of: &str, value: u32) -> Option<&str> {
        self.enums.get(of)?.get(&value).map(String::as_str)
    }
}

/// How the stream ended. Stored at the tail of a recording.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// Records lost because the ring was full, by kind name.
    pub lost: std::collections::BTreeMap<String, u64>,
    /// Failures inside the programs, by name.
    pub failed: std::collections::BTreeMap<String, u64>,
    pub emitted: u64,
    /// Program runs that the kernel skipped and that a further copy made good, or that no verdict needs.
    #[serde(default)]
    pub skipped: u64,
    /// Places in the stream where an event of a watched task is missing although no counter says so; what
    /// they touch is not judged.
    #[serde(default)]
    pub gaps: u64,
    pub duration_ns: u64,
    /// Ctrl-C, or -d ran out in the middle of a lab.
    pub interrupted: bool,
    /// A lab step failed: why. Forces `inconclusive`.
    pub lab_error: Option<String>,
    /// Needed hooks that did not attach: (hook, why). Forces `unsupported` for the claims that need them.
    pub missing: Vec<(String, String)>,
}

impl Ending {
    /// What keeps every claim of the run from being settled, first what a person would want to know first.
    /// Losing records of the kinds in `unused` costs no verdict.
    pub fn blocks(&self, unused: &[&str]) -> Option<(ClaimResult, String)> {
        if let Some((hook, why)) = self.missing.first() {
            let why = format!("{hook} did not attach: {why}");
            return Some((ClaimResult::Unsupported, why));
        }
        if let Some(error) = &self.lab_error {
            let why = format!("a step of the lab failed: {error}");
            return Some((ClaimResult::Inconclusive, why));
        }
        let lost: Vec<String> = self
            .lost
            .iter()
            .filter(|(kind, count)| **count > 0 && !unused.contains(&kind.as_str()))
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        let why = format!("records lost: {}", lost.join(", "));
        (!lost.is_empty()).then_some((ClaimResult::Inconclusive, why))
    }
}

/// What the fold made of the stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    pub findings: Vec<Finding>,
    pub ledger: Ledger,
}

/// Turns an ordered stream into evidence. Pure: same items, same outcome.
pub trait Fold {
    fn item(&mut self, item: &Item);
    /// What is known so far (watch mode's `-i`).
    fn interim(&self) -> Ledger;
    /// Is evidence missing of the lab's scene that has just ended, whatever it shows? Then it is run again.
    fn incomplete(&self) -> bool {
        false
    }
    fn finish(self: Box<Self>, ending: &Ending) -> Outcome;
}

/// An option of one trace's lab, `--name VALUE`; without a value name it is a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabOption {
    pub name: &'static str,
    /// `N` a number, `D` a duration, empty a flag, anything else a word.
    pub value: &'static str,
    pub help: &'static str,
}

/// What the user asked of a lab.
#[derive(Debug, Clone, Default)]
pub struct LabOptions {
    /// By [`LabOption::name`], as typed and already checked; a flag's is empty.
    pub values: std::collections::BTreeMap<String, String>,
    /// Run only the scenes whose label contains one of these.
    pub variants: Vec<String>,
}

impl LabOptions {
    /// # Errors
    /// No number, as a usage error.
    pub fn number(&self, name: &str) -> Result<Option<u32>> {
        match self.values.get(name).map(|text| (text, text.parse())) {
            None => Ok(None),
            Some((_, Ok(number))) => Ok(Some(number)),
            Some((text, Err(_))) => usage(format!("--{name} takes a number, not {text:?}")),
        }
    }

    /// # Errors
    /// No duration, as a usage error.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>> {
        match self.values.get(name).map(|text| duration(text)) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(why)) => usage(format!("--{name}: {why}")),
        }
    }

    pub fn word(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub fn flag(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Is a scene of this label asked for?
    pub fn wants(&self, label: &str) -> bool {
        self.variants.is_empty()
            || self
                .variants
                .iter()
                .any(|part| label.contains(part.as_str()))
    }
}

/// What a trace can do without its lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watching {
    /// Nothing: it takes no target.
    Nothing,
    /// It follows processes, their descendants and what they listen on.
    Tasks,
    /// It follows sockets: of all, or of those that a filter lets through.
    Sockets,
    /// It follows the requests of disks, of everybody or of somebody's processes.
    Disks,
    /// It counts what the scheduler does, with everybody's tasks or with somebody's processes.
    Scheduler,
}

pub trait Trace: Sync {
    fn name(&self) -> &'static str;
    /// One line for `probes list`.
    fn summary(&self) -> &'static str;
    fn claims(&self) -> &'static [Claim];
    /// Programs by name; each belongs to one instrument.
    fn hooks(&self) -> &'static [&'static str];
    /// Those of [`Trace::hooks`] without which there is no verdict. The others only cost precision.
    fn needs(&self) -> &'static [&'static str];
    /// Those of [`Trace::hooks`] that a watch does without: the lab's own, or too frequent on somebody's server.
    fn lab_only(&self) -> &'static [&'static str] {
        &[]
    }
    /// Those of [`Trace::hooks`] that the lab does without.
    fn watch_only(&self) -> &'static [&'static str] {
        &[]
    }
    /// Does a watch of sockets want the queues of every listener with each list (`trace::tcp::queues`)?
    fn lists_queues(&self) -> bool {
        false
    }
    /// x86-64 numbers of the system calls that are followed.
    fn syscalls(&self) -> &'static [u32] {
        &[]
    }
    /// Are all system calls of watched tasks counted by family (`KernelView::counted`)?
    fn counts_calls(&self) -> bool {
        false
    }
    /// Kernel functions that the fold looks for in stacks.
    fn symbols(&self) -> &'static [&'static str] {
        &[]
    }
    /// What this kernel may have set otherwise and its claims' results or numbers turn on: sysctls by name, files
    /// of /sys by path. `probes check` says what they are where the lab runs.
    fn settings(&self) -> &'static [&'static str] {
        &[]
    }
    /// Kernel functions that are there or not, by which what it settles is done differently.
    fn functions(&self) -> &'static [&'static str] {
        &[]
    }
    /// Of TCP's timers, those that `timer_start` and `timer_expire_entry` tell, by function: a busy connection
    /// starts its own with every segment.
    fn timers(&self) -> &'static [&'static str] {
        &TIMER_FUNCTIONS
    }
    /// What the lab can be asked for beside `--variant`.
    fn options(&self) -> &'static [LabOption] {
        &[]
    }
    /// Further examples for `--help`: the words after `probes <trace>`, and what they do.
    fn examples(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
    /// Has the fold something to draw for `--timeline`?
    fn draws_timelines(&self) -> bool {
        false
    }
    fn watching(&self) -> Watching;
    /// Are its numbers times and costs, which another lab beside it would change?
    fn alone(&self) -> bool {
        false
    }
    /// The doc page, printed by `probes explain`.
    fn page(&self) -> &'static str;
    /// # Errors
    /// Options that make no sense, or a sandbox that cannot be made.
    fn lab(&self, options: &LabOptions) -> Result<Box<dyn Lab>>;
    /// The options as written into [`Context::options`].
    ///
    /// # Errors
    /// Options that make no sense.
    fn lab_options(&self, options: &LabOptions) -> Result<serde_json::Value>;
    fn fold(&self, context: &Context) -> Box<dyn Fold>;
}

pub fn find(name: &str) -> Option<&'static dyn Trace> {
    TRACES.iter().copied().find(|trace| trace.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::expect::Expectations;
    use crate::instrument::hook::hook;

    fn all() -> impl Iterator<Item = &'static dyn Trace> {
        TRACES.iter().copied()
    }

    #[test]
    fn every_hook_of_a_trace_has_a_program() {
        for (trace, program) in all().flat_map(|t| t.hooks().iter().map(move |h| (t.name(), h))) {
            assert!(
                hook(program).is_some(),
                "{trace}: add {program} to instrument/hook"
            );
        }
    }

    #[test]
    fn what_a_trace_needs_is_among_its_hooks() {
        for trace in all() {
            for need in trace.needs() {
                assert!(trace.hooks().contains(need), "{}: {need}", trace.name());
            }
        }
    }

    #[test]
    fn every_claim_bears_the_name_of_its_trace_and_something_is_known_of_it() {
        let known = Expectations::built_in().unwrap().expectations;
        for (trace, claim) in all().flat_map(|t| t.claims().iter().map(move |c| (t.name(), c))) {
            assert!(claim.id.starts_with(&format!("{trace}/")), "{}", claim.id);
            let row = known.iter().find(|row| row.claim == claim.id);
            assert!(
                row.is_some(),
                "add {} to evidence/expectations.json",
                claim.id
            );
        }
    }

    #[test]
    fn every_page_has_its_generated_parts() {
        for trace in all() {
            for part in ["claims", "uses"] {
                let marker = format!("<!-- probes:{part} {} -->", trace.name());
                assert!(
                    trace.page().contains(&marker),
                    "add {marker} to docs/traces/{}.md",
                    trace.name()
                );
            }
        }
    }

    #[test]
    fn no_two_traces_have_one_name() {
        let names: std::collections::BTreeSet<&str> = all().map(Trace::name).collect();
        assert_eq!(names.len(), TRACES.len());
        assert!(find("no-such-trace").is_none());
    }
}
