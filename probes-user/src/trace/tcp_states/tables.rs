//! The tables of lab and watch.

use serde_json::{Value, json};

use super::judge::Played;
use super::peers::connect_ns;
use crate::evidence::{Ledger, Table};
use crate::kernel::tcp::state_name;
use crate::trace::tcp::flow::{Flow, Role, Source};

/// Both ends of every case with the time in each state.
pub fn lab(played: &[Played<'_>]) -> Ledger {
    let mut lives = Table::new(
        "lives",
        "States of both ends, with the time in each",
        &[("case", "case"), ("end", "end"), ("states", "states")],
    );
    let mut spans = Table::new(
        "spans",
        "Time in each state",
        &[
            ("case", "case"),
            ("end", "end"),
            ("state", "state"),
            ("span_ns", "ns"),
        ],
    )
    .detailed();
    let mut checks = Table::new(
        "checks",
        "The namespace's counters against the events",
        &[
            ("case", "case"),
            ("counter", "counter"),
            ("counted_count", "counted"),
            ("events_count", "by events"),
        ],
    )
    .detailed();
    for case in played {
        let label = &case.log.label;
        let now = case.log.ended_at.unwrap_or_default();
        for (end, flow) in case.ends() {
            lives
                .rows
                .push(vec![json!(label), json!(end), json!(life(flow, now))]);
            for (state, span) in flow.spans(now) {
                spans.rows.push(vec![
                    json!(label),
                    json!(end),
                    json!(state_name(state)),
                    json!(span),
                ]);
            }
        }
        for (counter, counted, events) in case.counts() {
            checks.rows.push(vec![
                json!(label),
                json!(counter),
                json!(counted),
                json!(events),
            ]);
        }
    }
    Ledger {
        tables: vec![lives, spans, checks],
        ..Ledger::default()
    }
}

/// `SYN_SENT 20 µs, ESTABLISHED 3 ms, …`; + = it goes on; ? = its begin was not seen.
pub fn life(flow: &Flow, now: u64) -> String {
    let spans = flow.spans(now);
    let last = spans.len().saturating_sub(1);
    let words = spans.into_iter().enumerate().map(|(at, (state, span))| {
        let goes_on = if at == last && flow.ended.is_none() {
            "+"
        } else {
            ""
        };
        match span {
            Some(ns) => format!("{} {}{goes_on}", state_name(state), time(ns)),
            None => format!("{} ?", state_name(state)),
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

/// With the unit that leaves one to four figures.
fn time(ns: u64) -> String {
    let ns = ns as f64;
    match ns {
        _ if ns < 1e4 => format!("{:.1} µs", ns / 1e3),
        _ if ns < 1e6 => format!("{:.0} µs", ns / 1e3),
        _ if ns < 1e7 => format!("{:.1} ms", ns / 1e6),
        _ if ns < 1e9 => format!("{:.0} ms", ns / 1e6),
        _ => format!("{:.1} s", ns / 1e9),
    }
}

/// Connections that are closed, in the order in which they were. Those in TIME_WAIT are among them.
pub fn connections(flows: &[&Flow], now: u64) -> [Table; 2] {
    let mut ended = Table::new(
        "connections",
        "Connections that were closed",
        &[
            ("n", "n"),
            ("pid", "pid"),
            ("process", "process"),
            ("owner_by", "known by"),
            ("role", "role"),
            ("local", "local"),
            ("remote", "remote"),
            ("duration_ms", "ms"),
            ("acked_bytes", "acked"),
            ("received_bytes", "received"),
            ("rtt_us", "rtt µs"),
        ],
    );
    let mut lives = Table::new(
        "lives",
        "Their states, with the time in each",
        &[
            ("n", "n"),
            ("connect_us", "connect µs"),
            ("states", "states"),
        ],
    );
    for (number, flow) in (1_u64..).zip(flows) {
        // Of an older one the begin is not known.
        let lasted = flow.closed.filter(|_| flow.role != Role::Unknown);
        let lasted = lasted.map(|closed| closed.saturating_sub(flow.begun) as f64 / 1e6);
        let (pid, process, by) = owner(flow);
        ended.rows.push(vec![
            json!(number),
            pid,
            process,
            by,
            json!(flow.role.word()),
            json!(flow.ends.local.to_string()),
            json!(flow.ends.remote.to_string()),
            json!(lasted),
            json!(flow.snap.bytes_acked),
            json!(flow.snap.bytes_received),
            json!(flow.snap.srtt_us),
        ]);
        lives.rows.push(vec![
            json!(number),
            json!(connect_ns(flow).map(|ns| ns as f64 / 1e3)),
            json!(life(flow, now)),
        ]);
    }
    [ended, lives]
}

/// Sockets as they are now.
pub fn open(mut flows: Vec<&Flow>, now: u64) -> Table {
    let mut table = Table::new(
        "sockets",
        "Sockets open now",
        &[
            ("pid", "pid"),
            ("process", "process"),
            ("owner_by", "known by"),
            ("role", "role"),
            ("local", "local"),
            ("remote", "remote"),
            ("state", "state"),
            ("in_state_ms", "ms in it"),
        ],
    );
    flows.sort_by_key(|flow| {
        (
            flow.ends.local.port(),
            flow.ends,
            flow.sock,
            flow.generation,
        )
    });
    for flow in flows {
        let (pid, process, by) = owner(flow);
        let since = flow.path.last().and_then(|step| step.since);
        let span = since.map(|since| now.saturating_sub(since) as f64 / 1e6);
        table.rows.push(vec![
            pid,
            process,
            by,
            json!(flow.role.word()),
            json!(flow.ends.local.to_string()),
            json!(flow.ends.remote.to_string()),
            json!(state_name(flow.state())),
            json!(span),
        ]);
    }
    table
}

/// pid, name, and how it is known.
pub(super) fn owner(flow: &Flow) -> (Value, Value, Value) {
    match &flow.owner {
        Some(its) => (
            json!(its.pid),
            json!(its.comm),
            json!(Source::word(its.source)),
        ),
        None => (Value::Null, Value::Null, Value::Null),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_to_four_figures() {
        let times = [1_230, 45_678, 2_500_000, 45_000_000, 60_123_456_789].map(time);
        assert_eq!(times, ["1.2 µs", "46 µs", "2.5 ms", "45 ms", "60.1 s"]);
    }
}
