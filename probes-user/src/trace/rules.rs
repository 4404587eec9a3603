//! Claims that are each judged from the cases of one kind: a part of their labels, and a rule over their facts.
//! Pure; a claim whose cases were not asked for has no finding.

use serde_json::{Map, Value, json};

use crate::evidence::{Claim, ClaimResult, Finding};

/// Facts, or what keeps a case from being judged; by label.
pub type Cases<F> = Vec<(String, Result<F, String>)>;

/// Result, reason, numbers; an error is what keeps it from being settled.
pub type Judged = Result<(ClaimResult, String, Map<String, Value>), String>;

/// A part of a label, and what its cases say.
pub type Rule<F> = (&'static str, fn(&[&F]) -> Judged);

/// `blocked` is what keeps every claim from being settled; `evidence`, in words, what the rules looked at.
pub fn judge<F, const N: usize>(
    claims: &[Claim; N],
    rules: &[Rule<F>; N],
    cases: &Cases<F>,
    blocked: Option<&(ClaimResult, String)>,
    evidence: &str,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (claim, (part, rule)) in claims.iter().zip(rules) {
        let own = cases.iter().filter(|(label, _)| label.contains(part));
        let own: Vec<_> = own.map(|(_, facts)| facts).collect();
        if own.is_empty() && blocked.is_none() {
            continue;
        }
        let judged = match blocked {
            Some((result, why)) => Ok((*result, why.clone(), Map::new())),
            None => own
                .into_iter()
                .map(|facts| facts.as_ref().map_err(String::clone))
                .collect::<Result<Vec<&F>, String>>()
                .and_then(|facts| rule(&facts)),
        };
        findings.push(finding(claim, judged, evidence));
    }
    findings
}

fn finding(claim: &Claim, judged: Judged, evidence: &str) -> Finding {
    let (result, mut because, mut numbers) = match judged {
        Ok(judged) => judged,
        Err(why) => (ClaimResult::Inconclusive, why, Map::new()),
    };
    if !numbers.is_empty() {
        because = format!("{because}; seen by {evidence}");
        numbers.insert("evidence".to_owned(), json!(evidence));
    }
    Finding {
        id: claim.id.to_owned(),
        result,
        statement: claim.statement.to_owned(),
        because,
        numbers,
    }
}
