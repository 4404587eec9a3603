//! The tables and sentences that both traces print, and the comparison of independent counts.

use serde_json::{Value, json};

use super::fit::{Row, ms};
use super::limits::{Limits, Speed};
use crate::evidence::ledger::Table;

/// Two or more independent counts of one thing. The kernel keeps an event from a tracepoint program now and
/// then, without counting it, so what was counted by events may be less, though not nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub what: &'static str,
    /// Who counted, and what.
    pub counts: Vec<(&'static str, u64)>,
    /// The hook that saw it too.
    pub events: Option<(&'static str, u64)>,
}

impl Check {
    pub fn agree(&self) -> bool {
        let count = self.counts.first().map_or(0, |(_, count)| *count);
        let seen = |(_, seen): (&str, u64)| seen <= count && (seen > 0) == (count > 0);
        self.counts.iter().all(|(_, other)| *other == count) && self.events.is_none_or(seen)
    }

    pub fn text(&self) -> String {
        let parts = self.counts.iter().chain(&self.events);
        let parts = parts.map(|(who, count)| format!("{who} {count}"));
        parts.collect::<Vec<_>>().join(", ")
    }

    /// Events that the counts have and the hook has not.
    fn missed(&self) -> Option<String> {
        let (hook, seen) = self.events?;
        let count = self.counts.first()?.1;
        let missed = count.checked_sub(seen).filter(|missed| *missed > 0)?;
        Some(format!(
            "{hook} missed {missed} of {count} events; packets and counters have them all."
        ))
    }
}

/// A remark for each hook that missed something.
pub fn missed_remarks<'a>(checks: impl Iterator<Item = &'a Check>) -> Vec<String> {
    checks
        .filter(|check| check.agree())
        .filter_map(Check::missed)
        .collect()
}

/// The first disagreement, in words.
pub fn disagreement(checks: &[Check]) -> Option<String> {
    let other = checks.iter().find(|check| !check.agree())?;
    Some(format!("{}: {}", other.what, other.text()))
}

pub fn checks_table(cases: &[(&str, &[Check])]) -> Table {
    let columns = [
        ("case", "case"),
        ("what", "what"),
        ("counts", "counts"),
        ("agree", "agree"),
    ];
    let mut table = Table::new("checks", "Counted independently", &columns).detailed();
    for (case, checks) in cases {
        table.rows.extend(checks.iter().map(|check| {
            vec![
                json!(case),
                json!(check.what),
                json!(check.text()),
                json!(check.agree()),
            ]
        }));
    }
    table
}

pub fn schedule_table(what: &str) -> Table {
    let sent = format!("{what} at, ms");
    let columns = [
        ("case", "case"),
        ("send", "send"),
        ("at_ms", sent.as_str()),
        ("wait_ms", "then waits, ms"),
        ("law_ms", "by law, ms"),
        ("armed_jiffies", "timer, jiffies"),
        ("real_s", "in real time, s"),
        ("notes_s", "notes, s"),
    ];
    Table::new(
        "schedule",
        "When it was sent, and how long each wait was",
        &columns,
    )
}

/// A row for each send.
pub fn schedule_rows(
    table: &mut Table,
    case: &str,
    row: &Row,
    law: &[u64],
    notes: &[u64],
    limits: &Limits,
) {
    let waits = row.waits();
    let first = row.sends.first().copied().unwrap_or_default();
    let tenths = |ns: u64| json!((ns as f64 / 100_000.0).round() / 10.0);
    let seconds = |ns: &u64| json!((limits.real_s(*ns) * 10.0).round() / 10.0);
    for (index, sent) in row.sends.iter().enumerate() {
        let or_null = |value: Option<Value>| value.unwrap_or(Value::Null);
        let armed = row.armed(index);
        table.rows.push(vec![
            json!(case),
            json!(index + 1),
            tenths(sent - first),
            or_null(waits.get(index).map(|wait| tenths(*wait))),
            or_null(law.get(index).map(|wait| tenths(*wait))),
            or_null(armed.map(|jiffies| json!(jiffies))),
            or_null(law.get(index).map(seconds)),
            or_null(notes.get(index).map(seconds)),
        ]);
    }
}

/// Waits in units of the initial timeout: `1 2 4 8`.
pub fn units(waits: &[u64], limits: &Limits) -> String {
    let unit = |wait: &u64| {
        let value = (limits.real_s(*wait) * 10.0).round() / 10.0;
        format!("{value}")
    };
    waits.iter().map(unit).collect::<Vec<_>>().join(" ")
}

/// How the clock of the lab ran, and what that proves.
pub fn speed_remark(limits: &Limits) -> String {
    let first = ms(limits.first_ns);
    match (limits.speed, &limits.why) {
        (Speed::Compressed, _) => format!(
            "Compressed: an initial timeout of {first} ms instead of 1 s. Shown are the number of sends and \
             the proportions of the waits, which are the kernel's own; --full takes its minutes."
        ),
        (_, None) => "In the kernel's own time.".to_owned(),
        (_, Some(why)) => format!(
            "In real time with {} retries, because the initial timeout cannot be set short: {why}.",
            limits.retries
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_differ_are_told_with_who_counted() {
        let check = |b| Check {
            what: "resends",
            counts: vec![("surgeon", 6), ("nstat", b)],
            events: None,
        };
        assert_eq!(disagreement(&[check(6)]), None);
        let text = disagreement(&[check(6), check(5)]);
        assert_eq!(text.unwrap(), "resends: surgeon 6, nstat 5");
    }

    #[test]
    fn events_may_be_missed_but_not_all_and_never_too_many() {
        let check = |seen| Check {
            what: "resends",
            counts: vec![("surgeon", 6), ("nstat", 6)],
            events: Some(("hook", seen)),
        };
        let agrees: Vec<bool> = [0, 5, 6, 7].map(|seen| check(seen).agree()).to_vec();
        assert_eq!(agrees, [false, true, true, false]);
        let missed = missed_remarks([check(5), check(6)].iter());
        assert_eq!(missed.len(), 1);
        assert!(
            missed[0].starts_with("hook missed 1 of 6 events"),
            "{}",
            missed[0]
        );
    }
}
