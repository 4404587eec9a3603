//! The tables of syn-queue: what each flood left, what became of the genuine connections, what they agreed on.

use serde_json::{Value, json};

use super::facts::{COOKIES_SENT, COOKIES_VALID, FULL_DROP, Facts, Phase};
use super::options::{names_text, seen};
use crate::evidence::ledger::{Ledger, Table};

pub fn ledger(cases: &[&Facts]) -> Ledger {
    let mut ledger = Ledger {
        tables: vec![floods(cases), connections(cases), options(cases)],
        ..Ledger::default()
    };
    ledger.tables.retain(|table| !table.rows.is_empty());
    ledger
}

fn floods(cases: &[&Facts]) -> Table {
    let mut table = Table::new(
        "floods",
        "Half-open connections at the end of each flood",
        &[
            ("case", "case"),
            ("backlog_count", "backlog"),
            ("somaxconn_count", "somaxconn"),
            ("max_syn_backlog_count", "max_syn"),
            ("limit_count", "limit"),
            ("spoofed_count", "SYNs"),
            ("half_open_count", "half-open"),
            ("request_timers_count", "timers"),
            ("queue_full_drops_count", "full"),
            ("listen_drops_count", "dropped"),
            ("cookies_sent_count", "cookies"),
        ],
    );
    for facts in cases {
        let Some(flood) = &facts.flood else { continue };
        let limits = &facts.limits;
        table.rows.push(vec![
            json!(facts.label),
            json!(limits.backlog),
            json!(limits.somaxconn),
            json!(limits.max_syn_backlog),
            json!(limits.max_ack_backlog),
            json!(flood.sent),
            json!(flood.half_open),
            json!(facts.flood_requests),
            json!(flood.counter(FULL_DROP)),
            json!(flood.counter("TcpExtListenDrops")),
            json!(flood.counter(COOKIES_SENT)),
        ]);
    }
    table
}

fn connections(cases: &[&Facts]) -> Table {
    let mut table = Table::new(
        "connections",
        "Genuine connections",
        &[
            ("case", "case"),
            ("step", "when"),
            ("tries_count", "conns"),
            ("came_through_count", "through"),
            ("answered_count", "SYN-ACK"),
            ("request_timers_count", "timers"),
            ("queue_full_drops_count", "full"),
            ("cookies_sent_count", "cookies"),
            ("cookies_valid_count", "valid"),
            ("half_open_before_count", "half-open"),
            ("half_open_after_count", "after"),
        ],
    );
    for facts in cases {
        let steps = [
            ("without cookies", &facts.contrast),
            ("before", &facts.control),
            ("after", &facts.attempts),
        ];
        let steps = steps
            .into_iter()
            .filter_map(|(step, phase)| Some((step, phase.as_ref()?)));
        table
            .rows
            .extend(steps.map(|(step, phase)| connection(facts, step, phase)));
    }
    table
}

fn connection(facts: &Facts, step: &str, phase: &Phase) -> Vec<Value> {
    let told = &phase.told;
    vec![
        json!(facts.label),
        json!(step),
        json!(told.tries.len()),
        json!(told.came_through()),
        json!(phase.answered),
        json!(phase.requests),
        json!(told.counter(FULL_DROP)),
        json!(told.counter(COOKIES_SENT)),
        json!(told.counter(COOKIES_VALID)),
        json!(told.half_open_before),
        json!(told.half_open_after),
    ]
}

fn options(cases: &[&Facts]) -> Table {
    let mut table = Table::new(
        "options",
        "What the connections were set up with",
        &[
            ("case", "case"),
            ("synack", "SYN-ACK"),
            ("server", "server"),
            ("client", "client"),
            ("snd_wscale_count", "wscale"),
            ("snd_mss_bytes", "MSS"),
        ],
    );
    for facts in cases.iter().filter(|its| its.label.starts_with("options/")) {
        let Some(phase) = &facts.attempts else {
            continue;
        };
        let server = phase.told.tries.first().and_then(|its| its.server);
        for seen in seen(phase) {
            table.rows.push(vec![
                json!(facts.label),
                json!(names_text(seen.synack)),
                json!(names_text(seen.server)),
                json!(names_text(seen.client)),
                json!(server.map(|its| its.snd_wscale)),
                json!(server.map(|its| its.snd_mss)),
            ]);
        }
    }
    table.detailed()
}
