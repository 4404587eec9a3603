//! The test × kernel grid, the reasons below it, and the totals. Plain ASCII off a terminal.

use super::run::{Cell, Column};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Totals {
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }

    /// The plain line that people and machines look for.
    #[must_use]
    pub fn line(self) -> String {
        format!(
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// A lost test and a run that went wrong as a whole count as failed; a column without a kernel as
/// one skip.
#[must_use]
pub fn totals(columns: &[Column]) -> Totals {
    let mut totals = Totals::default();
    for column in columns {
        totals.passed += column.count(|cell| matches!(cell, Cell::Passed));
        totals.failed += column.count(|cell| matches!(cell, Cell::Failed(_) | Cell::Lost));
        totals.failed += column.problems.len();
        totals.skipped += column.count(|cell| matches!(cell, Cell::Skipped(_)));
        totals.skipped += usize::from(column.unavailable.is_some());
    }
    totals
}

/// The whole report as text.
#[must_use]
pub fn render(columns: &[Column], unicode: bool) -> String {
    let mut text = String::new();
    let rows = rows(columns);
    let width = rows.iter().map(|row| row.len()).max().unwrap_or(4).max(4);
    let _ = write!(text, "{:width$}", "test");
    for column in columns {
        let _ = write!(text, "  {:>9}", column.label);
    }
    text.push('\n');
    for row in &rows {
        let _ = write!(text, "{row:width$}");
        for column in columns {
            let _ = write!(text, "  {:>9}", cell(column, row, unicode));
        }
        text.push('\n');
    }
    let marks = if unicode {
        "✓ passed  ✗ failed"
    } else {
        "+ passed  x failed"
    };
    let _ = writeln!(
        text,
        "({marks}  s skipped  ? lost: no word of its end  - not planned)"
    );
    problems(&mut text, columns);
    reasons(&mut text, columns);
    text
}

/// All tests in the order of the first column that knows them.
fn rows(columns: &[Column]) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    let all = columns.iter().flat_map(|column| column.tests());
    all.map(String::as_str)
        .filter(|test| seen.insert(*test))
        .collect()
}

fn cell(column: &Column, test: &str, unicode: bool) -> String {
    let Some(entry) = column.get(test) else {
        return "-".into();
    };
    let mark = match (&entry.cell, unicode) {
        (Cell::Passed, true) => "✓",
        (Cell::Passed, false) => "+",
        (Cell::Failed(_), true) => "✗",
        (Cell::Failed(_), false) => "x",
        (Cell::Skipped(_), _) => return "s".into(),
        (Cell::Lost, _) => return "?".into(),
    };
    format!("{mark} {}", time(entry.ms))
}

fn time(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        _ => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
    }
}

fn problems(text: &mut String, columns: &[Column]) {
    for column in columns {
        if let Some(why) = &column.unavailable {
            let _ = writeln!(text, "NOT RUN {}: {why}", column.label);
        }
        for (_, problem) in &column.problems {
            let _ = writeln!(text, "FAILED {}: {problem}", column.label);
        }
        for test in column.tests() {
            match column.get(test).map(|entry| &entry.cell) {
                Some(Cell::Failed(why)) => {
                    let _ = writeln!(text, "FAILED {} {test}: {why}", column.label);
                }
                Some(Cell::Lost) => {
                    let _ = writeln!(text, "LOST {} {test}", column.label);
                }
                _ => {}
            }
        }
    }
}

/// Each reason once, with the tests and kernels it stands for.
fn reasons(text: &mut String, columns: &[Column]) {
    let mut skipped: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for column in columns {
        for test in column.tests() {
            if let Some(Cell::Skipped(why)) = column.get(test).map(|entry| &entry.cell) {
                skipped.entry((test, why)).or_default().push(&column.label);
            }
        }
    }
    for ((test, why), labels) in skipped {
        let _ = writeln!(text, "skipped {test} on {}: {why}", labels.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::parse;
    use super::*;
    use crate::cli;

    fn columns() -> Vec<Column> {
        let lines = [
            r#"{"event":"plan","tests":["herd","backlog","lost_one"]}"#,
            r#"{"event":"finished","test":"herd","outcome":"pass","ms":1234}"#,
            r#"{"event":"finished","test":"backlog","outcome":"skip","reason":"no kprobes"}"#,
        ];
        let mut host = Column::new("host");
        lines
            .iter()
            .filter_map(|line| parse(line))
            .for_each(|event| host.take(event));
        let mut guest = Column::new("6.1");
        guest
            .problems
            .push((cli::GUEST_PANICKED, "the guest kernel panicked: x".into()));
        vec![host, guest]
    }

    #[test]
    fn every_kind_of_end_has_its_mark() {
        let text = render(&columns(), false);
        assert!(text.contains("herd        + 1.2 s          -"), "{text}");
        assert!(text.contains("lost_one          ?          -"), "{text}");
        assert!(text.contains("LOST host lost_one"), "{text}");
        assert!(
            text.contains("FAILED 6.1: the guest kernel panicked"),
            "{text}"
        );
        assert!(
            text.contains("skipped backlog on host: no kprobes"),
            "{text}"
        );
        assert!(text.is_ascii(), "{text}");
    }

    #[test]
    fn lost_tests_and_broken_runs_count_as_failed() {
        assert_eq!(totals(&columns()).line(), "1 passed, 2 failed, 1 skipped");
    }
}
