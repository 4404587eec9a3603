//! The fold and the verdicts, on streams made by hand.

use crate::lab::family::Family;
use std::net::IpAddr;

use probes_common::event::{DataReady, Header, Kind as EventKind, SockState};
use serde_json::{Value, json};

use super::binds::{IN_USE, Role, STEPS};
use super::marks::{BIND, REACHED, Reached, SAMPLE, Sample};
use super::tuples::{Kind, Tuple, nth};
use super::{PORT, REUSE_PORT, ROUNDS, TUPLES};
use crate::evidence::{ClaimResult, Finding};
use crate::lab::script::{CASE, CASE_END};
use crate::stream::{Body, Event, Item, Mark};
use crate::trace::{Context, Ending, LabOptions, Outcome, Trace};

const NETNS: u32 = 77;
const HOLDS: ClaimResult = ClaimResult::Holds;
const REFUTED: ClaimResult = ClaimResult::Refuted;
const INCONCLUSIVE: ClaimResult = ClaimResult::Inconclusive;

/// One case's stream.
struct Stream {
    label: String,
    items: Vec<Item>,
    now: u64,
    phase: u32,
    connections: u64,
}

impl Stream {
    fn new(label: &str) -> Stream {
        let mut stream = Stream {
            label: label.to_owned(),
            items: Vec::new(),
            now: 0,
            phase: 0,
            connections: 0,
        };
        stream.mark(
            CASE,
            json!({ "label": label, "netns": NETNS, "sysctls": {} }),
        );
        stream
    }

    fn mark(&mut self, name: &str, data: Value) {
        self.now += 10;
        let (ktime, name) = (self.now, name.to_owned());
        self.items.push(Item::Mark(Mark { ktime, name, data }));
    }

    fn event(&mut self, kind: EventKind, body: Body) {
        self.now += 10;
        let header = Header {
            ktime: self.now,
            kind: kind as u16,
            phase: self.phase,
            ..Header::default()
        };
        self.items.push(Item::Event(Event { header, body }));
    }

    /// A connection of this tuple reaches socket `by`.
    fn connection(&mut self, tuple: &Tuple, by: u8) {
        let bytes = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => {
                let mut bytes = [0; 16];
                bytes[..4].copy_from_slice(&ip.octets());
                bytes
            }
            IpAddr::V6(ip) => ip.octets(),
        };
        // Pointers are reused after 100 connections.
        let sock = 1000 + self.connections % 100;
        self.connections += 1;
        let state = SockState {
            sock,
            netns: NETNS,
            family: if tuple.server.is_ipv4() { 2 } else { 10 },
            old: 3,
            new: 1,
            local_port: PORT,
            remote_port: tuple.client.port(),
            _pad: 0,
            local_addr: bytes(tuple.server),
            remote_addr: bytes(tuple.client.ip()),
        };
        self.event(EventKind::SockState, Body::SockState(state));
        let ready = DataReady {
            sock: 50 + u64::from(by),
            conn: sock,
            local_port: PORT,
            _pad: [0; 3],
        };
        self.event(EventKind::DataReady, Body::DataReady(ready));
    }

    /// A sample whose i-th tuple reaches `by(i)`.
    fn sample(&mut self, kind: Kind, count: u32, round: u32, by: impl Fn(u32) -> u8) {
        self.phase += 1;
        let family = if self.label.ends_with("v4") {
            Family::V4
        } else {
            Family::V6
        };
        let sample = Sample {
            family,
            kind,
            seed: 5,
            from: 0,
            count,
            round,
            cpu: None,
        };
        let mut data = serde_json::to_value(&sample).unwrap();
        data["phase"] = json!(self.phase);
        self.mark(SAMPLE, data);
        for index in 0..count {
            self.connection(&sample.tuple(index), by(index));
        }
        let sockets: Vec<u8> = (0..count).map(by).collect();
        let reached = Reached::new(self.phase, &sockets);
        self.mark(REACHED, serde_json::to_value(reached).unwrap());
    }

    fn end(mut self) -> Stream {
        let opens = self.connections;
        let counters = json!({ "TcpPassiveOpens": opens, "TcpActiveOpens": opens });
        self.mark(CASE_END, counters);
        self
    }

    fn outcome(&self) -> Outcome {
        let options = LabOptions {
            variants: vec![self.label.clone()],
            ..LabOptions::default()
        };
        // As at the head of a recording.
        let context: Context = serde_json::from_value(json!({
            "trace": "reuse-port",
            "mode": "lab",
            "options": REUSE_PORT.lab_options(&options).unwrap(),
            "symbols": [],
            "attached": ["sk_data_ready"],
        }))
        .unwrap();
        let mut fold = REUSE_PORT.fold(&context);
        self.items.iter().for_each(|item| fold.item(item));
        fold.finish(&Ending::default())
    }

    fn judged(&self, id: &str) -> (ClaimResult, String) {
        let findings: Vec<Finding> = self.outcome().findings;
        let found = findings.iter().find(|its| its.id == id);
        let found = found.unwrap_or_else(|| panic!("no {id} in {findings:?}"));
        (found.result, found.because.clone())
    }

    #[track_caller]
    fn expect(&self, id: &str, result: ClaimResult, why: &str) {
        let (its, because) = self.judged(id);
        assert!(its == result && because.contains(why), "{its:?} {because}");
    }
}

