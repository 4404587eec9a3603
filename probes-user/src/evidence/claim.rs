//! A claim is one falsifiable sentence; a finding is what came of it on this kernel.

use serde::{Deserialize, Serialize};

/// A sentence to be settled. The criterion is written before measuring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// `<trace>/<slug>`.
    pub id: &'static str,
    /// The deciding one among a finding's numbers, by its key.
    pub number: &'static str,
    /// The sentence.
    pub statement: &'static str,
    /// What number makes it hold.
    pub holds_if: &'static str,
    /// What number refutes it.
    pub refuted_if: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClaimResult {
    /// The evidence meets the criterion.
    Holds,
    /// The evidence contradicts it.
    Refuted,
    /// Evidence lost, positive control silent, or too noisy.
    Inconclusive,
    /// This kernel or machine lacks something the claim needs.
    Unsupported,
}

impl ClaimResult {
    pub const fn word(self) -> &'static str {
        match self {
            ClaimResult::Holds => "holds",
            ClaimResult::Refuted => "refuted",
            ClaimResult::Inconclusive => "inconclusive",
            ClaimResult::Unsupported => "unsupported",
        }
    }
}

/// One settled (or not settled) claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub id: String,
    pub result: ClaimResult,
    pub statement: String,
    /// One sentence with the deciding numbers, for a person.
    pub because: String,
    /// The deciding numbers by name (unit in the name: `_ns`, `_count`, `_ratio` …).
    pub numbers: serde_json::Map<String, serde_json::Value>,
}

/// The claims of a static table of questions (anything with a field `claim`), in its order.
#[macro_export]
macro_rules! claims_of {
    ($questions:ident) => {{
        let mut claims = [$questions[0].claim; $questions.len()];
        let mut i = 0;
        while i < claims.len() {
            claims[i] = $questions[i].claim;
            i += 1;
        }
        claims
    }};
}
