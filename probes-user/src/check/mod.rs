//! `probes check`: every lab on this kernel, each claim's results beside what is known of it.
//!
//! What could fool it: a claim that comes out now so and now so is not averaged but flaky, and a trace that did
//! not run at all leaves its claims as not run; neither counts as an agreement. A lab that lacked evidence is run
//! again, and that is said; what it did settle counts with the rest.

pub mod circumstances;
pub mod matrix;
pub mod render;
pub mod run;

use std::time::Duration;

use serde_json::Value;

use crate::evidence::expect::{Expectation, Expectations, Verdict};
use crate::evidence::{Claim, ClaimResult, Finding};
use crate::exit::Exit;
use crate::render::report::HookReport;
use crate::trace::Trace;

/// What one run of a trace's lab gave, or why there is nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub trace: &'static str,
    pub findings: Result<Vec<Finding>, String>,
    /// Those of the trace, as the run found them.
    pub hooks: Vec<HookReport>,
    pub took: Duration,
    /// It left something open and was run once more: its inconclusive findings give way to the next run's.
    pub again: bool,
}

impl Run {
    pub fn left_open(&self) -> impl Iterator<Item = &Finding> {
        let findings = self.findings.iter().flatten();
        findings.filter(|finding| finding.result == ClaimResult::Inconclusive)
    }
}

/// What labs lacked that were run again: the trace, and why.
pub fn run_again(runs: &[Run]) -> impl Iterator<Item = (&'static str, &str)> {
    let again = runs.iter().filter(|run| run.again);
    again.flat_map(|run| {
        let open = run.left_open();
        open.map(|finding| (run.trace, finding.because.as_str()))
    })
}

/// What a claim came to over all runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Settled {
    /// The same in every run.
    As(ClaimResult),
    /// Not the same: how often which.
    Flaky(Vec<(ClaimResult, usize)>),
    /// At least one run gave nothing, and why.
    NotRun(String),
}

/// How that stands to what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    AsExpected,
    Differs {
        expected: &'static str,
        source: String,
    },
    /// Settled, and there is no expectation for this kernel.
    Nothing,
    /// Inconclusive, flaky or not run: there is nothing to compare.
    NotSettled,
}

impl Known {
    pub const fn word(&self) -> &'static str {
        match self {
            Known::AsExpected => "as expected",
            Known::Differs { .. } => "DIFFERS",
            Known::Nothing => "nothing known",
            Known::NotSettled => "NOT SETTLED",
        }
    }
}

/// One claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub trace: &'static str,
    pub claim: &'static Claim,
    pub settled: Settled,
    pub known: Known,
    /// What was known of it before.
    pub expected: Option<Expectation>,
    /// Of the last run that gave one.
    pub finding: Option<Finding>,
    /// All claims of a trace are settled by one run of its lab; a mean over the rounds.
    pub took: Duration,
}

impl Row {
    pub fn result(&self) -> String {
        match &self.settled {
            Settled::As(result) => result.word().to_owned(),
            Settled::Flaky(results) => {
                let each: Vec<String> = results
                    .iter()
                    .map(|(result, count)| format!("{count} {}", result.word()))
                    .collect();
                format!("flaky: {}", each.join(", "))
            }
            Settled::NotRun(_) => "not run".to_owned(),
        }
    }

    /// The deciding number, and what it is called.
    pub fn number(&self) -> Option<(&'static str, &Value)> {
        let number = self.finding.as_ref()?.numbers.get(self.claim.number)?;
        Some((self.claim.number, number))
    }

    /// Why it is as it is, for a person.
    pub fn because(&self) -> &str {
        match (&self.settled, &self.finding) {
            (Settled::NotRun(why), _) => why,
            (_, Some(finding)) => &finding.because,
            (_, None) => "",
        }
    }
}