fn even(index: u32) -> u8 {
    (index % 4) as u8
}

/// A third of all to socket 0.
fn uneven(index: u32) -> u8 {
    if index % 12 == 1 { 0 } else { even(index) }
}

#[test]
fn even_shares_hold_at_the_first_sample() {
    for label in ["balance/v4", "balance/v6"] {
        let mut stream = Stream::new(label);
        stream.sample(Kind::Clients, 1200, 0, even);
        let stream = stream.end();
        stream.expect("reuse-port/balance", HOLDS, "chi-square 0.00");
        assert!(stream.outcome().ledger.remarks.is_empty());
    }
}

#[test]
fn the_second_sample_decides_where_the_first_is_out_of_the_ordinary() {
    for (second, result) in [(even as fn(u32) -> u8, HOLDS), (uneven, REFUTED)] {
        let mut stream = Stream::new("balance/v4");
        stream.sample(Kind::Clients, 1200, 0, uneven);
        stream.sample(Kind::Clients, 1200, 1, second);
        stream.end().expect("reuse-port/balance", result, ", then ");
    }
    let mut stream = Stream::new("balance/v4");
    stream.sample(Kind::Clients, 1200, 0, uneven);
    let why = "no sample that decides";
    stream.end().expect("reuse-port/balance", INCONCLUSIVE, why);
}

#[test]
fn counts_that_differ_settle_nothing() {
    let missing = |drop: fn(&Body) -> bool| {
        let mut stream = Stream::new("balance/v4");
        stream.sample(Kind::Clients, 1200, 0, even);
        let mut stream = stream.end();
        let at = stream
            .items
            .iter()
            .position(|item| matches!(item, Item::Event(event) if drop(&event.body)));
        stream.items.remove(at.unwrap());
        stream
    };
    let id = "reuse-port/balance";
    let lost = missing(|body| matches!(body, Body::SockState(_)));
    lost.expect(id, INCONCLUSIVE, "established in the kernel 1199");
    let lost = missing(|body| matches!(body, Body::DataReady(_)));
    lost.expect(id, INCONCLUSIVE, "made ready in the kernel alike 1199");
    let mut other = Stream::new("balance/v4");
    other.sample(Kind::Clients, 1200, 0, even);
    other.connection(&nth(Kind::Ports, Family::V4, 9, 0), 0);
    let other = other.end();
    other.expect(id, INCONCLUSIVE, "established in the kernel 1201");
}

#[test]
fn a_socket_that_accepts_what_another_was_made_ready_for_settles_nothing() {
    let mut stream = Stream::new("balance/v4");
    stream.sample(Kind::Clients, 1200, 0, even);
    let mut stream = stream.end();
    for item in &mut stream.items {
        if let Item::Event(Event {
            body: Body::DataReady(ready),
            ..
        }) = item
            && ready.conn == 1042
        {
            ready.sock = 50;
        }
    }
    let why = "independent counts differ, socket of each connection";
    stream.expect("reuse-port/balance", INCONCLUSIVE, why);
}

fn replayed(by: impl Fn(Kind, u32, u32) -> u8) -> Stream {
    let mut stream = Stream::new("by-hash/v4");
    for kind in Kind::of(Family::V4) {
        for round in 0..ROUNDS {
            stream.sample(*kind, TUPLES, round, |index| by(*kind, round, index));
        }
    }
    stream.end()
}

