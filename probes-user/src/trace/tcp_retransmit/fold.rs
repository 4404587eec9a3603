//! The fold of a lab run: the stream by case, judged at the end.

use super::Plan;
use super::case::Judged;
use super::ledger::ledger;
use super::verdict::{Clock, judge};
use crate::evidence::Ledger;
use crate::stream::Item;
use crate::trace::scripted::Cases;
use crate::trace::{Context, Ending, Fold, Outcome, Symbol};

pub struct LabFold {
    cases: Cases,
    symbols: Vec<Symbol>,
    plan: Plan,
}

impl LabFold {
    pub fn new(context: &Context) -> LabFold {
        LabFold {
            cases: Cases::default(),
            symbols: context.symbols.clone(),
            plan: serde_json::from_value(context.options.clone()).unwrap_or_default(),
        }
    }

    fn judged(&self) -> Vec<Judged> {
        let logs = self.cases.logs();
        logs.map(|log| Judged::new(log, &self.symbols)).collect()
    }

    fn clock(&self) -> Clock {
        Clock {
            jiffy_ns: self.plan.jiffy_ns,
        }
    }
}

impl Fold for LabFold {
    fn item(&mut self, item: &Item) {
        self.cases.item(item);
    }

    fn interim(&self) -> Ledger {
        ledger(&self.judged(), &self.clock())
    }

    fn incomplete(&self) -> bool {
        let last = self.cases.last();
        last.is_some_and(|log| Judged::new(log, &self.symbols).incomplete())
    }

    fn finish(self: Box<Self>, ending: &Ending) -> Outcome {
        let (cases, clock) = (self.judged(), self.clock());
        let mut ledger = ledger(&cases, &clock);
        ledger.remarks.extend(self.cases.remark());
        Outcome {
            findings: judge(&cases, &self.plan.cases, &clock, ending),
            ledger,
        }
    }
}
