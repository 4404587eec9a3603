//! The fold over hand-made cases: right and wrong rows of SYN-ACKs, clients that learn of it, damaged evidence.

use probes_common::event::Kind;
use probes_common::tcp::{
    PACKET_PASSED, SockError, TIMER_EXPIRED, TIMER_REQUEST, TIMER_STARTED, TcpSynack, TcpTimer,
};
use serde_json::json;

use super::fold::judge;
use super::script::{ACCEPTED, ANSWERED, CONNECT, CONNECTED, DROPPED, GONE, KEPT, LOOK, WRITE};
use crate::evidence::ClaimResult::{self, Holds, Inconclusive, Refuted, Unsupported};
use crate::evidence::Finding;
use crate::stream::Body;
use crate::trace::Ending;
use crate::trace::backoff::COUNTED;
use crate::trace::backoff::testkit::{
    BEGIN, MS, client, event, limits, log, mark, packet, request,
};
use crate::trace::scripted::CaseLog;

const LAW: [u64; 6] = [1, 2, 4, 8, 16, 32];

fn timer(at: u64, action: u8, timeouts: usize, jiffies: u64) -> crate::stream::Event {
    let timer = TcpTimer {
        id: request(),
        timeout: jiffies,
        which: TIMER_REQUEST,
        action,
        num_timeout: timeouts as u8,
        ..TcpTimer::default()
    };
    event(at, Kind::TcpTimer, Body::TcpTimer(timer))
}

/// A handshake whose server waits for `units` of 40 ms, a twentieth late each.
fn handshake(units: &[u64], timers: bool) -> CaseLog {
    let mut log = log("ack-lost/v4", &limits(5, None));
    let mut at = BEGIN;
    let looked = |open: bool| json!({ "half_open": open, "client_state": 1 });
    for (name, data) in [
        (CONNECT, json!({})),
        (CONNECTED, json!({ "errno": 0, "client_state": 1 })),
        (LOOK, looked(true)),
    ] {
        log.marks.push(mark(at, name, data));
    }
    for (index, unit) in units.iter().enumerate() {
        if timers && index > 0 {
            log.events.push(timer(at, TIMER_EXPIRED, 0, 0));
        }
        log.events.push(packet(at, &request(), 18, PACKET_PASSED));
        if index > 0 {
            let synack = TcpSynack {
                id: request(),
                ..TcpSynack::default()
            };
            log.events
                .push(event(at, Kind::TcpSynack, Body::TcpSynack(synack)));
        }
        if timers {
            log.events.push(timer(at, TIMER_STARTED, index, unit * 10));
        }
        at += unit * 42 * MS;
    }
    if timers {
        log.events.push(timer(at, TIMER_EXPIRED, 0, 0));
    }
    let resends = units.len() - 1;
    let counted = json!({
        "TcpExtTCPTimeouts": units.len(), "TcpExtTCPSynRetrans": resends, "TcpRetransSegs": resends,
    });
    for (name, data) in [
        (LOOK, looked(false)),
        (GONE, json!({ "client_state": 1 })),
        (KEPT, json!({ "client_state": 1 })),
        (COUNTED, counted),
        (DROPPED, json!({ "acks": units.len(), "data": 0 })),
        (WRITE, json!({})),
        (
            ANSWERED,
            json!({ "sent": 1, "errno": 104, "client_state": 7 }),
        ),
    ] {
        log.marks.push(mark(at + MS / 2, name, data));
    }
    log.events
        .push(packet(at + MS, &request(), 4, PACKET_PASSED));
    log.ended_at = Some(at + 2 * MS);
    log
}

fn findings(log: &CaseLog) -> [Finding; 2] {
    let outcome = judge(&[log], &Ending::default());
    outcome.findings.try_into().unwrap()
}

fn results(log: &CaseLog) -> [ClaimResult; 2] {
    findings(log).map(|finding| finding.result)
}

/// Another value for a field of every mark of this name.
fn alter(log: &mut CaseLog, name: &str, field: &str, value: i64) {
    for mark in log.marks.iter_mut().filter(|mark| mark.name == name) {
        mark.data[field] = json!(value);
    }
}

#[test]
fn doubling_holds_and_so_does_the_clients_belief() {
    for timers in [true, false] {
        let log = handshake(&LAW, timers);
        let [resends, established] = findings(&log);
        assert_eq!((resends.result, established.result), (Holds, Holds));
        assert!(
            resends.because.contains("5 resends, waits 1 2 4 8 16 32 s"),
            "{}",
            resends.because
        );
        assert_eq!(resends.numbers["real_time_s"], json!(63.0));
        assert_eq!(established.numbers["resets_after_write_count"], json!(1));
    }
}

