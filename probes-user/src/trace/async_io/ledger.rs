//! The lab's tables: each request with the way it took, each call with its sleeps.

use serde_json::json;

use super::evidence::{self, words};
use crate::evidence::Ledger;
use crate::evidence::ledger::Table;
use crate::kernel::uring::opcode;
use crate::trace::scripted::Cases;

pub fn of_lab(cases: &Cases) -> Ledger {
    let mut ledger = Ledger::default();
    let (mut ways, mut made) = (requests(), calls());
    for log in cases.logs() {
        for seen in evidence::requests(log) {
            let completion = seen.completion();
            ways.rows.push(vec![
                json!(seen.request.name),
                json!(completion.map(|(_, done)| opcode(done.opcode))),
                json!(seen.way().map(words)),
                json!(seen.latency().map(|ns| ns / 1000)),
                json!(seen.early()),
                json!(seen.reaped.as_ref().map(|its| its.res)),
                json!(seen.done.len()),
                json!(completion.map(|(_, done)| done.polls)),
            ]);
        }
        for call in evidence::calls(log) {
            let returned = call.returned.as_ref();
            made.rows.push(vec![
                json!(call.call.name),
                json!(returned.map(|its| its.ret)),
                json!(call.sleeps),
                json!(call.took().map(|ns| ns / 1000)),
                json!(returned.map(|its| its.complete)),
                json!(returned.map(|its| its.res)),
                json!(call.agrees()),
            ]);
        }
    }
    for table in [ways, made] {
        if !table.rows.is_empty() {
            ledger.tables.push(table);
        }
    }
    ledger
}

fn requests() -> Table {
    Table::new(
        "requests",
        "requests of io_uring, and the way of each",
        &[
            ("name", "request"),
            ("opcode", "opcode"),
            ("way", "done"),
            ("latency_us", "µs"),
            ("after_return", "after return"),
            ("result", "result"),
            ("completions_count", "seen"),
            ("armed_count", "armed"),
        ],
    )
}

fn calls() -> Table {
    Table::new(
        "calls",
        "reads that may not wait, and io_submit",
        &[
            ("name", "call"),
            ("ret", "returned"),
            ("sleeps_count", "sleeps"),
            ("took_us", "µs"),
            ("complete_count", "complete"),
            ("result", "result"),
            ("agrees", "agrees"),
        ],
    )
}
