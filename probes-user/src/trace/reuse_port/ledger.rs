//! The tables of the scripts; `checks` is one with the herd's.

use serde_json::{Value, json};

use super::binds::{Role, STEPS};
use super::result::{CaseResult, SampleResult};
use super::tuples::Kind;
use crate::evidence::statistics::{chi_square, rounded};
use crate::evidence::{Ledger, Table};

pub fn ledger(cases: &[CaseResult]) -> Ledger {
    let differ = cases.iter().flat_map(|case| {
        let odd = case.checks.iter().filter(|check| !check.agrees());
        odd.map(move |check| format!("{}: counts differ: {}", case.label, check.told()))
    });
    Ledger {
        tables: vec![balance(cases), replays(cases), binds(cases), checks(cases)],
        remarks: differ.collect(),
        timeline: Vec::new(),
    }
}

/// Tables of one name become one.
pub fn add(to: &mut Ledger, more: Ledger) {
    for table in more.tables {
        match to.tables.iter_mut().find(|its| its.id == table.id) {
            Some(same) => same.rows.extend(table.rows),
            None => to.tables.push(table),
        }
    }
    to.remarks.extend(more.remarks);
}

fn of<'a>(cases: &'a [CaseResult], what: &str) -> impl Iterator<Item = &'a CaseResult> {
    let prefix = format!("{what}/");
    cases
        .iter()
        .filter(move |case| case.label.starts_with(&prefix))
}

fn balance(cases: &[CaseResult]) -> Table {
    let columns = [
        ("scene", "scene"),
        ("connections_count", "connections"),
        ("socket0_count", "socket 0"),
        ("socket1_count", "1"),
        ("socket2_count", "2"),
        ("socket3_count", "3"),
        ("chi_square", "chi-square"),
    ];
    let mut table = Table::new("sockets", "Connections by socket", &columns);
    for case in of(cases, "balance") {
        table.rows.extend(case.samples.iter().map(|sample| {
            let counts = sample.counts();
            let mut row = vec![json!(case.label), json!(sample.sample.count)];
            row.extend(counts.iter().map(|count| json!(count)));
            row.push(rounded(chi_square(&counts)));
            row
        }));
    }
    table
}

fn replays(cases: &[CaseResult]) -> Table {
    let columns = [
        ("scene", "scene"),
        ("differ_in", "differ in"),
        ("round", "round"),
        ("cpu", "cpu"),
        ("tuples_count", "tuples"),
        ("as_before_count", "as before"),
        ("sockets", "socket of each tuple"),
    ];
    let title = "The same tuples again, each time in the other order";
    let mut table = Table::new("replays", title, &columns).detailed();
    for case in of(cases, "by-hash") {
        let mut first: Option<(Kind, &SampleResult)> = None;
        for sample in &case.samples {
            let its = &sample.sample;
            let before = first
                .filter(|(kind, _)| *kind == its.kind)
                .map(|(_, it)| it);
            let before = before.unwrap_or(sample);
            first = Some((its.kind, before));
            let (kept, _) = super::verdict::replay(&[before, sample]);
            let sockets = sample.reached.iter().flatten().map(u8::to_string);
            table.rows.push(vec![
                json!(case.label),
                json!(its.kind.name()),
                json!(its.round),
                json!(its.cpu),
                json!(its.count),
                json!(kept),
                json!(sockets.collect::<String>()),
            ]);
        }
    }
    table
}

fn binds(cases: &[CaseResult]) -> Table {
    let columns = [
        ("scene", "scene"),
        ("by", "bind() by"),
        ("expected", "expected"),
        ("errno", "errno"),
        ("owners", "then listen (uid)"),
    ];
    let mut table = Table::new("binds", "Who gets the port", &columns);
    for case in of(cases, "same-uid") {
        table.rows.extend(case.binds.iter().map(|bound| {
            let step = STEPS.iter().find(|step| step.name == bound.step);
            let owners: Vec<String> = bound.listening.iter().map(u32::to_string).collect();
            let expected = match step.map(|step| step.role) {
                Some(Role::Refused) => json!("EADDRINUSE"),
                Some(Role::Given | Role::Control) => json!("given"),
                None => Value::Null,
            };
            vec![
                json!(case.label),
                json!(step.map(|step| step.text)),
                expected,
                json!(bound.errno),
                json!(owners.join(" ")),
            ]
        }));
    }
    table
}

fn checks(cases: &[CaseResult]) -> Table {
    let columns = [
        ("scene", "scene"),
        ("what", "what"),
        ("agrees", "agrees"),
        ("counts", "counts"),
    ];
    let title = "Independent counts of the same thing";
    let mut table = Table::new("checks", title, &columns).detailed();
    for case in cases {
        table.rows.extend(case.checks.iter().map(|check| {
            vec![
                json!(case.label),
                json!(check.what),
                json!(check.agrees()),
                json!(check.told()),
            ]
        }));
    }
    table
}
