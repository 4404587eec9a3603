//! The fold over hand-made cases: right and wrong schedules, damaged evidence.

use probes_common::event::Kind;
use probes_common::tcp::{PACKET_DROPPED, TcpRetransmit, TcpState};
use serde_json::json;

use super::fold::judge;
use super::script::{CONNECT, CONTROL, LOST, RETURNED};
use super::{GIVES_UP, SCHEDULE};
use crate::evidence::ClaimResult::{Holds, Inconclusive, Refuted, Unsupported};
use crate::evidence::{ClaimResult, Finding};
use crate::stream::Body;
use crate::trace::Ending;
use crate::trace::backoff::testkit::{BEGIN, MS, armed, client, event, limits, log, mark, packet};
use crate::trace::backoff::{COUNTED, law};
use crate::trace::scripted::CaseLog;

const OLD: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];
const LINEAR: [u64; 11] = [1, 1, 1, 1, 1, 2, 4, 8, 16, 32, 64];

/// An attempt whose waits are `units` of 40 ms, a twentieth late.
fn attempt(units: &[u64], linear: Option<u32>, timers: bool) -> CaseLog {
    let mut log = log("schedule/v4", &limits(6, linear));
    let mut at = BEGIN;
    log.marks.push(mark(at, CONNECT, json!({})));
    for (index, unit) in units.iter().enumerate() {
        log.events.push(packet(at, &client(), 2, PACKET_DROPPED));
        if index > 0 {
            let resend = TcpRetransmit {
                id: client(),
                ..TcpRetransmit::default()
            };
            log.events
                .push(event(at, Kind::TcpRetransmit, Body::TcpRetransmit(resend)));
        }
        if timers {
            log.events.push(armed(at, client(), index, unit * 10));
        }
        at += unit * 42 * MS;
    }
    let mut end = TcpState::default();
    (end.id, end.old, end.new) = (client(), 2, 7);
    log.events
        .push(event(at, Kind::TcpState, Body::TcpState(end)));
    let (took, count) = (at - BEGIN, units.len());
    let counted = json!({
        "TcpExtTCPSynRetrans": count - 1, "TcpRetransSegs": count - 1, "TcpExtTCPTimeouts": count,
        "TcpAttemptFails": 1,
    });
    for (name, data) in [
        (RETURNED, json!({ "errno": 110, "took_ns": took })),
        (COUNTED, counted),
        (LOST, json!({ "matched": count, "dropped": count })),
        (CONTROL, json!({ "errno": 0, "state": 1 })),
    ] {
        log.marks.push(mark(at, name, data));
    }
    log.ended_at = Some(at);
    log
}

fn findings(log: &CaseLog) -> [Finding; 2] {
    let outcome = judge(&[log], &Ending::default());
    outcome.findings.try_into().unwrap()
}

fn results(log: &CaseLog) -> [ClaimResult; 2] {
    findings(log).map(|finding| finding.result)
}

fn forget(log: &mut CaseLog, name: &str) {
    log.marks.retain(|mark| mark.name != name);
}

#[test]
fn the_notes_own_row_holds_and_its_end_is_not_the_sysctls() {
    // The notes' row sums up to 124, the law to 127: within an eighth, so only the first claim tells.
    let log = attempt(&law::NOTES, None, true);
    assert_eq!(results(&log)[0], Holds);
}

#[test]
fn doubling_refutes_the_notes_and_is_explained() {
    for timers in [true, false] {
        let [schedule, gives_up] = findings(&attempt(&OLD, None, timers));
        assert_eq!((schedule.id.as_str(), schedule.result), (SCHEDULE, Refuted));
        assert!(
            schedule
                .because
                .contains("7 SYNs, waits 1 2 4 8 16 32 64 s"),
            "{}",
            schedule.because
        );
        assert_eq!((gives_up.id.as_str(), gives_up.result), (GIVES_UP, Holds));
        assert_eq!(gives_up.numbers["real_time_s"], json!(127.0));
    }
}

#[test]
fn linear_timeouts_refute_the_notes_and_are_explained_by_their_sysctl() {
    let [schedule, gives_up] = findings(&attempt(&LINEAR, Some(4), true));
    assert_eq!((schedule.result, gives_up.result), (Refuted, Holds));
    assert!(
        schedule.because.contains("tcp_syn_linear_timeouts 4"),
        "{}",
        schedule.because
    );
    assert_eq!(gives_up.numbers["real_time_s"], json!(131.0));
}

#[test]
fn a_schedule_that_is_nobodys_law_refutes() {
    let tripling = [1, 3, 9, 27, 81, 81, 81];
    let [schedule, _] = findings(&attempt(&tripling, None, true));
    assert_eq!(schedule.result, Refuted);
    assert!(
        schedule.because.contains("not by the sysctls' law either"),
        "{}",
        schedule.because
    );
    let hasty = [1, 1, 1, 1, 1, 1, 1];
    assert_eq!(results(&attempt(&hasty, None, false)), [Refuted, Refuted]);
}

