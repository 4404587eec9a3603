//! The judge on cases made by hand.

use probes_common::event::{Header, Kind};
use probes_common::tcp::{Packet, TIMER_REQUEST, TIMER_STARTED, TcpSynack, TcpTimer};
use serde::Serialize;
use serde_json::json;

use super::facts;
use super::judge::judge;
use super::marks::*;
use crate::evidence::{ClaimResult, Finding};
use crate::lab::queue::socket::{CLOSE, ESTABLISHED};
use crate::stream::{Body, Event, Mark};
use crate::trace::scripted::CaseLog;

const ACK: u8 = 16;
const SYN_ACK: u8 = 18;
const RST: u8 = 4;

struct Story {
    log: CaseLog,
    time: u64,
}

impl Story {
    /// A queue of 4 with 5 in it, and a client whose final ACK was held back.
    fn new(abort: u32) -> Story {
        let log = CaseLog {
            label: format!("ack/abort-{abort}/v4"),
            ended_at: Some(99),
            ..CaseLog::default()
        };
        let mut story = Story { log, time: 0 };
        let limits = Limits {
            segment: Segment::Ack,
            abort_on_overflow: abort,
            max_ack_backlog: 4,
            ..Limits::default()
        };
        story.mark(LIMITS, &limits);
        story.packet(PORT, CLIENT_PORT, SYN_ACK);
        let mut timer = TcpTimer {
            which: TIMER_REQUEST,
            action: TIMER_STARTED,
            ..TcpTimer::default()
        };
        timer.id.local_port = PORT;
        timer.id.remote_port = CLIENT_PORT;
        story.event(Body::TcpTimer(timer));
        story.stand(HELD, ESTABLISHED, 0, 1, 0);
        story.stand(FULL, ESTABLISHED, 0, 1, 1);
        story.mark(MEETING, &json!({}));
        story
    }

    fn mark(&mut self, name: &str, data: &impl Serialize) {
        self.time += 1;
        self.log.marks.push(Mark {
            ktime: self.time,
            name: name.to_owned(),
            data: serde_json::to_value(data).unwrap(),
        });
    }

    fn stand(&mut self, name: &str, client: u8, error: i32, half_open: u64, overflows: u64) {
        let grown = [("TcpExtListenOverflows".to_owned(), overflows)];
        let standing = Standing {
            client,
            error,
            waiting: 5,
            half_open,
            grown: grown.into_iter().collect(),
        };
        self.mark(name, &standing);
    }

    fn event(&mut self, body: Body) {
        self.time += 1;
        let header = Header {
            ktime: self.time,
            kind: Kind::Packet as u16,
            ..Header::default()
        };
        self.log.events.push(Event { header, body });
    }

    fn packet(&mut self, source_port: u16, dest_port: u16, flags: u8) {
        self.event(Body::Packet(Packet {
            source_port,
            dest_port,
            flags,
            ..Packet::default()
        }));
    }

    fn resend(&mut self) {
        let mut synack = TcpSynack::default();
        synack.id.remote_port = CLIENT_PORT;
        self.event(Body::TcpSynack(synack));
        self.packet(PORT, CLIENT_PORT, SYN_ACK);
    }

    fn judged(mut self) -> Finding {
        self.mark(DRAINING, &json!({}));
        self.mark(DRAINED, &Drained::default());
        let label = self.log.label.clone();
        let mut findings = judge(&vec![(label, facts::read(&self.log))], None);
        assert_eq!(findings.len(), 1);
        findings.remove(0)
    }
}

#[track_caller]
fn is(finding: &Finding, result: ClaimResult, words: &str) {
    assert_eq!(finding.result, result, "{}", finding.because);
    assert!(finding.because.contains(words), "{}", finding.because);
}

#[test]
fn a_dropped_ack_leaves_one_end_established_and_the_other_half_open() {
    let mut story = Story::new(0);
    story.packet(CLIENT_PORT, PORT, ACK);
    story.stand(MET, ESTABLISHED, 0, 1, 1);
    story.resend();
    story.stand(RESENT, ESTABLISHED, 0, 1, 1);
    let finding = story.judged();
    assert_eq!(finding.id, "accept-queue/drops-ack");
    is(&finding, ClaimResult::Holds, "1 SYN-ACKs resent, 0 RST");
    assert_eq!(finding.numbers["overflows_count"], 2);
}

#[test]
fn a_request_that_is_gone_or_never_resent_refutes_it() {
    let mut story = Story::new(0);
    story.packet(CLIENT_PORT, PORT, ACK);
    story.stand(MET, ESTABLISHED, 0, 0, 1);
    is(&story.judged(), ClaimResult::Refuted, "0 half-open");
    let mut story = Story::new(0);
    story.packet(CLIENT_PORT, PORT, ACK);
    story.stand(MET, ESTABLISHED, 0, 1, 1);
    is(&story.judged(), ClaimResult::Refuted, "0 SYN-ACKs resent");
}

#[test]
fn a_resend_that_is_no_packet_settles_nothing() {
    let mut story = Story::new(0);
    story.packet(CLIENT_PORT, PORT, ACK);
    story.stand(MET, ESTABLISHED, 0, 1, 1);
    story.packet(PORT, CLIENT_PORT, SYN_ACK);
    story.stand(RESENT, ESTABLISHED, 0, 1, 1);
    is(&story.judged(), ClaimResult::Inconclusive, "disagree");
}

#[test]
fn an_ack_that_never_came_in_settles_nothing() {
    let mut story = Story::new(0);
    story.stand(MET, ESTABLISHED, 0, 1, 0);
    is(&story.judged(), ClaimResult::Inconclusive, "no segment");
}

#[test]
fn an_aborted_client_is_told_econnreset() {
    let mut story = Story::new(1);
    story.packet(CLIENT_PORT, PORT, ACK);
    story.packet(PORT, CLIENT_PORT, RST | ACK);
    story.stand(MET, CLOSE, libc::ECONNRESET, 0, 1);
    let finding = story.judged();
    assert_eq!(finding.id, "accept-queue/abort-on-overflow");
    is(&finding, ClaimResult::Holds, "1 RST to 1 clients");
}

#[test]
fn a_client_that_stays_established_refutes_the_abort() {
    let mut story = Story::new(1);
    story.packet(CLIENT_PORT, PORT, ACK);
    story.stand(MET, ESTABLISHED, 0, 1, 1);
    is(&story.judged(), ClaimResult::Refuted, "0 RST");
}
