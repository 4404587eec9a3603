//! The report for a program: one document, as `docs/report.schema.json` describes it.

use serde_json::{Map, Value, json};

use super::report::{HookReport, Report, SCHEMA};
use crate::evidence::{Finding, Ledger, Table};

pub fn document(report: &Report) -> Value {
    let mut document = Map::new();
    let mut put = |key: &str, value: Value| document.insert(key.to_owned(), value);
    put("schema", json!(SCHEMA));
    put("trace", json!(report.trace));
    put("mode", json!(report.mode));
    put("kernel", json!(report.kernel));
    put("options", report.options.clone());
    put("claims", report.findings.iter().map(claim).collect());
    put("ledger", ledger(&report.ledger));
    put("losses", losses(report));
    put("hooks", report.hooks.iter().map(hook).collect());
    put("duration_ns", json!(report.ending.duration_ns));
    put("interrupted", json!(report.ending.interrupted));
    let optional = [
        (
            "lab_error",
            report.ending.lab_error.as_ref().map(|error| json!(error)),
        ),
        (
            "record_error",
            report.record_error.as_ref().map(|error| json!(error)),
        ),
        ("stats", report.stats.as_ref().map(|stats| json!(stats))),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            put(key, value);
        }
    }
    Value::Object(document)
}

fn claim(finding: &Finding) -> Value {
    json!({
        "id": finding.id,
        "result": finding.result.word(),
        "statement": finding.statement,
        "because": finding.because,
        "numbers": finding.numbers,
    })
}

/// A ledger alone, for the intervals of a watch.
pub fn ledger(ledger: &Ledger) -> Value {
    let tables: Map<String, Value> = ledger
        .tables
        .iter()
        .map(|table| (table.id.clone(), rows(table)))
        .collect();
    json!({ "tables": tables, "remarks": ledger.remarks, "timeline": ledger.timeline })
}

/// One object per row.
fn rows(table: &Table) -> Value {
    let row = |cells: &Vec<Value>| -> Value {
        let keys = table.columns.iter().map(|column| column.key.clone());
        Value::Object(keys.zip(cells.iter().cloned()).collect())
    };
    table.rows.iter().map(row).collect()
}

fn losses(report: &Report) -> Value {
    json!({
        "emitted": report.ending.emitted,
        "lost": report.ending.lost,
        "failed": report.ending.failed,
        "gaps": report.ending.gaps,
        "skipped": report.ending.skipped,
    })
}

fn hook(hook: &HookReport) -> Value {
    let mut value = json!({
        "hook": hook.hook,
        "attached_as": hook.attached_as,
        "needed": hook.needed,
        "lost_without": hook.lost_without,
    });
    if let (Some(why), Value::Object(map)) = (&hook.why_not, &mut value) {
        map.insert("why_not".to_owned(), json!(why));
    }
    value
}
