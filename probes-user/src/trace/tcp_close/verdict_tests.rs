//! Cases written by hand: what each claim needs, what refutes it, what keeps it open.

use probes_common::event::{Header, Kind};
use probes_common::tcp::{Packet, REASON_NONE, RESET_RECEIVED, TcpReset, TcpState};

use super::super::LabFold;
use super::super::cause::{self, Cause, NAMES};
use super::super::marks::{Answer, Close, Closed, Ends, Got, Left, Provoked, Read, Told, Wrote};
use super::*;
use crate::stream::{Body, Event, Item, Mark};
use crate::trace::{Fold as _, Symbol};

const CLOSER: u16 = 40_000;
const PEER: u16 = 20_000;
const TID: u32 = 77;
const NETNS: u32 = 9;
const RST: u8 = 4;
const FIN: u8 = 1;

/// One case as its items, in order of time.
struct Script {
    items: Vec<Item>,
    clock: u64,
    counters: Vec<(&'static str, u64)>,
}

impl Script {
    fn new(label: &str) -> Script {
        let mut script = Script {
            items: Vec::new(),
            clock: 0,
            counters: Vec::new(),
        };
        let data = serde_json::json!({ "label": label, "netns": NETNS, "sysctls": {} });
        script.item(crate::lab::script::CASE, data);
        let ends = Ends {
            closer: CLOSER,
            peer: PEER,
        };
        script.mark(&ends).state(1, 1, 0)
    }

    fn item(&mut self, name: &str, data: Value) {
        self.clock += 1;
        self.items.push(Item::Mark(Mark {
            ktime: self.clock,
            name: name.to_owned(),
            data,
        }));
    }

    fn mark<T: Told>(mut self, told: &T) -> Script {
        self.item(T::NAME, serde_json::to_value(told).unwrap());
        self
    }

    fn event(mut self, kind: Kind, body: Body) -> Script {
        self.clock += 1;
        let header = Header {
            ktime: self.clock,
            kind: kind as u16,
            pid: TID,
            ..Header::default()
        };
        self.items.push(Item::Event(Event { header, body }));
        self
    }

    fn state(self, old: u8, new: u8, snd_una: u32) -> Script {
        let mut state = TcpState {
            old,
            new,
            ..TcpState::default()
        };
        state.id.netns = NETNS;
        state.id.sock = 0x10;
        (state.id.local_port, state.id.remote_port) = (CLOSER, PEER);
        state.snap.snd_una = snd_una;
        self.event(Kind::TcpState, Body::TcpState(state))
    }

    fn packet(self, flags: u8, seq: u32, payload: u16) -> Script {
        let packet = Packet {
            netns: NETNS,
            source_port: CLOSER,
            dest_port: PEER,
            flags,
            seq,
            payload,
            ..Packet::default()
        };
        self.event(Kind::Packet, Body::Packet(packet))
    }

    /// A RST by the closer: change of state, event, packet.
    fn reset(self, stack: &[&str], unread: u32) -> Script {
        let mut reset = TcpReset {
            reason: REASON_NONE,
            depth: stack.len() as u32,
            ..TcpReset::default()
        };
        reset.id.netns = NETNS;
        reset.id.sock = 0x10;
        reset.id.state = cause::CLOSE;
        (reset.id.local_port, reset.id.remote_port) = (CLOSER, PEER);
        reset.snap.rcv_nxt = 5000 + unread;
        reset.snap.copied_seq = 5000;
        for (slot, name) in reset.stack.iter_mut().zip(stack) {
            let at = NAMES.iter().position(|known| known == name).unwrap() as u64;
            *slot = 0x1000 * (at + 1) + 0x10;
        }
        self.state(1, cause::CLOSE, 0)
            .event(Kind::TcpReset, Body::TcpReset(reset))
            .packet(RST, 1, 0)
    }

    fn received(self) -> Script {
        let mut reset = TcpReset {
            direction: RESET_RECEIVED,
            ..TcpReset::default()
        };
        reset.id.netns = NETNS;
        self.event(Kind::TcpReset, Body::TcpReset(reset))
    }

    fn counted(mut self, name: &'static str, count: u64) -> Script {
        self.counters.push((name, count));
        self
    }

    fn close(self, unsent_bytes: u64, unread_bytes: u64) -> Script {
        self.mark(&Close {
            unsent_bytes,
            unread_bytes,
            linger_s: None,
            nonblocking: true,
        })
    }

    /// Returned now, having begun so long ago.
    fn closed(self, took: u64) -> Script {
        let ended = self.clock + 1;
        self.mark(&Closed {
            began: ended.saturating_sub(took),
            ended,
            errno: 0,
            tid: TID,
        })
    }

