//! accept-herd: N processes block in accept() on one listening socket. How many does a connection wake?
//!
//! From the hooks of [`super::herd`]. What could fool it: a worker still on its way to sleep (counted
//! from `sched_switch`, not from N), and the listener's lock handed over between two accepters, which
//! is a waking but not the connection's.

use super::herd::kind::HerdTrace;
use super::herd::marks::Variant;
use super::herd::question::{COST_HOLDS, COST_REFUTED, Question, Rule};
use super::herd::scenes;
use crate::claims_of;
use crate::evidence::Claim;

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
            number: "useless_wakeups_per_connection",
            statement: "A connection accepted by a blocking accept() costs no useless wakeup.",
            holds_if: COST_HOLDS,
            refuted_if: COST_REFUTED,
        },
        variant: Variant::Accept,
        rule: Rule::NoneUseless,
        contrasts: &[Variant::PollAccept],
    },
];

static CLAIMS: [Claim; QUESTIONS.len()] = claims_of!(QUESTIONS);

pub static ACCEPT_HERD: HerdTrace = HerdTrace {
    name: "accept-herd",
    summary: "how many processes blocked in accept() one connection wakes, and what that costs",
    page: include_str!("../../../docs/traces/accept-herd.md"),
    questions: &QUESTIONS,
    claims: &CLAIMS,
    plan: scenes::accept_plan,
};
