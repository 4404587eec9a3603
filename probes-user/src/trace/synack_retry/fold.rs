//! Judges the cases: the row of SYN-ACKs against the law of the namespace's sysctls, and what the client
//! found while the server waited and afterwards.

use serde_json::{Value, json};

use super::case::{Handshake, Looks};
use super::script::{ACCEPTED, DATA, LOST};
use super::{CLAIMS, ESTABLISHED, RESENDS};
use crate::evidence::ledger::Table;
use crate::evidence::{Claim, ClaimResult, Finding, Ledger};
use crate::trace::backoff::ends;
use crate::trace::backoff::fit::{Fit, fit, ms};
use crate::trace::backoff::tables::{
    Check, checks_table, disagreement, missed_remarks, schedule_rows, schedule_table, speed_remark,
    units,
};
use crate::trace::backoff::verdict::{self, Verdict};
use crate::trace::scripted::CaseLog;
use crate::trace::{Ending, Outcome};

const ECONNRESET: i64 = 104;

type Judged<'a> = (&'a str, Result<Handshake, String>);

pub fn judge(logs: &[&CaseLog], ending: &Ending) -> Outcome {
    let lost = logs.iter().filter(|log| log.label.starts_with(LOST));
    let cases: Vec<Judged<'_>> = lost
        .map(|log| (log.label.as_str(), Handshake::of(log)))
        .collect();
    let ledger = ledger(&cases, logs);
    if cases.is_empty() && !logs.is_empty() {
        // Only the contrast was asked for.
        let findings = Vec::new();
        return Outcome { findings, ledger };
    }
    let blocked = ending.blocks(&["SkbDrop"]);
    let contrast = logs.iter().find_map(|log| contrast_failed(log));
    let findings = CLAIMS.iter().map(|claim| match (&blocked, &contrast) {
        (Some((result, why)), _) => verdict::of(claim, Verdict::new(*result, why.clone())),
        (None, Some(why)) => verdict::of(claim, Verdict::inconclusive(why.clone())),
        (None, None) => settle(claim, &cases),
    });
    Outcome {
        findings: findings.collect(),
        ledger,
    }
}