#[test]
fn too_many_or_too_few_resends_refute() {
    assert_eq!(results(&attempt(&OLD[..5], None, true)), [Refuted, Refuted]);
    assert_eq!(results(&attempt(&LINEAR, None, true))[0], Refuted);
}

/// A machine that stalls for as long as is left: the next expiry finds the time of all retries over.
#[test]
fn a_stall_that_uses_up_the_time_settles_nothing() {
    let mut log = attempt(&OLD[..5], None, true);
    let late = 127 * 40 * MS;
    for mark in &mut log.marks {
        if mark.name == RETURNED {
            mark.data = json!({ "errno": 110, "took_ns": late });
        }
    }
    for event in &mut log.events {
        if matches!(event.body, Body::TcpState(_)) {
            event.header.ktime = BEGIN + late;
        }
    }
    assert_eq!(results(&log), [Inconclusive; 2]);
    // Armed otherwise, it is no stall.
    for event in &mut log.events {
        if let Body::TcpTimer(timer) = &mut event.body {
            timer.timeout *= 3;
        }
    }
    assert_eq!(results(&log), [Refuted; 2]);
}

#[test]
fn another_errno_refutes_giving_up() {
    let mut log = attempt(&OLD, None, true);
    forget(&mut log, RETURNED);
    let told = json!({ "errno": 111, "took_ns": 127 * 42 * MS });
    log.marks.push(mark(BEGIN, RETURNED, told));
    assert_eq!(results(&log), [Refuted, Refuted]);
}

/// Takes away the events that match.
fn keep(log: &mut CaseLog, mut keeps: impl FnMut(&Body) -> bool) {
    log.events.retain(|event| keeps(&event.body));
}

#[test]
fn an_event_that_the_kernel_kept_back_changes_nothing_and_is_told() {
    let mut log = attempt(&OLD, None, true);
    let mut seen = 0;
    keep(&mut log, |body| match body {
        Body::TcpRetransmit(_) => {
            seen += 1;
            seen != 3
        }
        Body::TcpTimer(timer) => timer.retransmits != 3,
        Body::TcpState(_) => false,
        _ => true,
    });
    let outcome = judge(&[&log], &Ending::default());
    let results: Vec<ClaimResult> = outcome.findings.iter().map(|f| f.result).collect();
    assert_eq!(results, [Refuted, Holds]);
    let told = outcome.ledger.remarks.join(" ");
    assert!(told.contains("tcp_retransmit_skb missed 1 of 6"), "{told}");
}

#[test]
fn counts_that_disagree_settle_nothing() {
    let mut silent = attempt(&OLD, None, true);
    keep(&mut silent, |body| !matches!(body, Body::TcpRetransmit(_)));
    assert_eq!(results(&silent), [Inconclusive; 2]);
    let mut unseen = attempt(&OLD, None, true);
    let mut packets = 0;
    keep(&mut unseen, |body| {
        packets += u32::from(matches!(body, Body::Packet(_)));
        !matches!(body, Body::Packet(_)) || packets != 4
    });
    assert_eq!(results(&unseen), [Inconclusive; 2]);
}

#[test]
fn evidence_that_is_missing_settles_nothing() {
    for name in [RETURNED, LOST, CONTROL, "limits"] {
        let mut log = attempt(&OLD, None, true);
        forget(&mut log, name);
        assert_eq!(results(&log), [Inconclusive; 2], "{name}");
    }
    let mut unfinished = attempt(&OLD, None, true);
    unfinished.ended_at = None;
    assert_eq!(results(&unfinished), [Inconclusive; 2]);
    let mut silent = attempt(&OLD, None, true);
    forget(&mut silent, CONTROL);
    silent
        .marks
        .push(mark(BEGIN, CONTROL, json!({ "errno": 110, "state": 7 })));
    assert_eq!(results(&silent), [Inconclusive; 2]);
}

#[test]
fn no_case_and_a_missing_hook_are_no_verdicts() {
    let none = judge(&[], &Ending::default());
    assert!(
        none.findings
            .iter()
            .all(|finding| finding.result == Inconclusive)
    );
    let ending = Ending {
        missing: vec![("surgeon".to_owned(), "no clsact".to_owned())],
        ..Ending::default()
    };
    let log = attempt(&OLD, None, true);
    let outcome = judge(&[&log], &ending);
    assert!(
        outcome
            .findings
            .iter()
            .all(|finding| finding.result == Unsupported)
    );
}

#[test]
fn families_that_differ_are_told_apart() {
    let four = attempt(&OLD, None, true);
    let mut six = attempt(&law::NOTES, None, true);
    six.label = "schedule/v6".to_owned();
    let outcome = judge(&[&four, &six], &Ending::default());
    assert_eq!(outcome.findings[0].result, Refuted);
    assert!(outcome.findings[0].because.ends_with("schedule/v4"));
}
