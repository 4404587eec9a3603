//! A check as a table for a person, a document for a program, and JUnit for a CI.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Map, Value, json};

use super::{Known, Row, Settled, Tally};
use crate::evidence::Table;
use crate::render::table;

/// Schema of the document; `docs/check.schema.json` describes it.
pub const SCHEMA: &str = "probes.check/1";

/// Longer numbers are cut, so that the claims' ids are not.
const NUMBER: usize = 33;

/// The table, then each row that is not as expected in full, then the count.
pub fn text(rows: &[Row]) -> String {
    let mut text = table::lines(&of(rows), true)
        .iter()
        .skip(1)
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    for row in rows.iter().filter(|row| row.known != Known::AsExpected) {
        text.push_str(&format!("\n{} {}\n", row.known.word(), row.claim.id));
        let mut said = vec![format!("{}: {}", row.result(), row.because())];
        if let Known::Differs { expected, source } = &row.known {
            said.push(format!("expected {expected}: {source}"));
        }
        for sentence in said {
            for line in crate::render::text::wrap(&sentence, crate::render::text::WIDTH - 4) {
                text.push_str(&format!("    {line}\n"));
            }
        }
    }
    text.push_str(&format!("\n{}\n", count(&Tally::of(rows))));
    text
}

fn count(tally: &Tally) -> String {
    let mut text = format!(
        "{} as expected, {} differ, {} not settled, {} with nothing known",
        tally.as_expected, tally.differ, tally.not_settled, tally.nothing_known
    );
    if tally.not_run > 0 {
        text.push_str(&format!(", {} not run", tally.not_run));
    }
    text
}

fn of(rows: &[Row]) -> Table {
    let columns = [
        ("claim", "CLAIM"),
        ("result", "RESULT"),
        ("known", "KNOWN"),
        ("number", "NUMBER"),
        ("took_s", "s"),
    ];
    let mut table = Table::new("check", "", &columns);
    for row in rows {
        table.rows.push(vec![
            json!(row.claim.id),
            json!(row.result()),
            json!(row.known.word()),
            json!(
                row.number()
                    .map(|(key, value)| table::elide(&number(key, value), NUMBER))
            ),
            json!((row.took.as_secs_f64() * 10.0).round() / 10.0),
        ]);
    }
    table
}

/// `took_ns`, 1200000 → `took 1.2 ms`.
pub fn number(key: &str, value: &Value) -> String {
    let (words, unit) = match key.rsplit_once('_') {
        Some((words, unit @ ("ns" | "us" | "ms" | "s" | "bytes"))) => (words, unit),
        Some((words, "count" | "mean" | "errno" | "ratio")) => (words, ""),
        _ => (key, ""),
    };
    let words = words.replace('_', " ");
    let spaced = |text: String| match unit {
        "" => text,
        unit => format!("{text} {unit}"),
    };
    let value = match (value, value.as_f64()) {
        (_, Some(ns)) if unit == "ns" => crate::render::text::span(ns),
        (Value::Number(number), Some(float)) if number.is_f64() => {
            spaced(format!("{}", (float * 1000.0).round() / 1000.0))
        }
        (Value::String(text), _) => text.clone(),
        (Value::Array(items), _) if items.is_empty() => "none".to_owned(),
        (Value::Array(items), _) => {
            let plain = |item: &Value| item.as_str().map_or(item.to_string(), str::to_owned);
            spaced(items.iter().map(plain).collect::<Vec<_>>().join(" "))
        }
        (Value::Null, _) => "-".to_owned(),
        (other, _) => spaced(other.to_string()),
    };
    format!("{words} {value}")
}

/// One document.
pub fn document(rows: &[Row], release: &str, rounds: usize, took: Duration, whole: bool) -> Value {
    let tally = Tally::of(rows);
    json!({
        "schema": SCHEMA,
        "kernel": release,
        "rounds": rounds,
        "claims": rows.iter().map(row).collect::<Vec<_>>(),
        "summary": {
            "as_expected": tally.as_expected,
            "differ": tally.differ,
            "not_settled": tally.not_settled,
            "not_run": tally.not_run,
            "nothing_known": tally.nothing_known,
        },
        "duration_ns": u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        "interrupted": !whole,
    })
}

fn row(row: &Row) -> Value {
    let word = match &row.settled {
        Settled::As(result) => result.word(),
        Settled::Flaky(_) => "flaky",
        Settled::NotRun(_) => "not-run",
    };
    let known = match row.known {
        Known::AsExpected => "as-expected",
        Known::Differs { .. } => "differs",
        Known::Nothing => "nothing",
        Known::NotSettled => "not-settled",
    };
    let mut value = json!({
        "id": row.claim.id,
        "trace": row.trace,
        "result": word,
        "known": known,
        "because": row.because(),
        "number": row.number().map(|(key, value)| json!({ "key": key, "value": value })),
        "numbers": row.finding.as_ref().map_or_else(Map::new, |finding| finding.numbers.clone()),
        "took_ns": u64::try_from(row.took.as_nanos()).unwrap_or(u64::MAX),
    });
    if let Settled::Flaky(results) = &row.settled {
        let each = results
            .iter()
            .map(|(result, count)| (result.word().to_owned(), json!(count)));
        value["results"] = Value::Object(each.collect());
    }
    if let Known::Differs { expected, source } = &row.known {
        value["expected"] = json!({ "result": expected, "source": source });
    }
    value
}

/// A suite for each trace and a case for each claim: a failure differs from what is known, an error was not settled
/// or not run. The time of a trace's lab stands at the suite, and at its first case.
///
/// # Errors
/// A name that XML cannot hold.
pub fn junit(rows: &[Row], release: &str) -> anyhow::Result<String> {
    let mut report = Report::new(format!("probes check on {release}"));
    for chunk in rows.chunk_by(|a, b| a.trace == b.trace) {
        let mut suite = TestSuite::new(chunk[0].trace);
        suite.set_time(chunk[0].took);
        for (at, row) in chunk.iter().enumerate() {
            let mut case = TestCase::new(row.claim.id, status(row));
            case.set_classname(row.trace);
            case.set_time(if at == 0 { row.took } else { Duration::ZERO });
            case.set_system_out(format!("{}: {}", row.result(), row.because()));
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    Ok(report.to_string()?)
}

fn status(row: &Row) -> TestCaseStatus {
    let (kind, message) = match (&row.known, &row.settled) {
        (Known::AsExpected | Known::Nothing, _) => return TestCaseStatus::success(),
        (Known::Differs { expected, source }, _) => (
            NonSuccessKind::Failure,
            format!("{}, expected {expected}: {source}", row.result()),
        ),
        (Known::NotSettled, _) => (
            NonSuccessKind::Error,
            format!("{}: {}", row.result(), row.because()),
        ),
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(message).set_type(match &row.settled {
        Settled::Flaky(_) => "flaky",
        Settled::NotRun(_) => "not run",
        Settled::As(result) => result.word(),
    });
    status
}
