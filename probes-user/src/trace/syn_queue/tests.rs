//! The judge on cases made by hand.

use std::collections::BTreeMap;

use probes_common::event::{Header, Kind};
use probes_common::tcp::{
    HS_CONN_REQUEST, Handshake, OPT_SACK, OPT_TSTAMP, OPT_WSCALE, Packet, TIMER_REQUEST,
    TIMER_STARTED, TcpTimer,
};
use serde::Serialize;

use super::facts::{self, COOKIES_SENT, COOKIES_VALID, FULL_DROP};
use super::judge::judge;
use super::marks::*;
use crate::evidence::{ClaimResult, Finding};
use crate::lab::queue::flood::SOURCE_PORT;
use crate::lab::queue::socket::{ESTABLISHED, Info, SACK, SYN_SENT, TIMESTAMPS, WINDOW_SCALE};
use crate::stream::{Body, Event, Mark};
use crate::trace::scripted::CaseLog;

const ALL: u8 = TIMESTAMPS | SACK | WINDOW_SCALE;

/// How genuine connections fare.
#[derive(Clone, Copy)]
struct Fare {
    through: bool,
    answered: bool,
    /// A half-open entry while it lasts.
    request: bool,
    options: u8,
}

const QUEUED: Fare = Fare {
    through: true,
    answered: true,
    request: true,
    options: ALL,
};
const REFUSED: Fare = Fare {
    through: false,
    answered: false,
    request: false,
    options: 0,
};
const COOKIE: Fare = Fare {
    request: false,
    ..QUEUED
};

struct Story {
    log: CaseLog,
    next_port: u16,
    half_open: u64,
}

impl Story {
    fn new(label: &str, limits: Limits) -> Story {
        let limits = Limits {
            port: PORT,
            ..limits
        };
        let mut story = Story {
            log: CaseLog {
                label: label.to_owned(),
                ended_at: Some(1),
                ..CaseLog::default()
            },
            next_port: 40_000,
            half_open: 0,
        };
        story.mark(LIMITS, &limits);
        story
    }

    fn mark(&mut self, name: &str, data: &impl Serialize) {
        self.log.marks.push(Mark {
            ktime: 0,
            name: name.to_owned(),
            data: serde_json::to_value(data).unwrap(),
        });
    }

    fn event(&mut self, body: Body) {
        let header = Header {
            kind: Kind::Packet as u16,
            ..Header::default()
        };
        self.log.events.push(Event { header, body });
    }

    fn packet(&mut self, source_port: u16, dest_port: u16, flags: u8, options: u8) {
        self.event(Body::Packet(Packet {
            source_port,
            dest_port,
            flags,
            options,
            ..Packet::default()
        }));
    }

    fn timer(&mut self, remote_port: u16, host: u8) {
        let mut timer = TcpTimer {
            which: TIMER_REQUEST,
            action: TIMER_STARTED,
            ..TcpTimer::default()
        };
        timer.id.local_port = PORT;
        timer.id.remote_port = remote_port;
        timer.id.remote_addr[15] = host;
        // As at each resend: it stays one request.
        self.event(Body::TcpTimer(timer));
        self.event(Body::TcpTimer(timer));
    }

    fn connect(mut self, name: &str, fares: &[Fare], grown: &[(&str, u64)]) -> Story {
        let mut told = Attempts {
            half_open_before: self.half_open,
            half_open_after: self.half_open,
            grown: counters(grown),
            ..Attempts::default()
        };
        for fare in fares {
            let port = self.next_port;
            self.next_port += 1;
            self.packet(port, PORT, 2, 0);
            if fare.answered {
                self.packet(PORT, port, 0x12, on_the_wire(fare.options));
            }
            if fare.request {
                self.timer(port, 0);
            }
            let info = Info {
                state: if fare.through { ESTABLISHED } else { SYN_SENT },
                options: fare.options,
                ..Info::default()
            };
            told.tries.push(Attempt {
                port,
                client: info,
                server: fare.through.then_some(info),
            });
        }
        self.mark(name, &told);
        self
    }

    fn flood(mut self, sent: u64, half_open: u64) -> Story {
        for n in 0..sent {
            self.packet(SOURCE_PORT, PORT, 2, 0);
            if n < half_open {
                self.timer(SOURCE_PORT, n as u8);
            }
        }
        self.half_open = half_open;
        let told = FloodMark {
            sent,
            half_open,
            ..FloodMark::default()
        };
        self.mark(FLOOD, &told);
        self
    }

    fn judged(self) -> Finding {
        judged(vec![self], false)
    }
}

fn counters(grown: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let owned = grown
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count));
    owned.collect()
}

fn on_the_wire(options: u8) -> u8 {
    let bits = [
        (TIMESTAMPS, OPT_TSTAMP),
        (SACK, OPT_SACK),
        (WINDOW_SCALE, OPT_WSCALE),
    ];
    let set = bits.into_iter().filter(|(info, _)| options & info != 0);
    set.map(|(_, wire)| wire).sum()
}

