//! The tables of block-io's lab: what became of each part's calls, how long requests took, whose books agree.

use serde_json::json;

use super::facts::{Carried, Facts, others};
use crate::evidence::ledger::{Ledger, Table};

pub fn ledger(cases: &[&Facts], remarks: Vec<String>) -> Ledger {
    let tables = [parts(cases), life(cases), counted(cases), checks(cases)];
    Ledger {
        tables: tables
            .into_iter()
            .filter(|table| !table.rows.is_empty())
            .collect(),
        remarks,
        ..Ledger::default()
    }
}

fn parts(cases: &[&Facts]) -> Table {
    let mut table = Table::new(
        "parts",
        "From calls to requests",
        &[
            ("case", "case"),
            ("part", "part"),
            ("calls_count", "calls"),
            ("called_bytes", "bytes"),
            ("requests_count", "requests"),
            ("carried_bytes", "carried"),
            ("largest_bytes", "largest"),
            ("calls_per_request", "calls/req"),
            ("read_ahead_count", "RAHEAD"),
            ("submitter", "submitter"),
            ("dirtier", "dirtier"),
        ],
    );
    for facts in cases {
        for its in &facts.parts {
            table.rows.push(vec![
                json!(facts.label),
                json!(its.part.name),
                json!(its.part.calls),
                json!(its.part.bytes),
                json!(its.count()),
                json!(its.bytes()),
                json!(its.largest()),
                json!(its.gathered()),
                json!(its.ahead()),
                json!(its.names(|request| request.submitter.comm).join(" ")),
                json!(dirtiers(its)),
            ]);
        }
    }
    table
}

fn dirtiers(its: &Carried) -> Option<String> {
    let names = its.names(|request| request.dirtier.comm).join(" ");
    (!names.trim().is_empty()).then_some(names)
}

fn life(cases: &[&Facts]) -> Table {
    let mut table = Table::new(
        "life",
        "Life of a request, µs: waiting for the driver, in the driver",
        &[
            ("case", "case"),
            ("requests_count", "requests"),
            ("queue_p50_us", "queue p50"),
            ("queue_p99_us", "p99"),
            ("queue_max_us", "max"),
            ("device_p50_us", "device p50"),
            ("device_p99_us", "p99"),
            ("device_max_us", "max"),
        ],
    );
    for facts in cases {
        table.rows.push(vec![
            json!(facts.label),
            json!(facts.queue.count()),
            json!(facts.queue.percentile_us(50)),
            json!(facts.queue.percentile_us(99)),
            json!(facts.queue.max_ns / 1000),
            json!(facts.device.percentile_us(50)),
            json!(facts.device.percentile_us(99)),
            json!(facts.device.max_ns / 1000),
        ]);
    }
    table
}

fn counted(cases: &[&Facts]) -> Table {
    let mut table = Table::new(
        "counted",
        "Counted in the kernel, the whole case",
        &[
            ("case", "case"),
            ("operation", "operation"),
            ("bios_count", "bios"),
            ("splits_count", "splits"),
            ("bio_merges_count", "merged"),
            ("getrqs_count", "made"),
            ("rq_merges_count", "req merged"),
            ("inserts_count", "inserted"),
            ("issues_count", "issued"),
            ("requeues_count", "requeued"),
            ("completions_count", "done"),
            ("completed_bytes", "bytes"),
            ("errors_count", "errors"),
        ],
    );
    for facts in cases {
        let classes = [("read", &facts.totals.read), ("write", &facts.totals.write)];
        for (name, counts) in classes {
            let get = |key: &str| counts.get(key).copied().unwrap_or_default();
            table.rows.push(vec![
                json!(facts.label),
                json!(name),
                json!(get("bios")),
                json!(get("splits")),
                json!(get("backmerges") + get("frontmerges")),
                json!(get("getrqs")),
                json!(get("rq_merges")),
                json!(get("inserts")),
                json!(get("issues")),
                json!(get("requeues")),
                json!(get("completions")),
                json!(get("completed_bytes")),
                json!(get("errors")),
            ]);
        }
        let done = others(&facts.totals);
        let mut row = vec![json!(facts.label), json!("other")];
        row.resize(table.columns.len(), json!(null));
        row[10] = json!(done);
        table.rows.push(row);
    }
    table.detailed()
}

fn checks(cases: &[&Facts]) -> Table {
    let mut table = Table::new(
        "checks",
        "Counts that must be equal",
        &[
            ("case", "case"),
            ("what", "what"),
            ("ours_count", "ours"),
            ("witness_count", "witness"),
            ("agree", "agree"),
        ],
    );
    for facts in cases {
        for check in &facts.checks {
            table.rows.push(vec![
                json!(facts.label),
                json!(check.what),
                json!(check.ours),
                json!(check.witness),
                json!(check.agrees()),
            ]);
        }
    }
    table.detailed()
}
