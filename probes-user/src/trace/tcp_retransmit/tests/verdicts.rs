//! From whole cases to findings: what holds, what refutes, what is not judged.

use serde_json::json;

use super::kit::*;
use crate::evidence::ClaimResult::{self, Holds, Inconclusive, Refuted, Unsupported};
use crate::evidence::Finding;
use crate::stream::Mark;
use crate::trace::Ending;
use crate::trace::scripted::CaseLog;
use crate::trace::tcp_retransmit::case::Judged;
use crate::trace::tcp_retransmit::claims;
use crate::trace::tcp_retransmit::lab::{FLIGHTS, SETTLED};
use crate::trace::tcp_retransmit::verdict::{Clock, judge};

const JIFFY: u64 = 4 * MS;
const SYN_ACK: u8 = 18;

/// A case whose independent counts are those of its stream.
fn log(label: &str, wire: Wire, nstat: &[(&str, u64)]) -> CaseLog {
    let mut whole = Wire::default();
    whole
        .packet(1, true, 10, 0, 2, 0, true)
        .packet(2, false, 20, 0, SYN_ACK, 11, true);
    whole.events.extend(wire.events);
    let resent = nstat.iter().find(|(name, _)| *name == "TcpRetransSegs");
    let mark = Mark {
        ktime: u64::MAX,
        name: SETTLED.to_owned(),
        data: json!({ "intact": true, "total_retrans": resent.map_or(0, |its| its.1) }),
    };
    CaseLog {
        label: label.to_owned(),
        netns: 7,
        ended_at: Some(u64::MAX),
        marks: vec![mark],
        events: whole.events,
        counters: nstat
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect(),
        ..CaseLog::default()
    }
}

fn findings(log: &CaseLog, ending: &Ending) -> Vec<Finding> {
    let cases = [Judged::new(log, &symbols())];
    judge(
        &cases,
        std::slice::from_ref(&log.label),
        &Clock { jiffy_ns: JIFFY },
        ending,
    )
}

fn result(log: &CaseLog, id: &str) -> (ClaimResult, String) {
    let found = findings(log, &Ending::default());
    let its = found.iter().find(|finding| finding.id == id).unwrap();
    (its.result, its.because.clone())
}

/// Three time-outs in a row; waits in jiffies.
/// The last resend gets through; the timer is armed once more after it.
fn timeouts<const N: usize>(waits: &[u64], steps: [u8; N]) -> CaseLog {
    assert_eq!(waits.len(), N + 1);
    let mut wire = Wire::default();
    let mut now = 10 * MS;
    wire.data(now, 1_000, false).armed(now + 1, waits[0]);
    for (at, step) in steps.into_iter().enumerate() {
        now += waits[at] * JIFFY + MS;
        wire.expired(now)
            .data(now + 2, 1_000, at + 1 == N)
            .rto_after(now + 3, 1_000, step, waits[at]);
        wire.armed(now + 4, waits[at + 1]);
    }
    wire.ack(now + 5, 2_000, true);
    log(
        "everything/v4",
        wire,
        &[
            ("TcpRetransSegs", N as u64),
            ("TcpExtTCPTimeouts", N as u64),
        ],
    )
}

#[test]
fn waits_that_double_hold() {
    let log = timeouts(&[51, 102, 204, 408], [0, 1, 2]);
    assert_eq!(result(&log, claims::BACKS_OFF).0, Holds);
    assert_eq!(result(&log, claims::TIED).0, Holds);
}

#[test]
fn a_lab_that_was_late_to_end_the_loss_has_one_more_wait_to_judge() {
    let four = |last: u64| {
        let log = timeouts(&[51, 102, 204, last, 816], [0, 1, 2, 3]);
        result(&log, claims::BACKS_OFF).0
    };
    assert_eq!([408, 500].map(four), [Holds, Refuted]);
    let two = timeouts(&[51, 102, 204], [0, 1]);
    assert_eq!(result(&two, claims::BACKS_OFF).0, Inconclusive);
}

#[test]
fn a_wait_that_is_armed_otherwise_refutes_and_a_stall_does_not() {
    let armed = |jiffies: u64| {
        let mut log = timeouts(&[51, 102, 204, 408], [0, 1, 2]);
        let last = log
            .events
            .iter_mut()
            .rev()
            .find_map(|event| match &mut event.body {
                crate::stream::Body::TcpTimer(timer) => Some(timer),
                _ => None,
            });
        last.unwrap().timeout = jiffies;
        result(&log, claims::BACKS_OFF).0
    };
    assert_eq!([306, 408, 409].map(armed), [Holds; 3]);
    assert_eq!([305, 410].map(armed), [Refuted; 2]);
}

#[test]
fn waits_that_do_not_double_refute() {
    assert_eq!(
        result(&timeouts(&[51, 51, 102, 204], [0, 1, 2]), claims::BACKS_OFF).0,
        Refuted
    );
    assert_eq!(
        result(
            &timeouts(&[51, 102, 204, 500], [0, 1, 2]),
            claims::BACKS_OFF
        )
        .0,
        Refuted
    );
    assert_eq!(
        result(&timeouts(&[20, 40, 80, 160], [0, 1, 2]), claims::BACKS_OFF).0,
        Refuted
    );
    assert_eq!(
        result(
            &timeouts(&[51, 102, 204, 408], [0, 0, 0]),
            claims::BACKS_OFF
        )
        .0,
        Refuted
    );
}

