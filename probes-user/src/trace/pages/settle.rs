//! From cases to findings: each file system is judged by itself, and the sentence is about all of them.

use serde_json::{Map, Value, json};

use super::Options;
use super::steps::{Case, lacking};
use crate::evidence::{Claim, ClaimResult, Finding};
use crate::lab::pages::FsName;
use crate::trace::Ending;
use crate::trace::scripted::Cases;

/// What one file system's case says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judged {
    pub holds: bool,
    pub says: String,
    pub numbers: Vec<(&'static str, Value)>,
}

/// Err = why it cannot be judged.
pub type Verdict = Result<Judged, String>;

pub struct Question {
    pub claim: Claim,
    pub on: &'static [FsName],
    pub judge: fn(&Case) -> Verdict,
}

/// Settles what these options ask for.
pub fn judge(
    questions: &[Question],
    cases: &Cases,
    options: &Options,
    ending: &Ending,
) -> Vec<Finding> {
    let asked = options.asked();
    questions
        .iter()
        .filter_map(|question| {
            let on: Vec<FsName> = question
                .on
                .iter()
                .filter(|fs| asked.wants(fs.name()))
                .copied()
                .collect();
            (!on.is_empty()).then(|| settle(question, &on, cases, ending))
        })
        .collect()
}

fn settle(question: &Question, on: &[FsName], cases: &Cases, ending: &Ending) -> Finding {
    let mut numbers = Map::new();
    let (result, because) = match ending.blocks(&[]) {
        Some(blocked) => blocked,
        None => all(question, on, cases, &mut numbers),
    };
    Finding {
        id: question.claim.id.to_owned(),
        result,
        statement: question.claim.statement.to_owned(),
        because,
        numbers,
    }
}

fn all(
    question: &Question,
    on: &[FsName],
    cases: &Cases,
    numbers: &mut Map<String, Value>,
) -> (ClaimResult, String) {
    let (mut said, mut refuted, mut judged) = (Vec::new(), false, 0);
    for fs in on {
        let Some(log) = cases.find(fs.name()) else {
            return inconclusive(fs, "its case was not run");
        };
        if let Some((fs, why)) = lacking(log) {
            said.push(format!("{}: not judged, {why}", fs.name()));
            continue;
        }
        let Some(case) = Case::of(log).filter(|case| case.ended) else {
            return inconclusive(fs, "its case did not come to its end");
        };
        if !case.counts_agree() {
            return inconclusive(fs, "the pages asked for are not those that the script read");
        }
        if let Some(full) = case.steps.iter().find_map(|step| step.pages.overflow()) {
            return inconclusive(fs, &format!("the counters were full: {full}"));
        }
        match ((question.judge)(&case), case.disturbed_by()) {
            (Err(why), _) => return inconclusive(fs, &why),
            (Ok(its), Some(by)) if !its.holds => {
                return inconclusive(fs, &format!("{by} meanwhile: {}", its.says));
            }
            (Ok(its), _) => {
                refuted |= !its.holds;
                judged += 1;
                said.push(format!("{}: {}", fs.name(), its.says));
                for (name, value) in its.numbers {
                    numbers.insert(format!("{}_{name}", fs.name()), value);
                }
            }
        }
    }
    numbers.insert("judged_count".to_owned(), json!(judged));
    let result = match (judged, refuted) {
        (0, _) => ClaimResult::Unsupported,
        (_, true) => ClaimResult::Refuted,
        _ => ClaimResult::Holds,
    };
    (result, said.join("; "))
}

fn inconclusive(fs: &FsName, why: &str) -> (ClaimResult, String) {
    (ClaimResult::Inconclusive, format!("{}: {why}", fs.name()))
}

/// Are these the same within 2 %?
pub fn near(one: u64, other: u64) -> bool {
    one.abs_diff(other) as f64 <= 0.02 * one.max(other) as f64
}

/// `12.5 %`; one that is not quite 100 or not quite 0 does not read so.
pub fn percent(ratio: f64) -> String {
    let text = format!("{:.1} %", ratio * 100.0);
    match text.as_str() {
        "100.0 %" if ratio < 1.0 => "more than 99.9 %".to_owned(),
        "0.0 %" if ratio > 0.0 => "less than 0.1 %".to_owned(),
        "100.0 %" => "100 %".to_owned(),
        "0.0 %" => "0 %".to_owned(),
        _ => text,
    }
}
