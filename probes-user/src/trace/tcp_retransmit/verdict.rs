//! From the cases' resends to findings. All cases of a claim must say the same; one that refutes it decides.
//!
//! Before any sentence is judged a case must be whole: its script came to its end, its content came unharmed,
//! and every independent count agrees. Otherwise its claims are inconclusive.

use serde_json::{Map, Value, json};

use super::case::Judged;
use super::claims::{self, CLAIMS};
use super::lab::Loss;
use super::rules;
use crate::evidence::{Claim, ClaimResult, Finding};
use crate::trace::Ending;

/// What one case says of a claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    pub result: ClaimResult,
    pub because: String,
}

impl Said {
    pub fn holds(because: impl Into<String>) -> Said {
        Said::new(ClaimResult::Holds, because)
    }

    pub fn refuted(because: impl Into<String>) -> Said {
        Said::new(ClaimResult::Refuted, because)
    }

    pub fn inconclusive(because: impl Into<String>) -> Said {
        Said::new(ClaimResult::Inconclusive, because)
    }

    fn new(result: ClaimResult, because: impl Into<String>) -> Said {
        Said {
            result,
            because: because.into(),
        }
    }
}

/// Numbers of a finding by name.
pub type Numbers = Map<String, Value>;

/// Which cases a claim rests on (None = all) and how one is judged.
struct Rule {
    id: &'static str,
    on: Option<Loss>,
    judge: fn(&Judged, &Clock, &mut Numbers) -> Said,
}

/// Length of a jiffy, ns.
pub struct Clock {
    pub jiffy_ns: u64,
}

impl Clock {
    pub fn ns(&self, jiffies: u64) -> u64 {
        jiffies.saturating_mul(self.jiffy_ns)
    }

    /// Rounded up, as the kernel does.
    pub fn jiffies(&self, ns: u64) -> u64 {
        ns.div_ceil(self.jiffy_ns.max(1))
    }
}

const RULES: [Rule; 9] = [
    Rule {
        id: claims::TIED,
        on: None,
        judge: rules::tied,
    },
    Rule {
        id: claims::BACKS_OFF,
        on: Some(Loss::Everything),
        judge: rules::backs_off,
    },
    Rule {
        id: claims::TAIL,
        on: Some(Loss::Tail),
        judge: rules::tail,
    },
    Rule {
        id: claims::LONE,
        on: Some(Loss::Lone),
        judge: rules::lone,
    },
    Rule {
        id: claims::FAST,
        on: Some(Loss::Middle),
        judge: rules::fast,
    },
    Rule {
        id: claims::THREE,
        on: Some(Loss::FirstOfTwo),
        judge: rules::three,
    },
    Rule {
        id: claims::SYN,
        on: Some(Loss::Syn),
        judge: rules::syn,
    },
    Rule {
        id: claims::SYN_ACK,
        on: Some(Loss::SynAck),
        judge: rules::syn_ack,
    },
    Rule {
        id: claims::NEEDLESS,
        on: Some(Loss::Acks),
        judge: rules::needless,
    },
];

/// `asked`: the labels of the cases that were asked for; a claim none of whose cases was is not judged.
pub fn judge(cases: &[Judged], asked: &[String], clock: &Clock, ending: &Ending) -> Vec<Finding> {
    let judged = RULES.iter().filter_map(|rule| {
        let claim = CLAIMS.iter().find(|claim| claim.id == rule.id)?;
        let wanted: Vec<&String> = asked
            .iter()
            .filter(|label| rule.on.is_none_or(|loss| Loss::of(label) == Some(loss)))
            .collect();
        (!wanted.is_empty()).then(|| settle(claim, rule, cases, &wanted, clock, ending))
    });
    judged.collect()
}

fn settle(
    claim: &Claim,
    rule: &Rule,
    cases: &[Judged],
    wanted: &[&String],
    clock: &Clock,
    ending: &Ending,
) -> Finding {
    let mut numbers = Numbers::new();
    let said = match ending.blocks(&[]) {
        Some((result, because)) => Said { result, because },
        None => {
            let each = wanted.iter().map(|label| {
                let said = one(rule, cases, label, clock, &mut numbers);
                (label.as_str(), said)
            });
            together(each.collect(), rule.on.is_none())
        }
    };
    Finding {
        id: claim.id.to_owned(),
        result: said.result,
        statement: claim.statement.to_owned(),
        because: said.because,
        numbers,
    }
}

fn one(rule: &Rule, cases: &[Judged], label: &str, clock: &Clock, numbers: &mut Numbers) -> Said {
    let Some(case) = cases.iter().find(|case| case.label == label) else {
        return Said::inconclusive("the lab never came to it");
    };
    if let Some(why) = &case.flaw {
        return Said::inconclusive(why.clone());
    }
    let mut own = Numbers::new();
    let said = (rule.judge)(case, clock, &mut own);
    for (name, value) in own {
        // Counts are added up over the cases, other numbers stand for themselves.
        match (
            name.ends_with("_count"),
            numbers.get(&name).and_then(Value::as_u64),
            value.as_u64(),
        ) {
            (true, before, Some(more)) => numbers.insert(name, json!(before.unwrap_or(0) + more)),
            _ => numbers.insert(
                format!("{}_{name}", case.label.replace(['/', '-'], "_")),
                value,
            ),
        };
    }
    said
}

/// The worst decides: refuted, then inconclusive.
fn together(each: Vec<(&str, Said)>, sums: bool) -> Said {
    let worst = [ClaimResult::Refuted, ClaimResult::Inconclusive]
        .into_iter()
        .find_map(|result| each.iter().find(|(_, said)| said.result == result));
    if let Some((label, said)) = worst {
        return Said::new(said.result, format!("{label}: {}", said.because));
    }
    let told: Vec<String> = each
        .iter()
        .filter(|(_, said)| !said.because.is_empty())
        .map(|(label, said)| format!("{label}: {}", said.because))
        .collect();
    let because = match sums {
        true => format!("{} cases, in none a resend without its loss", each.len()),
        false => told.join("; "),
    };
    Said::holds(because)
}
