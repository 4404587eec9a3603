//! What a claim of the herd traces asks of which scene, and the criteria, written before measuring.

use super::marks::Variant;
use crate::evidence::Claim;

/// Share of judged connections that must wake exactly one waiter.
pub const ONE_RATIO: f64 = 0.99;
/// Share of judged connections that must wake every sleeping waiter.
pub const EVERY_RATIO: f64 = 0.95;
/// Useless wakeups per accepted connection that still count as none.
pub const USELESS_LIMIT: f64 = 0.01;
/// Share of a scene's connections that must meet two sleeping waiters, so that the scene says anything.
pub const JUDGED_RATIO: f64 = 0.9;
/// The same for the accept mutex: between two holders nobody has the listener registered.
pub const JUDGED_RATIO_MUTEX: f64 = 0.5;
/// Share of connections without any waking from which on evidence must be missing.
pub const SILENT_RATIO: f64 = 0.01;

pub const ONE_HOLDS: &str = "in at least 99% of the judged connections exactly one waiter that was asleep is woken \
    by the connection; judged are connections that arrive alone, find at least 2 waiters asleep and show a waking; \
    if these are less than 90% of the scene (50% with the accept mutex), or over 1% show no waking: inconclusive";
pub const ONE_REFUTED: &str =
    "more than 1% of the judged connections wake 2 or more sleeping waiters";

pub const EVERY_HOLDS: &str = "in at least 95% of the judged connections every waiter that was asleep is woken by the \
    connection itself (cascades from worker to worker do not count); judged are connections that arrive alone, find \
    at least 2 waiters asleep and show a waking; if these are less than 90% of the scene, or over 1% show no waking: \
    inconclusive";
pub const EVERY_REFUTED: &str = "more than 5% of the judged connections leave a sleeping waiter asleep, or to be woken \
    only by another worker";

pub const COST_HOLDS: &str = "at most 0.01 useless wakeups per accepted connection; useless = a waiter woken for the \
    connection, directly or through another worker, sleeps again without having accepted one; all connections of the \
    scene, under the same limits as for accept-herd/one-wakeup";
pub const COST_REFUTED: &str = "more than 0.01 useless wakeups per accepted connection";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// One connection wakes exactly one waiter.
    One,
    /// One connection wakes every waiter.
    Every,
    /// Nobody is woken for nothing.
    NoneUseless,
}

#[derive(Debug, Clone, Copy)]
pub struct Question {
    pub claim: Claim,
    /// Judged on this variant's sequential scene.
    pub variant: Variant,
    pub rule: Rule,
    /// Shown beside it, from their sequential scenes.
    pub contrasts: &'static [Variant],
}

impl Question {
    pub const fn one(
        id: &'static str,
        statement: &'static str,
        variant: Variant,
        contrasts: &'static [Variant],
    ) -> Question {
        let claim = Claim {
            id,
            number: "woken_mean",
            statement,
            holds_if: ONE_HOLDS,
            refuted_if: ONE_REFUTED,
        };
        Question {
            claim,
            variant,
            rule: Rule::One,
            contrasts,
        }
    }

    pub const fn every(
        id: &'static str,
        statement: &'static str,
        variant: Variant,
        contrasts: &'static [Variant],
    ) -> Question {
        let claim = Claim {
            id,
            number: "woken_mean",
            statement,
            holds_if: EVERY_HOLDS,
            refuted_if: EVERY_REFUTED,
        };
        Question {
            claim,
            variant,
            rule: Rule::Every,
            contrasts,
        }
    }
}