fn judged(stories: Vec<Story>, functions: bool) -> Finding {
    let cases = stories
        .into_iter()
        .map(|its| (its.log.label.clone(), facts::read(&its.log, functions)))
        .collect();
    let mut findings = judge(&cases, None, "hand");
    assert_eq!(findings.len(), 1);
    findings.remove(0)
}

fn flooded(label: &str) -> Story {
    Story::new(label, Limits::default())
        .connect(CONTROL, &[QUEUED], &[])
        .flood(24, 16)
}

#[track_caller]
fn is(finding: &Finding, result: ClaimResult, words: &str) {
    assert_eq!(finding.result, result, "{}", finding.because);
    assert!(finding.because.contains(words), "{}", finding.because);
}

#[test]
fn a_full_queue_that_answers_nobody_refuses() {
    let story = flooded("cookies-0/v4").connect(ATTEMPTS, &[REFUSED; 4], &[(FULL_DROP, 4)]);
    let finding = story.judged();
    assert_eq!(finding.id, "syn-queue/overflow-refuses");
    is(&finding, ClaimResult::Holds, "0 of 4 genuine connections");
    assert_eq!(finding.numbers["queue_full_drops_count"], 4);
}

#[test]
fn one_answer_from_a_full_queue_refutes_the_refusal() {
    let answered = Fare {
        answered: true,
        ..REFUSED
    };
    let fares = [REFUSED, REFUSED, REFUSED, answered];
    let story = flooded("cookies-0/v4").connect(ATTEMPTS, &fares, &[(FULL_DROP, 3)]);
    is(
        &story.judged(),
        ClaimResult::Refuted,
        "1 were sent a SYN-ACK",
    );
}

#[test]
fn silence_that_no_counter_explains_settles_nothing() {
    let story = flooded("cookies-0/v4").connect(ATTEMPTS, &[REFUSED; 4], &[]);
    is(&story.judged(), ClaimResult::Inconclusive, "no counter");
}

#[test]
fn a_queue_that_has_drained_settles_nothing() {
    let mut story = flooded("cookies-0/v4");
    story.half_open = 15;
    let story = story.connect(ATTEMPTS, &[QUEUED; 4], &[]);
    is(
        &story.judged(),
        ClaimResult::Inconclusive,
        "did not stay full",
    );
}

#[test]
fn of_a_case_that_was_done_again_the_last_time_counts() {
    let mut story = flooded("cookies-0/v4");
    story.half_open = 15;
    let mut story = story.connect(ATTEMPTS, &[QUEUED; 4], &[]);
    let again = flooded("cookies-0/v4").connect(ATTEMPTS, &[REFUSED; 4], &[(FULL_DROP, 4)]);
    for mut mark in again.log.marks {
        mark.ktime = 1;
        story.log.marks.push(mark);
    }
    for mut event in again.log.events {
        event.header.ktime = 1;
        story.log.events.push(event);
    }
    is(
        &story.judged(),
        ClaimResult::Holds,
        "0 of 4 genuine connections",
    );
}

#[test]
fn timers_and_proc_must_count_the_same_half_open_connections() {
    let mut story = flooded("cookies-0/v4").connect(ATTEMPTS, &[REFUSED; 4], &[(FULL_DROP, 4)]);
    story.timer(SOURCE_PORT, 200);
    is(&story.judged(), ClaimResult::Inconclusive, "16 half-open");
}

#[test]
fn function_probes_must_agree_where_there_are_any() {
    let mut story = flooded("cookies-0/v4").connect(ATTEMPTS, &[REFUSED; 4], &[(FULL_DROP, 4)]);
    for _ in 0..24 {
        let mut call = Handshake {
            what: HS_CONN_REQUEST,
            remote_port: SOURCE_PORT,
            ..Handshake::default()
        };
        call.id.local_port = PORT;
        call.snap.request_qlen = 16;
        story.event(Body::Handshake(call));
    }
    let short = Story {
        log: CaseLog {
            events: story.log.events[..story.log.events.len() - 1].to_vec(),
            ..story.log.clone()
        },
        ..story
    };
    is(&judged(vec![story], true), ClaimResult::Holds, "hand");
    is(
        &judged(vec![short], true),
        ClaimResult::Inconclusive,
        "ran 23 times",
    );
}

#[test]
fn cookies_carry_connections_past_a_full_queue() {
    let counted = [(COOKIES_SENT, 4), (COOKIES_VALID, 4)];
    let story = flooded("cookies-1/v4").connect(ATTEMPTS, &[COOKIE; 4], &counted);
    is(&story.judged(), ClaimResult::Holds, "4 of 4 genuine");
    let fares = [COOKIE, COOKIE, COOKIE, REFUSED];
    let story = flooded("cookies-1/v4").connect(ATTEMPTS, &fares, &counted);
    is(&story.judged(), ClaimResult::Refuted, "3 of 4 genuine");
    let story = flooded("cookies-1/v4").connect(ATTEMPTS, &[COOKIE; 4], &[]);
    is(&story.judged(), ClaimResult::Inconclusive, "something else");
}

