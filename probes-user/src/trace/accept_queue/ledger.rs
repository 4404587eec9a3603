//! The table of accept-queue: what met the full queue, and what came of it on both ends.

use serde_json::json;

use super::facts::Facts;
use crate::evidence::ledger::{Ledger, Table};
use crate::lab::queue::socket::{CLOSE, ESTABLISHED, SYN_SENT};

pub fn ledger(cases: &[&Facts]) -> Ledger {
    let mut table = Table::new(
        "overflows",
        "One segment at a full accept queue",
        &[
            ("case", "case"),
            ("limit_count", "limit"),
            ("waiting_count", "waiting"),
            ("came_in_count", "segments"),
            ("overflows_count", "overflows"),
            ("client", "client"),
            ("half_open_count", "half-open"),
            ("synacks_count", "SYN-ACK"),
            ("resets_count", "RST"),
            ("came_through", "drained"),
        ],
    );
    for facts in cases {
        let last = facts.last();
        let drained = if facts.drained.came_through {
            "accepted"
        } else {
            "gone"
        };
        table.rows.push(vec![
            json!(facts.label),
            json!(facts.limits.max_ack_backlog),
            json!(facts.full.waiting),
            json!(facts.came_in),
            json!(facts.overflows()),
            json!(state(last.client)),
            json!(last.half_open),
            json!(facts.synacks_after),
            json!(facts.resets),
            json!(drained),
        ]);
    }
    let mut ledger = Ledger::default();
    if !table.rows.is_empty() {
        ledger.tables.push(table);
    }
    ledger
}

fn state(number: u8) -> String {
    match number {
        ESTABLISHED => "ESTABLISHED".to_owned(),
        SYN_SENT => "SYN_SENT".to_owned(),
        CLOSE => "CLOSE".to_owned(),
        other => format!("state {other}"),
    }
}