    fn pass(mut self, time: u64) -> Script {
        self.clock += time;
        self
    }

    fn wrote(self, bytes: u64) -> Script {
        self.mark(&Wrote { bytes, checksum: 1 })
    }

    fn read(self, state: u8, bytes: u64, errno: i32) -> Script {
        self.mark(&Read {
            waiting_bytes: bytes,
            state,
        })
        .mark(&Got {
            bytes,
            checksum: 1,
            errno,
        })
    }

    fn end(mut self) -> Vec<Item> {
        let counters: serde_json::Map<String, Value> = self
            .counters
            .iter()
            .map(|(name, count)| ((*name).to_owned(), Value::from(*count)))
            .collect();
        self.item(crate::lab::script::CASE_END, Value::Object(counters));
        self.items
    }
}

fn names() -> Names {
    let symbol = |(at, name): (usize, &&str)| Symbol {
        name: (*name).to_owned(),
        start: 0x1000 * (at as u64 + 1),
        end: 0x1000 * (at as u64 + 2),
    };
    Names {
        symbols: NAMES.iter().enumerate().map(symbol).collect(),
        ..Names::default()
    }
}

/// The one claim of these cases, which are all v4.
fn settled(id: &str, scripts: Vec<Script>) -> Finding {
    let mut cases = Cases::default();
    for (number, script) in scripts.into_iter().enumerate() {
        for item in script.end() {
            // Each case has its own namespace, as in the lab.
            cases.item(&moved(item, number as u32));
        }
    }
    let options = LabOptions {
        variants: vec!["/v4".to_owned()],
        ..LabOptions::default()
    };
    let findings = judge(&cases, &names(), &options, &Ending::default());
    findings
        .into_iter()
        .find(|finding| finding.id == format!("tcp-close/{id}"))
        .unwrap()
}

fn moved(mut item: Item, by: u32) -> Item {
    match &mut item {
        Item::Mark(mark) if mark.name == crate::lab::script::CASE => {
            mark.data["netns"] = Value::from(NETNS + by);
        }
        Item::Mark(_) => {}
        Item::Event(event) => match &mut event.body {
            Body::TcpState(its) => its.id.netns += by,
            Body::TcpReset(its) => its.id.netns += by,
            Body::Packet(its) => its.netns += by,
            _ => {}
        },
    }
    item
}

fn drained(read: u64) -> Script {
    Script::new("drain/v4")
        .wrote(200)
        .packet(16, 1000, 100)
        .close(100, 0)
        .state(1, cause::FIN_WAIT1, 1000)
        .closed(1)
        .read(1, read, 0)
        .packet(16 | FIN, 1100, 100)
        .state(cause::FIN_WAIT1, cause::FIN_WAIT2, 1201)
}

#[test]
fn data_that_goes_out_after_close_drains() {
    let found = settled("drains-in-background", vec![drained(200)]);
    assert_eq!(found.result, ClaimResult::Holds, "{}", found.because);
    assert_eq!(found.numbers["v4_sent_after_close_bytes"], 100);
    assert_eq!(found.numbers["v4_acked_after_close_bytes"], 201);
}

#[test]
fn a_byte_that_never_comes_refutes_draining() {
    let found = settled("drains-in-background", vec![drained(199)]);
    assert_eq!(found.result, ClaimResult::Refuted);
}

#[test]
fn a_close_that_returns_after_the_peer_has_begun_to_read_refutes_draining() {
    let script = Script::new("drain/v4")
        .wrote(200)
        .close(100, 0)
        .state(1, cause::FIN_WAIT1, 1000)
        .read(1, 200, 0)
        .state(cause::FIN_WAIT1, cause::FIN_WAIT2, 1201)
        .closed(1);
    let found = settled("drains-in-background", vec![script]);
    assert_eq!(found.result, ClaimResult::Refuted);
}

#[test]
fn without_held_back_data_nothing_is_said_of_draining() {
    let script = Script::new("drain/v4")
        .wrote(200)
        .close(0, 0)
        .closed(1)
        .read(1, 200, 0);
    let found = settled("drains-in-background", vec![script]);
    assert_eq!(found.result, ClaimResult::Inconclusive);
}

const IN_CLOSE: [&str; 3] = ["tcp_send_active_reset", "__tcp_close", "tcp_close"];
const IN_DISCONNECT: [&str; 4] = [
    "tcp_send_active_reset",
    "tcp_disconnect",
    "__tcp_close",
    "tcp_close",
];

fn unread(label: &str, bytes: u32) -> Script {
    Script::new(label)
        .close(0, u64::from(bytes))
        .reset(&IN_CLOSE, bytes)
        .closed(5)
        .read(cause::CLOSE, 0, libc::ECONNRESET)
        .counted("TcpOutRsts", 1)
        .counted("TcpExtTCPAbortOnClose", 1)
}

fn by_fin(label: &str) -> Script {
    Script::new(label)
        .close(0, 0)
        .state(1, cause::FIN_WAIT1, 1)
        .packet(FIN, 1, 0)
        .closed(1)
        .read(cause::CLOSE_WAIT, 0, 0)
}

#[test]
fn unread_bytes_reset_and_read_ones_do_not() {
    let scripts = vec![
        unread("unread/all/v4", 1000),
        unread("unread/one/v4", 1),
        by_fin("unread/none/v4"),
    ];
    let found = settled("unread-data-resets", scripts);
    assert_eq!(found.result, ClaimResult::Holds, "{}", found.because);
    assert_eq!(found.numbers["v4_one_unread_bytes"], 1);
}

#[test]
fn a_fin_with_bytes_unread_refutes() {
    let gentle = Script::new("unread/one/v4")
        .close(0, 1)
        .packet(FIN, 1, 0)
        .read(cause::CLOSE_WAIT, 0, 0);
    let scripts = vec![
        unread("unread/all/v4", 1000),
        gentle,
        by_fin("unread/none/v4"),
    ];
    let found = settled("unread-data-resets", scripts);
    assert_eq!(found.result, ClaimResult::Refuted);
}

#[test]
fn witnesses_that_differ_leave_it_open() {
    for (name, count) in [("TcpOutRsts", 2), ("TcpExtTCPAbortOnClose", 5)] {
        let scripts = vec![
            unread("unread/all/v4", 1000).counted(name, count),
            unread("unread/one/v4", 1),
            by_fin("unread/none/v4"),
        ];
        let found = settled("unread-data-resets", scripts);
        assert_eq!(found.result, ClaimResult::Inconclusive, "{name}");
    }
}

#[test]
fn a_case_whose_witnesses_differ_is_run_again() {
    for (counted, again) in [(1, false), (2, true)] {
        let mut fold = LabFold {
            names: names(),
            asked: LabOptions::default(),
            cases: Cases::default(),
        };
        let script = unread("unread/all/v4", 1000).counted("TcpOutRsts", counted);
        script.end().iter().for_each(|item| fold.item(item));
        assert_eq!(fold.incomplete(), again);
    }
}

#[test]
fn without_a_fin_in_the_control_nothing_is_said() {
    let silent = Script::new("unread/none/v4")
        .close(0, 0)
        .read(cause::CLOSE_WAIT, 0, 0);
    let scripts = vec![
        unread("unread/all/v4", 1000),
        unread("unread/one/v4", 1),
        silent,
    ];
    let found = settled("unread-data-resets", scripts);
    assert_eq!(found.result, ClaimResult::Inconclusive);
}

fn linger_zero(label: &str, unsent: u64, left: &[u8]) -> Script {
    Script::new(label)
        .wrote(200)
        .close(unsent, 0)
        .reset(&IN_DISCONNECT, 0)
        .closed(5)
        .read(cause::CLOSE, 200 - unsent, libc::ECONNRESET)
        .mark(&Left {
            states: left.to_vec(),
        })
        .counted("TcpOutRsts", 1)
        .counted("TcpExtTCPAbortOnData", 1)
}

fn ordinary() -> Script {
    by_fin("linger-zero/off/v4").mark(&Left {
        states: vec![cause::TIME_WAIT],
    })
}

#[test]
fn linger_zero_resets_inside_close_and_leaves_nothing() {
    let scripts = vec![
        linger_zero("linger-zero/idle/v4", 0, &[]),
        linger_zero("linger-zero/unsent/v4", 100, &[]),
        ordinary(),
    ];
    let found = settled("linger-zero-resets", scripts);
    assert_eq!(found.result, ClaimResult::Holds, "{}", found.because);
    assert_eq!(found.numbers["v4_lost_bytes"], 100);
}

#[test]
fn a_time_wait_after_linger_zero_refutes() {
    let scripts = vec![
        linger_zero("linger-zero/idle/v4", 0, &[cause::TIME_WAIT]),
        linger_zero("linger-zero/unsent/v4", 100, &[]),
        ordinary(),
    ];
    let found = settled("linger-zero-resets", scripts);
    assert_eq!(found.result, ClaimResult::Refuted);
}

fn discarded(label: &str, read: u64) -> Script {
    Script::new(label)
        .wrote(1000)
        .close(0, 0)
        .reset(&IN_DISCONNECT, 0)
        .received()
        .closed(6)
        .mark(&Answer {
            call: "write".to_owned(),
            errno: libc::ECONNRESET,
        })
        .read(cause::CLOSE, read, libc::ECONNRESET)
        .counted("TcpOutRsts", 1)
        .counted("TcpExtTCPAbortOnData", 1)
}

#[test]
fn a_byte_read_after_the_reset_refutes_that_it_was_lost() {
    for (read, result) in [(0, ClaimResult::Holds), (1000, ClaimResult::Refuted)] {
        let scripts = vec![
            discarded("discard/read/v4", read),
            discarded("discard/write-first/v4", read),
        ];
        let found = settled("reset-discards-peer-buffer", scripts);
        assert_eq!(found.result, result, "{}", found.because);
    }
}

const SECOND: u64 = 1_000_000_000;

fn lingers(label: &str, took: u64, acked_first: bool) -> Script {
    let script = Script::new(label)
        .pass(100 * SECOND)
        .wrote(200)
        .close(100, 0)
        .state(1, cause::FIN_WAIT1, 1000)
        .packet(FIN, 1100, 100);
    if acked_first {
        script
            .state(cause::FIN_WAIT1, cause::FIN_WAIT2, 1201)
            .closed(took)
            .read(1, 200, 0)
    } else {
        script
            .closed(took)
            .read(1, 200, 0)
            .state(cause::FIN_WAIT1, cause::FIN_WAIT2, 1201)
    }
}

fn lingering(acked: Script, expires: Script) -> ClaimResult {
    let contrast = lingers("linger/nonblocking/v4", SECOND, false);
    settled("linger-blocks", vec![acked, expires, contrast]).result
}

#[test]
fn linger_waits_for_the_acknowledgement_or_for_its_time() {
    let acked = || lingers("linger/acked/v4", SECOND / 2, true);
    let expires = |took| lingers("linger/expires/v4", took, false);
    assert_eq!(lingering(acked(), expires(SECOND)), ClaimResult::Holds);
    assert_eq!(
        lingering(acked(), expires(SECOND / 2)),
        ClaimResult::Refuted
    );
    assert_eq!(
        lingering(acked(), expires(6 * SECOND)),
        ClaimResult::Refuted
    );
    let early = lingers("linger/acked/v4", SECOND / 2, false);
    assert_eq!(lingering(early, expires(SECOND)), ClaimResult::Refuted);
}

#[test]
fn a_missing_hook_makes_every_claim_unsupported_and_a_missing_case_leaves_it_open() {
    let ending = Ending {
        missing: vec![("tcp_send_reset".to_owned(), "no such event".to_owned())],
        ..Ending::default()
    };
    let all = LabOptions::default();
    let findings = judge(&Cases::default(), &names(), &all, &ending);
    assert_eq!(findings.len(), QUESTIONS.len());
    assert!(
        findings
            .iter()
            .all(|finding| finding.result == ClaimResult::Unsupported)
    );
    let findings = judge(&Cases::default(), &names(), &all, &Ending::default());
    assert!(
        findings
            .iter()
            .all(|finding| finding.result == ClaimResult::Inconclusive)
    );
}

#[test]
fn a_reset_of_which_no_event_tells_is_on_record_all_the_same() {
    let script = Script::new("cause/closed-port/v4")
        .packet(RST, 1, 0)
        .mark(&Provoked {
            cause: Some(Cause::NoSocket),
        })
        .counted("TcpOutRsts", 1);
    let mut cases = Cases::default();
    script.end().iter().for_each(|item| cases.item(item));
    let view = CaseView::new(cases.logs().next().unwrap(), &names());
    assert_eq!(view.sent[0].cause, Cause::Untold);
    assert!(view.counts_agree());
}

/// Data that meets an orphan: the socket is done and destroyed, and then the answer is sent.
#[test]
fn a_socket_destroyed_before_its_reset_keeps_the_state_it_came_from() {
    let mut resets = super::super::evidence::Resets::default();
    let mut change = TcpState {
        old: cause::FIN_WAIT2,
        new: cause::CLOSE,
        ..TcpState::default()
    };
    change.id.sock = 0x10;
    resets.state(&change);
    resets.destroyed(0x10);
    let mut reset = TcpReset::default();
    (reset.id.sock, reset.id.state) = (0x10, cause::CLOSE);
    assert_eq!(resets.before(&reset), Some(cause::FIN_WAIT2));
}