#[test]
fn the_same_tuple_must_reach_the_same_socket() {
    let stream = replayed(|_, _, index| even(index));
    stream.expect("reuse-port/by-hash", HOLDS, "64 of 64 that differ in ports");
    stream.expect("reuse-port/whole-tuple", HOLDS, "reached 4");
    // As if sockets were served in turn, whatever the tuple.
    let turns = |_, round, index| {
        even(if round % 2 == 0 {
            index
        } else {
            TUPLES - 1 - index
        })
    };
    replayed(turns).expect("reuse-port/by-hash", REFUTED, "0 of 64");
    let one = |_, round, index| even(index + u32::from(index == 9 && round == 3));
    replayed(one).expect("reuse-port/by-hash", REFUTED, "63 of 64");
}

#[test]
fn an_element_without_a_part_in_the_choice_is_named() {
    let stream = replayed(|kind, _, index| match kind {
        Kind::Destinations => 1,
        _ => even(index),
    });
    stream.expect(
        "reuse-port/by-hash",
        HOLDS,
        "64 of 64 that differ in destinations",
    );
    let why = "64 that differ in destinations reached 1";
    stream.expect("reuse-port/whole-tuple", REFUTED, why);
    let stuck = replayed(|_, _, _| 2);
    stuck.expect("reuse-port/by-hash", INCONCLUSIVE, "control");
    stuck.expect("reuse-port/whole-tuple", REFUTED, "reached 1");
}

#[test]
fn a_replay_with_a_round_missing_settles_nothing() {
    let mut stream = Stream::new("by-hash/v6");
    for round in 0..ROUNDS - 1 {
        stream.sample(Kind::Ports, TUPLES, round, even);
    }
    let why = "were not replayed";
    stream.end().expect("reuse-port/by-hash", INCONCLUSIVE, why);
}

fn tried(change: impl Fn(&str) -> Option<i32>) -> Stream {
    let mut stream = Stream::new("same-uid/v4");
    for step in &STEPS {
        let usual = if step.role == Role::Refused {
            IN_USE
        } else {
            0
        };
        let errno = change(step.name).unwrap_or(usual);
        let data = json!({ "step": step.name, "errno": errno, "listening": step.listening });
        stream.mark(BIND, data);
    }
    stream.end()
}

#[test]
fn who_may_share_a_port_is_settled_by_what_bind_answers() {
    let id = "reuse-port/same-uid";
    tried(|_| None).expect(id, HOLDS, "EADDRINUSE");
    let with = |name: &'static str, errno| tried(move |step| (step == name).then_some(errno));
    with("other-uid", 0).expect(id, REFUTED, "another uid, with the option got the port");
    with("same-uid", IN_USE).expect(id, REFUTED, "root again, with the option was refused");
    with("other-uid-alone", IN_USE).expect(id, INCONCLUSIVE, "control");
    with("other-uid", 1).expect(id, INCONCLUSIVE, "errno 1");
    let mut short = tried(|_| None);
    short
        .items
        .retain(|item| !matches!(item, Item::Mark(mark) if mark.data["step"] == "other-uid"));
    short.expect(id, INCONCLUSIVE, "was not tried");
}

#[test]
fn owners_that_proc_names_otherwise_settle_nothing() {
    let mut stream = tried(|_| None);
    for item in &mut stream.items {
        if let Item::Mark(mark) = item
            && mark.data["step"] == "same-uid"
        {
            mark.data["listening"] = json!([0]);
        }
    }
    stream.expect("reuse-port/same-uid", INCONCLUSIVE, "/proc/net/tcp");
}

#[test]
fn an_unfinished_case_and_a_loss_settle_nothing() {
    let mut stream = Stream::new("balance/v4");
    stream.sample(Kind::Clients, 1200, 0, even);
    stream.expect(
        "reuse-port/balance",
        INCONCLUSIVE,
        "did not come to the end",
    );
    assert_eq!(
        stream.outcome().findings.len(),
        1,
        "only what was asked for"
    );
}

#[test]
fn senseless_options_are_refused() {
    for (name, value) in [("connections", "399"), ("connections", "25001")] {
        let mut options = LabOptions::default();
        options.values.insert(name.to_owned(), value.to_owned());
        assert!(REUSE_PORT.lab_options(&options).is_err(), "{value}");
    }
    let options = LabOptions {
        variants: vec!["no-such-scene".to_owned()],
        ..LabOptions::default()
    };
    assert!(REUSE_PORT.lab_options(&options).is_err());
}