#[test]
fn a_resend_without_a_loss_refutes() {
    let mut wire = Wire::default();
    wire.data(10, 1_000, true)
        .ack(11, 2_000, true)
        .rto(300 * MS, 1_000, 0);
    wire.data(300 * MS + 1, 1_000, true);
    let log = log(
        "lone/v4",
        wire,
        &[("TcpRetransSegs", 1), ("TcpExtTCPTimeouts", 1)],
    );
    assert_eq!(result(&log, claims::TIED).0, Refuted);
}

#[test]
fn a_probe_without_a_loss_refutes_nothing() {
    let mut wire = Wire::default();
    wire.data(10, 1_000, true)
        .resend(300, 1_000, resend_with(BY_PROBE, OPEN, 5));
    wire.data(301, 1_000, true);
    let log = log(
        "lone/v4",
        wire,
        &[("TcpRetransSegs", 1), ("TcpExtTCPLossProbes", 1)],
    );
    assert_eq!(result(&log, claims::TIED).0, Holds);
}

#[test]
fn counts_that_differ_are_inconclusive() {
    let mut log = timeouts(&[51, 102, 204, 408], [0, 1, 2]);
    log.counters.insert("TcpRetransSegs".to_owned(), 4);
    let (result, why) = result(&log, claims::BACKS_OFF);
    assert_eq!(result, Inconclusive);
    assert!(why.contains("TcpRetransSegs") && why.contains('4'), "{why}");
}

#[test]
fn a_case_of_which_events_are_missing_is_to_be_run_again() {
    let whole = timeouts(&[51, 102, 204, 408], [0, 1, 2]);
    assert!(!Judged::new(&whole, &symbols()).incomplete());
    let mut short = whole.clone();
    let resend =
        |event: &crate::stream::Event| matches!(event.body, crate::stream::Body::TcpRetransmit(_));
    let at = short.events.iter().position(resend).unwrap();
    short.events.remove(at);
    assert!(Judged::new(&short, &symbols()).incomplete());
    let mut unstarted = whole;
    unstarted
        .events
        .retain(|event| !matches!(event.body, crate::stream::Body::TcpTimer(_)));
    assert!(Judged::new(&unstarted, &symbols()).incomplete());
}

#[test]
fn damaged_content_and_an_unfinished_script_are_inconclusive() {
    let mut damaged = timeouts(&[51, 102, 204, 408], [0, 1, 2]);
    damaged.marks[0].data["intact"] = json!(false);
    assert_eq!(result(&damaged, claims::BACKS_OFF).0, Inconclusive);
    let mut cut = timeouts(&[51, 102, 204, 408], [0, 1, 2]);
    cut.ended_at = None;
    assert_eq!(result(&cut, claims::BACKS_OFF).0, Inconclusive);
}

#[test]
fn a_missing_hook_is_unsupported_and_a_lost_record_inconclusive() {
    let log = timeouts(&[51, 102, 204, 408], [0, 1, 2]);
    let missing = Ending {
        missing: vec![("timer_start".to_owned(), "no".to_owned())],
        ..Ending::default()
    };
    assert!(
        findings(&log, &missing)
            .iter()
            .all(|its| its.result == Unsupported)
    );
    let mut lost = Ending::default();
    lost.lost.insert("Packet".to_owned(), 1);
    assert!(
        findings(&log, &lost)
            .iter()
            .all(|its| its.result == Inconclusive)
    );
}

/// Flights of which the middle segment is lost, and how each is resent.
fn middles(stack: &[&str], ca_state: u8, nstat: &str) -> CaseLog {
    let mut wire = Wire::default();
    for flight in 0..FLIGHTS as u64 {
        let (now, seq) = (flight * 1_000 + 10, flight as u32 * 10_000);
        wire.data(now, seq + 1_000, true)
            .data(now + 1, seq + 2_000, false);
        wire.data(now + 2, seq + 3_000, true)
            .ack(now + 3, seq + 2_000, true);
        wire.resend(now + 4, seq + 2_000, resend_with(stack, ca_state, 1));
        wire.data(now + 5, seq + 2_000, true);
    }
    let resent = FLIGHTS as u64;
    log(
        "middle/v4",
        wire,
        &[("TcpRetransSegs", resent), (nstat, resent)],
    )
}

#[test]
fn recovery_holds_and_a_time_out_refutes() {
    let recovered = middles(BY_ACK, RECOVERY, "TcpExtTCPFastRetrans");
    assert_eq!(result(&recovered, claims::FAST).0, Holds);
    let timed_out = middles(BY_RTO, LOSS, "TcpExtTCPTimeouts");
    assert_eq!(result(&timed_out, claims::FAST).0, Refuted);
}

#[test]
fn only_claims_whose_cases_were_asked_for_are_judged() {
    let log = timeouts(&[51, 102, 204, 408], [0, 1, 2]);
    let ids: Vec<String> = findings(&log, &Ending::default())
        .into_iter()
        .map(|its| its.id)
        .collect();
    assert_eq!(ids, [claims::TIED, claims::BACKS_OFF]);
}
