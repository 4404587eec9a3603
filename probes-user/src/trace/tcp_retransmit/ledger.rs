//! The tables of tcp-retransmit's lab: causes by case, each resend with its loss, and the counts compared.

use serde_json::{Value, json};

use super::case::Judged;
use super::cause::Cause;
use super::rules::ms;
use super::ties::{Resend, Tie};
use super::verdict::Clock;
use crate::evidence::{Ledger, Table};

pub fn ledger(cases: &[Judged], clock: &Clock) -> Ledger {
    Ledger {
        tables: vec![causes(cases), resends(cases, clock), checks(cases)],
        remarks: remarks(cases),
        timeline: Vec::new(),
    }
}

/// Column keys of the causes, in the order of [`Cause::ALL`].
pub const KEYS: [&str; Cause::ALL.len()] = [
    "syn_count",
    "syn_ack_count",
    "rto_count",
    "after_rto_count",
    "tlp_count",
    "fast_count",
    "rack_timer_count",
    "path_mtu_count",
    "unknown_count",
];

fn causes(cases: &[Judged]) -> Table {
    let mut columns = vec![("case", "case"), ("dropped_count", "dropped")];
    columns.extend(KEYS.into_iter().zip(Cause::ALL.map(Cause::name)));
    columns.push(("needless_count", "needless"));
    let mut table = Table::new("causes", "Resends by cause", &columns);
    for case in cases {
        let mut row = vec![
            json!(case.label),
            json!(case.lost.len() as u64 + case.acks_dropped),
        ];
        let count = |cause| case.resends.iter().filter(|its| its.cause == cause).count();
        row.extend(Cause::ALL.map(|cause| json!(count(cause))));
        row.push(json!(
            case.resends.iter().filter(|its| its.needless).count()
        ));
        table.rows.push(row);
    }
    table
}

fn resends(cases: &[Judged], clock: &Clock) -> Table {
    let columns = [
        ("case", "case"),
        ("at_ms", "at ms"),
        ("cause", "cause"),
        ("by", "told by"),
        ("backoff_step", "step"),
        ("bytes", "bytes"),
        ("copy_count", "copy"),
        ("lost", "lost"),
        ("since_loss_ms", "since ms"),
        ("armed_ms", "armed ms"),
        ("next_ms", "next ms"),
        ("srtt_us", "srtt µs"),
    ];
    let mut table = Table::new("resends", "Each resend and the loss it answers", &columns);
    for case in cases {
        table
            .rows
            .extend(case.resends.iter().map(|its| row(case, its, clock)));
    }
    table
}

fn row(case: &Judged, its: &Resend, clock: &Clock) -> Vec<Value> {
    let lost = match its.tie {
        Tie::SegmentLost { .. } => "segment",
        Tie::AckLost { .. } => "ACK",
        Tie::Nothing => "nothing",
    };
    let jiffies = |count: Option<u64>| count.map_or(Value::Null, |n| json!(ms(clock.ns(n))));
    vec![
        json!(case.label),
        json!(ms(its.time.saturating_sub(case.begun_at))),
        json!(its.cause.name()),
        json!(its.by.name()),
        json!(its.backoff),
        json!(its.range.end.wrapping_sub(its.range.start)),
        json!(its.copy),
        json!(lost),
        its.tie
            .lost_at()
            .map_or(Value::Null, |at| json!(ms(its.time.saturating_sub(at)))),
        jiffies(its.waited),
        jiffies(its.armed),
        json!(its.srtt_us),
    ]
}

fn checks(cases: &[Judged]) -> Table {
    let columns = [
        ("case", "case"),
        ("what", "what"),
        ("traced_count", "traced"),
        ("witness_count", "witness"),
        ("witness", "by"),
        ("agree", "agree"),
    ];
    let mut table = Table::new("checks", "Independent counts", &columns).detailed();
    for case in cases {
        for check in &case.checks {
            table.rows.push(vec![
                json!(case.label),
                json!(check.what),
                json!(check.ours),
                json!(check.theirs),
                json!(check.witness),
                json!(check.agrees()),
            ]);
        }
    }
    table
}

fn remarks(cases: &[Judged]) -> Vec<String> {
    let all = || cases.iter().flat_map(|case| &case.resends);
    let unknown = all().filter(|its| its.cause == Cause::Unknown).count();
    let failed = all().filter(|its| its.err != 0).count();
    let mut remarks = Vec::new();
    if unknown > 0 {
        remarks.push(format!(
            "{unknown} resends of unknown cause: neither stack nor socket told"
        ));
    }
    if failed > 0 {
        remarks.push(format!(
            "{failed} resends were not sent after all: the way out refused them"
        ));
    }
    remarks
}