#[test]
fn a_schedule_that_is_not_the_law_refutes() {
    for wrong in [
        &[1, 1, 1, 1, 1, 1][..],
        &LAW[..4],
        &[1, 2, 4, 8, 16, 32, 64],
        &[1, 3, 4, 8, 16, 32],
    ] {
        assert_eq!(
            results(&handshake(wrong, true)),
            [Refuted, Holds],
            "{wrong:?}"
        );
    }
    assert_eq!(
        results(&handshake(&[1, 2, 2, 8, 16, 32], false))[0],
        Refuted
    );
}

#[test]
fn a_client_in_another_state_refutes() {
    for name in [LOOK, GONE, KEPT] {
        let mut log = handshake(&LAW, true);
        alter(&mut log, name, "client_state", 7);
        assert_eq!(results(&log), [Holds, Refuted], "{name}");
    }
}

#[test]
fn a_reset_or_an_error_before_the_write_refutes() {
    let mut log = handshake(&LAW, true);
    log.events
        .push(packet(BEGIN + MS, &request(), 4, PACKET_PASSED));
    let counted = log
        .marks
        .iter_mut()
        .find(|mark| mark.name == COUNTED)
        .unwrap();
    counted.data["TcpOutRsts"] = json!(1);
    assert_eq!(results(&log), [Holds, Refuted]);

    let mut log = handshake(&LAW, true);
    let error = SockError {
        id: client(),
        err: 104,
        ..SockError::default()
    };
    log.events
        .push(event(BEGIN + MS, Kind::SockError, Body::SockError(error)));
    assert_eq!(results(&log), [Holds, Refuted]);
}

#[test]
fn a_silent_positive_control_settles_nothing() {
    let mut no_reset = handshake(&LAW, true);
    let last = |body: &Body| matches!(body, Body::Packet(packet) if packet.flags == 4);
    no_reset.events.retain(|event| !last(&event.body));
    assert_eq!(results(&no_reset), [Holds, Inconclusive]);
    let mut never_seen = handshake(&LAW, true);
    never_seen.marks.retain(|mark| mark.name != LOOK);
    assert_eq!(results(&never_seen), [Holds, Inconclusive]);
}

#[test]
fn counts_that_disagree_settle_nothing() {
    for (field, value) in [
        ("TcpExtTCPSynRetrans", 4),
        ("TcpPassiveOpens", 1),
        ("TcpOutRsts", 2),
    ] {
        let mut log = handshake(&LAW, true);
        alter(&mut log, COUNTED, field, value);
        assert_eq!(results(&log), [Inconclusive; 2], "{field}");
    }
}

#[test]
fn what_the_script_did_not_say_settles_nothing() {
    for name in [DROPPED, WRITE, ANSWERED, GONE, KEPT, CONNECTED, "limits"] {
        let mut log = handshake(&LAW, true);
        log.marks.retain(|mark| mark.name != name);
        assert_eq!(results(&log), [Inconclusive; 2], "{name}");
    }
    let mut open = handshake(&LAW, true);
    open.ended_at = None;
    assert_eq!(results(&open), [Inconclusive; 2]);
}

#[test]
fn a_contrast_that_fails_and_a_missing_hook_are_no_verdicts() {
    let judged = handshake(&LAW, true);
    let mut contrast = log("data-carries-ack/v4", &limits(5, None));
    contrast.ended_at = Some(BEGIN);
    let outcome = judge(&[&judged, &contrast], &Ending::default());
    assert!(
        outcome
            .findings
            .iter()
            .all(|finding| finding.result == Inconclusive)
    );
    contrast.marks.push(mark(
        BEGIN,
        ACCEPTED,
        json!({ "received": 1, "half_open": false }),
    ));
    let outcome = judge(&[&judged, &contrast], &Ending::default());
    assert!(
        outcome
            .findings
            .iter()
            .all(|finding| finding.result == Holds)
    );
    let alone = judge(&[&contrast], &Ending::default());
    assert!(
        alone.findings.is_empty(),
        "what was not asked for is left out"
    );
    let ending = Ending {
        missing: vec![("tcp_retransmit_synack".to_owned(), "no".to_owned())],
        ..Ending::default()
    };
    let outcome = judge(&[&judged, &contrast], &ending);
    assert!(
        outcome
            .findings
            .iter()
            .all(|finding| finding.result == Unsupported)
    );
}
