//! What one run of the test binary came to, on the host or in a guest. A test counts by its own
//! `finished` line only: one that was planned or started and has none is lost, and lost is red.

use super::protocol::{Event, Outcome};
use crate::cli;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    Passed,
    Failed(String),
    Skipped(String),
    Lost,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub cell: Cell,
    pub ms: u64,
}

/// One column of the grid.
#[derive(Debug, Clone, Default)]
pub struct Column {
    pub label: String,
    /// In the order in which the tests were planned or first heard of.
    order: Vec<String>,
    entries: BTreeMap<String, Entry>,
    summary: bool,
    /// What is wrong with the run as a whole, with the exit code that says so.
    pub problems: Vec<(u8, String)>,
    /// What its tests handed over, by kind; of repetitions the last.
    pub documents: BTreeMap<String, serde_json::Value>,
    /// Why the whole column is empty although nobody failed.
    pub unavailable: Option<String>,
}

impl Column {
    #[must_use]
    pub fn new(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            ..Self::default()
        }
    }

    pub fn take(&mut self, event: Event) {
        match event {
            Event::Plan { tests } => tests.iter().for_each(|test| self.expect(test)),
            Event::Started { test } => self.expect(&test),
            Event::Finished {
                test,
                outcome,
                reason,
                ms,
            } => {
                self.expect(&test);
                self.finish(&test, outcome, reason.unwrap_or_default(), ms);
            }
            Event::Document { kind, document } => {
                self.documents.insert(kind, document);
            }
            Event::Summary {} => self.summary = true,
            Event::Unknown => {}
        }
    }

    fn expect(&mut self, test: &str) {
        if !self.entries.contains_key(test) {
            self.order.push(test.to_owned());
            let lost = Entry {
                cell: Cell::Lost,
                ms: 0,
            };
            self.entries.insert(test.to_owned(), lost);
        }
    }

    /// With repetitions the worst one stands.
    fn finish(&mut self, test: &str, outcome: Outcome, reason: String, ms: u64) {
        let Some(entry) = self.entries.get_mut(test) else {
            return;
        };
        entry.ms = entry.ms.max(ms);
        if !matches!(entry.cell, Cell::Failed(_)) {
            entry.cell = match outcome {
                Outcome::Pass => Cell::Passed,
                Outcome::Skip => Cell::Skipped(reason),
                Outcome::Fail => Cell::Failed(reason),
            };
        }
    }

    /// Called once, when the run is over: `code` is the test binary's own, if it ended by itself.
    pub fn close(&mut self, code: Option<u8>, filtered: bool) {
        let red = self.count(|cell| matches!(cell, Cell::Failed(_) | Cell::Lost));
        if let Some(code) = code {
            if !self.summary {
                let text = format!("no summary line (exit code {code})");
                self.problems.push((cli::TEST_FAILED, text));
            } else if code != cli::OK && red == 0 {
                let text = format!("exit code {code}, though no test failed");
                self.problems.push((cli::TEST_FAILED, text));
            }
        }
        if self.entries.is_empty() && !filtered && self.problems.is_empty() {
            self.problems
                .push((cli::TEST_FAILED, "it ran no test".into()));
        }
    }

    #[must_use]
    pub fn tests(&self) -> &[String] {
        &self.order
    }

    #[must_use]
    pub fn get(&self, test: &str) -> Option<&Entry> {
        self.entries.get(test)
    }

    pub fn count(&self, is: impl Fn(&Cell) -> bool) -> usize {
        self.entries
            .values()
            .filter(|entry| is(&entry.cell))
            .count()
    }

    /// The worst code of this column: what broke the guest says more than the tests lost by it.
    #[must_use]
    pub fn code(&self) -> u8 {
        let red = self.count(|cell| matches!(cell, Cell::Failed(_) | Cell::Lost));
        let own = if red > 0 { cli::TEST_FAILED } else { cli::OK };
        self.problems
            .iter()
            .map(|(code, _)| *code)
            .fold(own, u8::max)
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::parse;
    use super::*;

    fn column(lines: &[&str]) -> Column {
        let mut column = Column::new("6.1");
        lines
            .iter()
            .filter_map(|line| parse(line))
            .for_each(|event| column.take(event));
        column
    }

    const PLAN: &str = r#"{"event":"plan","tests":["a","b"]}"#;
    const A_PASSES: &str = r#"{"event":"finished","test":"a","outcome":"pass","ms":3}"#;
    const A_FAILS: &str = r#"{"event":"finished","test":"a","outcome":"fail","reason":"x","ms":9}"#;
    const SUMMARY: &str = r#"{"event":"summary","passed":1,"failed":0,"skipped":0}"#;

    #[test]
    fn a_planned_test_without_an_end_is_lost_and_red() {
        let mut column = column(&[PLAN, A_PASSES, SUMMARY]);
        column.close(Some(0), false);
        assert_eq!(column.get("b").unwrap().cell, Cell::Lost);
        assert_eq!(column.code(), cli::TEST_FAILED);
    }

    #[test]
    fn a_missing_summary_is_red() {
        let mut column = column(&[A_PASSES]);
        column.close(Some(0), false);
        assert_eq!(column.code(), cli::TEST_FAILED);
    }

    #[test]
    fn a_failed_repetition_stays_failed() {
        let column = column(&[A_FAILS, A_PASSES]);
        assert_eq!(column.get("a").unwrap().cell, Cell::Failed("x".into()));
        assert_eq!(column.get("a").unwrap().ms, 9);
    }

    #[test]
    fn an_exit_code_without_a_failed_test_is_red() {
        let mut column = column(&[A_PASSES, SUMMARY]);
        column.close(Some(101), false);
        assert_eq!(column.code(), cli::TEST_FAILED);
    }

    #[test]
    fn running_no_test_is_red_unless_a_filter_chose_none() {
        let mut all = column(&[SUMMARY]);
        all.close(Some(0), false);
        assert_eq!(all.code(), cli::TEST_FAILED);
        let mut filtered = column(&[SUMMARY]);
        filtered.close(Some(0), true);
        assert_eq!(filtered.code(), cli::OK);
    }

    #[test]
    fn what_broke_the_guest_decides_the_code() {
        let mut column = column(&[PLAN]);
        column
            .problems
            .push((cli::GUEST_PANICKED, "it panicked".into()));
        column.close(None, false);
        assert_eq!(column.code(), cli::GUEST_PANICKED);
    }

    #[test]
    fn of_documents_the_last_counts_and_none_is_a_test() {
        let one = r#"{"event":"document","test":"a","kind":"check","document":1}"#;
        let two = r#"{"event":"document","test":"a","kind":"check","document":2}"#;
        let column = column(&[PLAN, one, two]);
        assert_eq!(column.documents["check"], 2);
        assert_eq!(column.tests().len(), 2);
    }
}