/// The rows of these traces' claims that are asked for; `runs` may come from several rounds.
pub fn rows(
    traces: &[&'static dyn Trace],
    runs: &[Run],
    asked: &dyn Fn(&str) -> bool,
    expectations: &Expectations,
    release: &str,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for trace in traces {
        let own: Vec<&Run> = runs
            .iter()
            .filter(|run| run.trace == trace.name())
            .collect();
        let ended = own.iter().filter(|run| !run.again).count();
        let Some(count) = u32::try_from(ended).ok().filter(|count| *count > 0) else {
            continue;
        };
        let took = own.iter().map(|run| run.took).sum::<Duration>() / count;
        for claim in trace.claims().iter().filter(|claim| asked(claim.id)) {
            let (settled, finding) = settle(claim, &own);
            let known = compare(claim, &settled, expectations, release);
            rows.push(Row {
                trace: trace.name(),
                claim,
                settled,
                known,
                expected: expectations.find(release, claim.id).cloned(),
                finding,
                took,
            });
        }
    }
    rows
}

fn settle(claim: &Claim, runs: &[&Run]) -> (Settled, Option<Finding>) {
    let mut results: Vec<(ClaimResult, usize)> = Vec::new();
    let mut finding = None;
    let mut lacking = None;
    for run in runs {
        let found = match &run.findings {
            Ok(findings) => findings.iter().find(|finding| finding.id == claim.id),
            Err(why) => {
                lacking = Some(why.clone());
                continue;
            }
        };
        let Some(found) = found else {
            lacking = Some("the lab said nothing of this claim".to_owned());
            continue;
        };
        if run.again && found.result == ClaimResult::Inconclusive {
            continue;
        }
        match results
            .iter_mut()
            .find(|(result, _)| *result == found.result)
        {
            Some((_, count)) => *count += 1,
            None => results.push((found.result, 1)),
        }
        finding = Some(found.clone());
    }
    let settled = match (lacking, results.as_slice()) {
        (Some(why), _) => Settled::NotRun(why),
        (None, [(result, _)]) => Settled::As(*result),
        (None, _) => Settled::Flaky(results),
    };
    (settled, finding)
}

fn compare(claim: &Claim, settled: &Settled, expectations: &Expectations, release: &str) -> Known {
    let Settled::As(result) = settled else {
        return Known::NotSettled;
    };
    match expectations.judge(release, claim.id, *result) {
        Verdict::AsExpected => Known::AsExpected,
        Verdict::Differs { expected, source } => Known::Differs { expected, source },
        Verdict::Unknown => Known::Nothing,
        Verdict::Inconclusive => Known::NotSettled,
    }
}

/// How many rows stand how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub as_expected: usize,
    pub differ: usize,
    pub not_settled: usize,
    pub not_run: usize,
    pub nothing_known: usize,
}

impl Tally {
    pub fn of(rows: &[Row]) -> Tally {
        let mut tally = Tally::default();
        for row in rows {
            let place = match (&row.known, &row.settled) {
                (Known::AsExpected, _) => &mut tally.as_expected,
                (Known::Differs { .. }, _) => &mut tally.differ,
                (Known::Nothing, _) => &mut tally.nothing_known,
                (Known::NotSettled, Settled::NotRun(_)) => &mut tally.not_run,
                (Known::NotSettled, _) => &mut tally.not_settled,
            };
            *place += 1;
        }
        tally
    }

    pub fn exit(&self) -> Exit {
        if self.differ > 0 {
            Exit::Differs
        } else if self.not_run > 0 {
            Exit::CannotRun
        } else if self.not_settled > 0 {
            Exit::Inconclusive
        } else {
            Exit::Settled
        }
    }
}

/// What these rows say of this kernel, as a file for `--expect`; and the claims left out, not being settled.
pub fn expectations(rows: &[Row], release: &str) -> (Expectations, Vec<&'static str>) {
    let (mut known, mut left_out) = (Vec::new(), Vec::new());
    for row in rows {
        match row.settled {
            Settled::As(result) if result != ClaimResult::Inconclusive => known.push(Expectation {
                claim: row.claim.id.to_owned(),
                kernels: Expectations::only(release),
                result,
                source: format!("`probes check` on {release}"),
            }),
            _ => left_out.push(row.claim.id),
        }
    }
    (Expectations::new(known), left_out)
}

#[cfg(test)]
mod tests;
