//! From verdicts on cases to a finding: a claim holds on all of them, or what speaks against it is told.

use serde_json::{Map, Value};

use crate::evidence::{Claim, ClaimResult, Finding};

/// What one case says of a claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub result: ClaimResult,
    pub because: String,
    pub numbers: Map<String, Value>,
}

impl Verdict {
    pub fn new(result: ClaimResult, because: impl Into<String>) -> Verdict {
        Verdict {
            result,
            because: because.into(),
            numbers: Map::new(),
        }
    }

    pub fn inconclusive(because: impl Into<String>) -> Verdict {
        Verdict::new(ClaimResult::Inconclusive, because)
    }

    #[must_use]
    pub fn number(mut self, name: &str, value: impl Into<Value>) -> Verdict {
        self.numbers.insert(name.to_owned(), value.into());
        self
    }
}

/// The doubtful before the contradicting before the agreeing.
fn weight(result: ClaimResult) -> u8 {
    match result {
        ClaimResult::Unsupported => 3,
        ClaimResult::Inconclusive => 2,
        ClaimResult::Refuted => 1,
        ClaimResult::Holds => 0,
    }
}

/// `cases`: label and verdict. The first with the weightiest result speaks for all.
pub fn finding(claim: &Claim, cases: Vec<(&str, Verdict)>) -> Finding {
    let result_of = |verdict: &Verdict| verdict.result;
    let heaviest = cases
        .iter()
        .map(|(_, v)| result_of(v))
        .max_by_key(|r| weight(*r));
    let count = cases.len();
    let same = cases.iter().filter(|(_, v)| Some(v.result) == heaviest);
    let labels: Vec<&str> = same.map(|(label, _)| *label).collect();
    let all = labels.len() == count;
    let mut cases = cases.into_iter();
    let speaker = cases.find(|(_, verdict)| Some(verdict.result) == heaviest);
    let Some((label, mut verdict)) = speaker else {
        return of(claim, Verdict::inconclusive("no case for it was run"));
    };
    let place = if all && count > 1 {
        labels.join(", ")
    } else {
        label.to_owned()
    };
    verdict.because = format!("{}; {place}", verdict.because);
    of(claim, verdict.number("cases_count", count))
}

pub fn of(claim: &Claim, verdict: Verdict) -> Finding {
    Finding {
        id: claim.id.to_owned(),
        result: verdict.result,
        statement: claim.statement.to_owned(),
        because: verdict.because,
        numbers: verdict.numbers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: Claim = Claim {
        id: "a/b",
        number: "x_count",
        statement: "s",
        holds_if: "h",
        refuted_if: "r",
    };

    #[test]
    fn one_family_that_contradicts_refutes_and_one_in_doubt_settles_nothing() {
        let verdict = |result| Verdict::new(result, "because");
        let holds = || ("v4", verdict(ClaimResult::Holds));
        let refuted = finding(&CLAIM, vec![holds(), ("v6", verdict(ClaimResult::Refuted))]);
        assert_eq!(refuted.result, ClaimResult::Refuted);
        assert_eq!(refuted.because, "because; v6");
        let doubt = Verdict::inconclusive("late");
        let unsettled = finding(
            &CLAIM,
            vec![("v4", verdict(ClaimResult::Refuted)), ("v6", doubt)],
        );
        assert_eq!(unsettled.result, ClaimResult::Inconclusive);
        assert_eq!(
            finding(&CLAIM, vec![holds(), holds()]).because,
            "because; v4, v4"
        );
        assert_eq!(
            finding(&CLAIM, Vec::new()).result,
            ClaimResult::Inconclusive
        );
    }
}
