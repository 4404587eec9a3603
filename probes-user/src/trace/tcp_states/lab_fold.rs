//! The fold of the lab: the cases' logs, judged when all is there.

use super::judge::{self, Played, Verdict};
use super::{CLAIMS, KILLED, tables};
use crate::evidence::{ClaimResult, Finding, Ledger};
use crate::stream::Item;
use crate::trace::scripted::Cases;
use crate::trace::{Ending, Fold, Outcome};

#[derive(Default)]
pub struct LabFold {
    cases: Cases,
}

/// Losing these costs no verdict: the surgeon's packets are its own control, not this trace's evidence.
const UNUSED: &[&str] = &["packet"];

impl LabFold {
    /// A claim none of whose cases was asked for is left out. Where nothing was run, nothing is.
    fn asked_for(&self, claim: &str) -> bool {
        let about = |label: &str| label.starts_with("killed") == (claim == KILLED);
        let mut labels = self.cases.logs().map(|log| log.label.as_str());
        self.cases.last().is_none() || labels.any(about)
    }
}

impl Fold for LabFold {
    fn item(&mut self, item: &Item) {
        self.cases.item(item);
    }

    fn interim(&self) -> Ledger {
        Ledger::default()
    }

    fn incomplete(&self) -> bool {
        let last = self.cases.last();
        last.is_some_and(|log| judge::skipped(log).is_none() && Played::of(log).is_err())
    }

    fn finish(self: Box<Self>, ending: &Ending) -> Outcome {
        let (mut played, mut spoilt, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for log in self.cases.logs() {
            if let Some(why) = judge::skipped(log) {
                skipped.push(why);
                continue;
            }
            match Played::of(log) {
                Ok(case) => played.push(case),
                Err(why) => spoilt.push(format!("{}: {why}", log.label)),
            }
        }
        let block = ending.blocks(UNUSED).or_else(|| {
            let why = spoilt.first()?.clone();
            Some((ClaimResult::Inconclusive, why))
        });
        let verdicts = judge::verdicts(&played, &skipped);
        let findings = verdicts
            .into_iter()
            .filter(|verdict| self.asked_for(verdict.claim))
            .map(|verdict| finding(verdict, block.as_ref()))
            .collect();
        let mut ledger = tables::lab(&played);
        ledger.remarks.extend(spoilt);
        ledger.remarks.extend(skipped);
        ledger.remarks.extend(self.cases.remark());
        Outcome { findings, ledger }
    }
}

fn finding(verdict: Verdict, block: Option<&(ClaimResult, String)>) -> Finding {
    let statement = CLAIMS
        .iter()
        .find(|claim| claim.id == verdict.claim)
        .map_or("", |claim| claim.statement);
    let (result, because) = match block {
        Some((result, why)) => (*result, why.clone()),
        None => (verdict.result, verdict.because),
    };
    Finding {
        id: verdict.claim.to_owned(),
        result,
        statement: statement.to_owned(),
        because,
        numbers: verdict.numbers,
    }
}