#[test]
fn one_half_open_entry_refutes_cookies_always() {
    let one = [(COOKIES_SENT, 1), (COOKIES_VALID, 1)];
    let four = [(COOKIES_SENT, 4), (COOKIES_VALID, 4)];
    let story = |half_open: u64| {
        Story::new("cookies-2/v6", Limits::default())
            .connect(CONTRAST, &[QUEUED], &[])
            .connect(CONTROL, &[COOKIE], &one)
            .flood(8, half_open)
            .connect(ATTEMPTS, &[COOKIE; 4], &four)
    };
    is(&story(0).judged(), ClaimResult::Holds, "5 of 5 genuine");
    is(&story(1).judged(), ClaimResult::Refuted, "left 1 half-open");
}

#[test]
fn without_a_contrast_cookies_always_is_not_settled() {
    let one = [(COOKIES_SENT, 1), (COOKIES_VALID, 1)];
    let story = Story::new("cookies-2/v6", Limits::default())
        .connect(CONTRAST, &[COOKIE], &one)
        .connect(CONTROL, &[COOKIE], &one)
        .flood(8, 0)
        .connect(
            ATTEMPTS,
            &[COOKIE; 4],
            &[(COOKIES_SENT, 4), (COOKIES_VALID, 4)],
        );
    is(
        &story.judged(),
        ClaimResult::Inconclusive,
        "0 request timers",
    );
}

/// By cookie; what both ends keep with timestamps and without.
fn with_options(kept: [u8; 2]) -> Vec<Story> {
    let mut stories = Vec::new();
    for (timestamps, (kept, wanted)) in [(1, (kept[0], ALL)), (0, (kept[1], SACK | WINDOW_SCALE))] {
        for (name, fare, options, cookies) in
            [("plain", QUEUED, wanted, 0), ("cookie", COOKIE, kept, 4)]
        {
            let label = format!("options/timestamps-{timestamps}/{name}/v4");
            let fare = Fare { options, ..fare };
            let counted = [(COOKIES_SENT, cookies), (COOKIES_VALID, cookies)];
            let story = Story::new(&label, Limits::default());
            stories.push(story.connect(ATTEMPTS, &[fare; 4], &counted));
        }
    }
    stories
}

#[test]
fn options_are_lost_only_if_they_are_lost_with_timestamps_too() {
    let finding = judged(with_options([ALL, 0]), false);
    is(
        &finding,
        ClaimResult::Refuted,
        "with timestamps lost nothing",
    );
    is(
        &finding,
        ClaimResult::Refuted,
        "without timestamps lost SACK, window scale",
    );
    let finding = judged(with_options([TIMESTAMPS, 0]), false);
    is(&finding, ClaimResult::Holds, "kept timestamps");
    let mut half = with_options([TIMESTAMPS, 0]);
    half.truncate(2);
    is(
        &judged(half, false),
        ClaimResult::Inconclusive,
        "and without",
    );
}

#[test]
fn a_synack_that_says_otherwise_settles_nothing() {
    let mut stories = with_options([ALL, 0]);
    for event in &mut stories[1].log.events {
        if let Body::Packet(packet) = &mut event.body {
            packet.options = 0;
        }
    }
    is(
        &judged(stories, false),
        ClaimResult::Inconclusive,
        "disagree",
    );
}

#[test]
fn the_smallest_knob_binds_only_if_exactly_so_many_are_held() {
    let limits = Limits {
        backlog: 16,
        somaxconn: 256,
        max_syn_backlog: 256,
        ..Limits::default()
    };
    let story = |held: u64| {
        Story::new("limit/backlog/v4", limits)
            .connect(CONTROL, &[QUEUED], &[])
            .flood(32, held)
    };
    is(
        &story(16).judged(),
        ClaimResult::Holds,
        "backlog 16: 16 held",
    );
    is(
        &story(17).judged(),
        ClaimResult::Refuted,
        "backlog 16: 17 held",
    );
}

#[test]
fn a_silent_control_settles_nothing() {
    let story = Story::new("limit/backlog/v4", Limits::default())
        .connect(CONTROL, &[REFUSED], &[])
        .flood(32, 16);
    is(
        &story.judged(),
        ClaimResult::Inconclusive,
        "0 of 1 came through",
    );
}

#[test]
fn what_blocks_a_run_blocks_every_claim() {
    let why = (ClaimResult::Unsupported, "no surgeon".to_owned());
    let findings = judge(&Vec::new(), Some(&why), "hand");
    assert_eq!(findings.len(), 5);
    assert!(
        findings
            .iter()
            .all(|its| its.result == ClaimResult::Unsupported)
    );
}
