//! A check as a table for a person, a document for a program, and JUnit for a CI.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Map, Value, json};

use super::circumstances::Circumstances;
use super::{Known, Row, Run, Settled, Tally};
use crate::evidence::Table;
use crate::render::table;
use crate::trace::Trace;

/// Schema of the document; `docs/check.schema.json` describes it.
pub const SCHEMA: &str = "probes.check/1";

/// Longer numbers are cut, so that the claims' ids are not.
const NUMBER: usize = 33;

/// The table, then each row that is not as expected in full, what was run again and why, then the count.
pub fn text(rows: &[Row], runs: &[Run]) -> String {
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
            text.push_str(&indented(&sentence));
        }
    }
    for (trace, why) in super::run_again(runs) {
        text.push_str(&format!("\n{trace} was run again:\n{}", indented(why)));
    }
    text.push_str(&format!("\n{}\n", count(&Tally::of(rows))));
    text
}

fn indented(sentence: &str) -> String {
    let lines = crate::render::text::wrap(sentence, crate::render::text::WIDTH - 4);
    lines.iter().map(|line| format!("    {line}\n")).collect()
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
    format!("{} {}", words(key), amount(key, value))
}

/// The words of a number's key, and the unit that it ends with.
fn parts(key: &str) -> (&str, &str) {
    match key.rsplit_once('_') {
        Some((words, unit @ ("ns" | "us" | "ms" | "s" | "bytes"))) => (words, unit),
        Some((words, "count" | "mean" | "errno" | "ratio")) => (words, ""),
        _ => (key, ""),
    }
}

/// `took_ns` → `took`.
pub fn words(key: &str) -> String {
    parts(key).0.replace('_', " ")
}

/// `took_ns`, 1200000 → `1.2 ms`.
pub fn amount(key: &str, value: &Value) -> String {
    let (_, unit) = parts(key);
    let spaced = |text: String| match unit {
        "" => text,
        unit => format!("{text} {unit}"),
    };
    match (value, value.as_f64()) {
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
    }
}

/// What a document is made of beside its rows.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    pub release: &'a str,
    pub runs: &'a [Run],
    pub circumstances: &'a Circumstances,
    pub rounds: usize,
    /// MiB, if the labs of files and disks were given it.
    pub size: Option<u32>,
    pub took: Duration,
    /// It was not interrupted.
    pub whole: bool,
}

/// One document.
pub fn document(rows: &[Row], traces: &[&'static dyn Trace], around: &Around<'_>) -> Value {
    let tally = Tally::of(rows);
    let ran = |trace: &&&dyn Trace| rows.iter().any(|row| row.trace == trace.name());
    json!({
        "schema": SCHEMA,
        "kernel": around.release,
        "rounds": around.rounds,
        "size_mib": around.size,
        "claims": rows.iter().map(row).collect::<Vec<_>>(),
        "traces": traces.iter().filter(ran).map(|its| trace(*its, around)).collect::<Vec<_>>(),
        "summary": {
            "as_expected": tally.as_expected,
            "differ": tally.differ,
            "not_settled": tally.not_settled,
            "not_run": tally.not_run,
            "nothing_known": tally.nothing_known,
        },
        "duration_ns": u64::try_from(around.took.as_nanos()).unwrap_or(u64::MAX),
        "interrupted": !around.whole,
    })
}

/// What its labs ran under, and what they watched with.
fn trace(trace: &dyn Trace, around: &Around<'_>) -> Value {
    let again = super::run_again(around.runs).filter(|(name, _)| *name == trace.name());
    let again: Vec<&str> = again.map(|(_, why)| why).collect();
    let mut own = around.runs.iter().filter(|run| run.trace == trace.name());
    let hooks = own.rfind(|run| run.findings.is_ok()).map(|run| &run.hooks);
    let hooks: Vec<Value> = hooks
        .into_iter()
        .flatten()
        .map(|its| json!({ "hook": its.hook, "attached_as": its.attached_as, "why_not": its.why_not }))
        .collect();
    json!({
        "trace": trace.name(),
        "settings": around.circumstances.settings(trace),
        "functions": around.circumstances.functions(trace),
        "hooks": hooks,
        "run_again": again,
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
    if let Some(expected) = &row.expected {
        value["expected"] = json!({ "result": expected.result.word(), "source": expected.source });
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