fn settle(claim: &Claim, cases: &[Judged<'_>]) -> Finding {
    let verdict = |handshake: &Handshake| match claim.id {
        RESENDS => resends(handshake),
        _ => {
            debug_assert_eq!(claim.id, ESTABLISHED);
            established(handshake)
        }
    };
    let judged = cases.iter().map(|(label, case)| {
        let verdict = match case {
            Ok(handshake) => verdict(handshake),
            Err(why) => Verdict::inconclusive(why.clone()),
        };
        (*label, verdict)
    });
    verdict::finding(claim, judged.collect())
}

fn resends(its: &Handshake) -> Verdict {
    let count = its.row.sends.len();
    let total: u64 = its.law.iter().sum();
    let (row, real) = (units(&its.law, &its.limits), its.limits.real_s(total));
    let verdict = match (
        disagreement(&its.checks),
        fit(&its.law, &its.row, &its.limits),
    ) {
        (Some(why), _) => Verdict::inconclusive(format!("counts disagree: {why}")),
        (None, Fit::Unsure(why)) => Verdict::inconclusive(why),
        (None, Fit::No(why)) => Verdict::new(ClaimResult::Refuted, why),
        (None, Fit::Yes) => {
            let resent = count.saturating_sub(1);
            let text = format!(
                "{resent} resends, waits {row} s, forgotten after {real} s in real time; tcp_synack_retries {}",
                its.limits.retries
            );
            Verdict::new(ClaimResult::Holds, text)
        }
    };
    verdict
        .number("synacks_count", count)
        .number("retries_count", its.limits.retries)
        .number("initial_timeout_ns", its.limits.first_ns)
        .number("waits_measured", units(&its.row.waits(), &its.limits))
        .number("waits_by_law", row)
        .number("real_time_s", real)
}

/// The states that the client showed before it wrote, other than ESTABLISHED.
fn other_state(looks: &Looks) -> Option<u64> {
    let mut states = looks.states.iter().map(|(_, state)| *state);
    states.find(|state| *state != u64::from(ends::ESTABLISHED))
}

fn established(its: &Handshake) -> Verdict {
    let looks = &its.looks;
    let half_open = looks.states.iter().filter(|(open, _)| *open).count();
    let gone = looks.states.len() - half_open;
    let held = ms(looks.held_ns);
    let refuted = |text: String| Verdict::new(ClaimResult::Refuted, text);
    let verdict = if let Some(why) = disagreement(&its.checks) {
        Verdict::inconclusive(format!("counts disagree: {why}"))
    } else if let Some(state) = other_state(looks) {
        refuted(format!("before it wrote the client was in state {state}"))
    } else if looks.resets_before > 0 || looks.errors_before > 0 {
        let (resets, errors) = (looks.resets_before, looks.errors_before);
        refuted(format!(
            "{resets} resets and {errors} errors before it wrote"
        ))
    } else if half_open == 0 || gone == 0 {
        let text = format!("{half_open} looks with the request half-open, {gone} without");
        Verdict::inconclusive(text)
    } else if looks.resets_after == 0 {
        Verdict::inconclusive("the reset that its write should provoke was not seen")
    } else if looks.errno != ECONNRESET {
        refuted(format!("its write ended with errno {}", looks.errno))
    } else {
        let text = format!(
            "ESTABLISHED at all {} looks in {held} ms, {gone} of them after the request was gone; no reset \
             until it wrote, then ECONNRESET",
            looks.states.len()
        );
        Verdict::new(ClaimResult::Holds, text)
    };
    verdict
        .number("looks_half_open_count", half_open)
        .number("looks_gone_count", gone)
        .number("acks_lost_count", looks.acks_lost)
        .number("resets_before_write_count", looks.resets_before)
        .number("resets_after_write_count", looks.resets_after)
        .number("errno_after_write", looks.errno)
        .number("held_ns", looks.held_ns)
}

/// A contrast that did not come about: then something else than the lost ACK kept the server waiting.
fn contrast_failed(log: &CaseLog) -> Option<String> {
    let contrast = log.label.starts_with(DATA) && log.ended_at.is_some();
    let received = log.said(ACCEPTED, "received").and_then(Value::as_u64);
    let failed = contrast && received != Some(1);
    failed.then(|| format!("{}: the server did not get what carried the ACK", log.label))
}

fn ledger(cases: &[Judged<'_>], logs: &[&CaseLog]) -> Ledger {
    let judged: Vec<(&str, &Handshake)> = cases
        .iter()
        .filter_map(|(label, case)| Some((*label, case.as_ref().ok()?)))
        .collect();
    let mut schedule = schedule_table("SYN-ACK");
    for (label, its) in &judged {
        schedule_rows(&mut schedule, label, &its.row, &its.law, &[], &its.limits);
    }
    let checks: Vec<(&str, &[Check])> = judged
        .iter()
        .map(|(label, its)| (*label, its.checks.as_slice()))
        .collect();
    let mut remarks = Vec::new();
    if let Some((_, first)) = judged.first() {
        remarks.push(speed_remark(&first.limits));
    }
    let all_checks = judged.iter().flat_map(|(_, its)| &its.checks);
    remarks.extend(missed_remarks(all_checks));
    let contrasts = logs.iter().filter(|log| log.label.starts_with(DATA));
    let contrasts = contrasts.filter(|log| log.said(ACCEPTED, "received") == Some(&json!(1)));
    let labels: Vec<&str> = contrasts.map(|log| log.label.as_str()).collect();
    if !labels.is_empty() {
        let labels = labels.join(", ");
        remarks.push(format!(
            "{labels}: with the ACK lost, one byte that the client writes carries it too and ends the wait."
        ));
    }
    Ledger {
        tables: vec![schedule, both_ends(&judged), checks_table(&checks)],
        remarks,
        timeline: Vec::new(),
    }
}

fn both_ends(judged: &[(&str, &Handshake)]) -> Table {
    let columns = [
        ("case", "case"),
        ("acks_lost_count", "ACKs lost"),
        ("looks_half_open_count", "looks: half-open"),
        ("looks_gone_count", "gone"),
        ("established_count", "client ESTABLISHED"),
        ("resets_before_count", "resets before it wrote"),
        ("resets_after_count", "after"),
        ("errno", "errno"),
    ];
    let mut table = Table::new("ends", "What both ends held for true", &columns);
    for (label, its) in judged {
        let looks = &its.looks;
        let states = &looks.states;
        let established = u64::from(ends::ESTABLISHED);
        table.rows.push(vec![
            json!(label),
            json!(looks.acks_lost),
            json!(states.iter().filter(|(open, _)| *open).count()),
            json!(states.iter().filter(|(open, _)| !*open).count()),
            json!(
                states
                    .iter()
                    .filter(|(_, state)| *state == established)
                    .count()
            ),
            json!(looks.resets_before),
            json!(looks.resets_after),
            json!(looks.errno),
        ]);
    }
    table
}
