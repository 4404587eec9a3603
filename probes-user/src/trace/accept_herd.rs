//! accept-herd: N processes block in accept() on one listening socket. How many does a connection wake?
//!
//! From the hooks of [`super::herd`]. What could fool it: a worker still on its way to sleep (counted
//! from `sched_switch`, not from N), and the listener's lock handed over between two accepters, which
//! is a waking but not the connection's.

use anyhow::Result;

use super::herd::marks::Variant;
use super::herd::question::{self, COST_HOLDS, COST_REFUTED, Question, Rule};
use super::herd::{self, calls, scenes, symbols};
use super::{Context, Fold, LabOptions, Trace};
use crate::evidence::Claim;
use crate::lab::Lab;

static QUESTIONS: [Question; 2] = [
    Question::one(
        "accept-herd/one-wakeup",
        "One connection wakes exactly one of the processes that block in accept() on its socket.",
        Variant::Accept,
        &[Variant::PollAccept],
    ),
    Question {
        claim: Claim {
            id: "accept-herd/cost",
            statement: "A connection accepted by a blocking accept() costs no useless wakeup.",
            holds_if: COST_HOLDS,
            refuted_if: COST_REFUTED,
        },
        variant: Variant::Accept,
        rule: Rule::NoneUseless,
        contrasts: &[Variant::PollAccept],
    },
];

static CLAIMS: [Claim; QUESTIONS.len()] = question::claims(&QUESTIONS);

pub struct AcceptHerd;

impl Trace for AcceptHerd {
    fn name(&self) -> &'static str {
        "accept-herd"
    }

    fn summary(&self) -> &'static str {
        "how many processes blocked in accept() one connection wakes, and what that costs"
    }

    fn claims(&self) -> &'static [Claim] {
        &CLAIMS
    }

    fn hooks(&self) -> &'static [&'static str] {
        herd::HOOKS
    }

    fn syscalls(&self) -> &'static [u32] {
        calls::FOLLOWED
    }

    fn symbols(&self) -> &'static [&'static str] {
        &symbols::NAMES
    }

    fn page(&self) -> &'static str {
        include_str!("../../../docs/traces/accept-herd.md")
    }

    fn lab(&self, options: &LabOptions) -> Result<Box<dyn Lab>> {
        scenes::open_lab(scenes::accept_plan(options))
    }

    fn lab_options(&self, options: &LabOptions) -> serde_json::Value {
        serde_json::to_value(scenes::accept_plan(options)).unwrap_or_default()
    }

    fn fold(&self, context: &Context) -> Box<dyn Fold> {
        herd::fold(&QUESTIONS, context)
    }
}
