//! The watch on streams made by hand.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use probes_common::event::{Header, Kind};
use probes_common::tcp::{
    HS_CONN_REQUEST, HS_COOKIE_CHECKED, HS_COOKIE_SENT, HS_REQUEST_QUEUED, Handshake, SkbDrop,
    SockId, TcpState,
};
use serde_json::{Value, json};

use super::WatchFold;
use crate::evidence::Ledger;
use crate::kernel::tcp::{AF_INET, CLOSE, ESTABLISHED, LISTEN, SYN_RECV};
use crate::stream::{Body, Event, Item};
use crate::trace::tcp::marks::{OwnerMark, SocketMark};
use crate::trace::tcp::queues::{
    COOKIES_SENT, COOKIES_VALID, FULL_DROP, KNOBS, LISTEN_DROPS, ListenerMark, OVERFLOWS,
    QueuesMark,
};
use crate::trace::{Context, Ending, Fold, Mode};

const NETNS: u32 = 7;
const SOCK: u64 = 0xffff_8880_0000_1000;
const COOKIE: u64 = 42;

fn context(attached: &[&str], options: Value) -> Context {
    let reasons = BTreeMap::from([(40, "SKB_DROP_REASON_TCP_LISTEN_OVERFLOW".to_owned())]);
    Context {
        trace: "syn-queue".to_owned(),
        mode: Mode::Watch,
        options,
        symbols: Vec::new(),
        attached: attached.iter().map(|name| (*name).to_owned()).collect(),
        enums: BTreeMap::from([("skb_drop_reason".to_owned(), reasons)]),
        timeline: None,
    }
}

struct Story {
    fold: WatchFold,
    at: u64,
}

impl Story {
    fn new(attached: &[&str]) -> Story {
        Story::with(attached, json!({}))
    }

    fn with(attached: &[&str], options: Value) -> Story {
        Story {
            fold: WatchFold::new(&context(attached, options)),
            at: 1,
        }
    }

    fn event(&mut self, kind: Kind, body: Body) {
        self.at += 1_000_000;
        let header = Header {
            kind: kind as u16,
            ktime: self.at,
            tgid: 99,
            pid: 99,
            ..Header::default()
        };
        self.fold.item(&Item::Event(Event { header, body }));
    }

    fn state(&mut self, id: SockId, old: u8, new: u8, limit: u32) {
        let mut its = TcpState {
            id,
            old,
            new,
            ..TcpState::default()
        };
        its.snap.max_ack_backlog = limit;
        its.comm[..5].copy_from_slice(b"nginx");
        self.event(Kind::TcpState, Body::TcpState(its));
    }

    /// What became of a SYN, with the queues' lengths as the event has them.
    fn handshake(&mut self, what: u32, other: u64, half_open: u32, waiting: u32) {
        let mut its = Handshake {
            id: id(SOCK, 80, 0),
            what,
            other,
            ..Handshake::default()
        };
        its.snap.request_qlen = half_open;
        its.snap.ack_backlog = waiting;
        its.snap.max_ack_backlog = 16;
        self.event(Kind::Handshake, Body::Handshake(its));
    }

    /// A list, as of now.
    fn list(&mut self, knobs: [u64; 4], counters: &[(&str, u64)], listeners: &[ListenerMark]) {
        for its in listeners {
            let mark = SocketMark {
                netns: NETNS,
                family: AF_INET,
                state: LISTEN,
                local: its.local,
                remote: "0.0.0.0:0".parse().unwrap(),
                cookie: its.cookie,
                inode: 5,
                uid: 0,
                owner: Some(OwnerMark {
                    pid: 99,
                    comm: "nginx".to_owned(),
                }),
                holders: vec![99],
                timer: 0,
                expires_ms: 0,
                bytes_acked: 0,
                bytes_received: 0,
                rtt_us: 0,
            };
            self.fold.item(&Item::Mark(mark.to_mark(self.at).unwrap()));
        }
        let named = |(name, value): (&&str, u64)| ((*name).to_owned(), value);
        let mark = QueuesMark {
            netns: NETNS,
            knobs: KNOBS.iter().zip(knobs).map(named).collect(),
            counters: counters
                .iter()
                .map(|(name, n)| ((*name).to_owned(), *n))
                .collect(),
            listeners: listeners.to_vec(),
            listeners_count: listeners.len() as u64,
        };
        self.fold.item(&Item::Mark(mark.to_mark(self.at).unwrap()));
    }

    fn end(self) -> Ledger {
        Box::new(self.fold).finish(&Ending::default()).ledger
    }
}

fn id(sock: u64, local: u16, remote: u16) -> SockId {
    let mut id = SockId {
        sock,
        netns: NETNS,
        family: AF_INET,
        local_port: local,
        remote_port: remote,
        ..SockId::default()
    };
    id.local_addr[..4].copy_from_slice(&[127, 0, 0, 1]);
    if remote != 0 {
        id.remote_addr[..4].copy_from_slice(&[127, 0, 0, 1]);
    }
    id
}

fn listener(port: u16, waiting: u32, half_open: u64, drops: u32) -> ListenerMark {
    ListenerMark {
        cookie: COOKIE + u64::from(port),
        family: AF_INET,
        local: SocketAddr::new("127.0.0.1".parse().unwrap(), port),
        waiting,
        limit: 16,
        drops: Some(drops),
        half_open: Some(half_open),
    }
}

#[track_caller]
fn cell(ledger: &Ledger, table: &str, row: usize, key: &str) -> Value {
    let table = ledger.tables.iter().find(|its| its.id == table).unwrap();
    let at = table.columns.iter().position(|its| its.key == key).unwrap();
    table.rows[row][at].clone()
}

fn says(ledger: &Ledger, words: &str) -> bool {
    ledger.remarks.iter().any(|remark| remark.contains(words))
}

const WIDE: [u64; 4] = [4096, 4096, 1, 0];

#[test]
fn a_list_alone_tells_the_accept_queue_and_its_drops() {
    let mut story = Story::new(&[]);
    story.list(WIDE, &[(OVERFLOWS, 5)], &[listener(80, 0, 0, 5)]);
    story.list(WIDE, &[(OVERFLOWS, 8)], &[listener(80, 17, 0, 8)]);
    let ledger = story.end();
    assert_eq!(cell(&ledger, "accept_queues", 0, "waiting_count"), 17);
    assert_eq!(cell(&ledger, "accept_queues", 0, "drops_count"), 3);
    assert_eq!(cell(&ledger, "accept_queues", 0, "knob"), "backlog");
    assert_eq!(
        cell(&ledger, "syn_queues", 0, "requests_count"),
        Value::Null
    );
    assert_eq!(cell(&ledger, "listeners", 0, "process"), "nginx");
    assert_eq!(cell(&ledger, "counters", 0, "count"), 3);
    assert!(
        says(&ledger, "accept queue was full (17 of 16)"),
        "{:?}",
        ledger.remarks
    );
    assert!(says(&ledger, "what was between two lists is not seen"));
}

#[test]
fn a_full_accept_queue_is_one_longer_than_its_limit() {
    let mut story = Story::new(&[]);
    story.list(WIDE, &[], &[listener(80, 16, 0, 0)]);
    assert!(!says(&story.end(), "accept queue was full"));
}

#[test]
fn timers_tell_the_longest_queue_between_two_lists() {
    let mut story = Story::new(&["request_queued"]);
    story.list([4096, 4096, 0, 0], &[], &[listener(80, 0, 0, 0)]);
    for length in 0..16 {
        story.handshake(HS_REQUEST_QUEUED, 1, length, 3);
    }
    let counters = [(FULL_DROP, 9), (LISTEN_DROPS, 9)];
    story.list([4096, 4096, 0, 0], &counters, &[listener(80, 0, 0, 9)]);
    let ledger = story.end();
    assert_eq!(cell(&ledger, "syn_queues", 0, "most_count"), 16);
    assert_eq!(cell(&ledger, "syn_queues", 0, "half_open_count"), 0);
    assert_eq!(cell(&ledger, "syn_queues", 0, "requests_count"), 16);
    assert_eq!(cell(&ledger, "accept_queues", 0, "most_count"), 3);
    assert!(says(
        &ledger,
        "SYNs beyond it were dropped; set net.ipv4.tcp_syncookies 1"
    ));
    assert!(says(&ledger, "9 SYNs were dropped by a full SYN queue"));
    assert!(!says(&ledger, "more packets were dropped"));
}

#[test]
fn each_knob_binds_where_it_is_the_smallest() {
    for (knobs, knob, limit) in [
        ([4096, 4096, 0, 0], json!("backlog"), 16),
        ([16, 4096, 0, 0], json!("somaxconn"), 16),
        ([4096, 16, 0, 0], json!("tcp_max_syn_backlog"), 12),
        ([4096, 16, 1, 0], json!("backlog"), 16),
        ([4096, 4096, 2, 0], json!("tcp_syncookies 2"), 0),
    ] {
        let mut story = Story::new(&[]);
        story.list(knobs, &[], &[listener(80, 0, 0, 0)]);
        let ledger = story.end();
        assert_eq!(cell(&ledger, "syn_queues", 0, "knob"), knob, "{knobs:?}");
        assert_eq!(cell(&ledger, "syn_queues", 0, "limit_count"), limit);
    }
}

#[test]
fn cookies_of_a_namespace_are_nobodys_where_several_listen() {
    let sent = [(COOKIES_SENT, 4), (COOKIES_VALID, 3)];
    let mut alone = Story::new(&[]);
    alone.list(WIDE, &[], &[listener(80, 0, 0, 0)]);
    alone.list(WIDE, &sent, &[listener(80, 0, 0, 0)]);
    let ledger = alone.end();
    assert_eq!(cell(&ledger, "syn_queues", 0, "cookies_sent_count"), 4);
    assert_eq!(cell(&ledger, "syn_queues", 0, "cookies_valid_count"), 3);
    let mut two = Story::new(&[]);
    let both = [listener(80, 0, 0, 0), listener(81, 0, 0, 0)];
    two.list(WIDE, &[], &both);
    two.list(WIDE, &sent, &both);
    let ledger = two.end();
    assert_eq!(
        cell(&ledger, "syn_queues", 0, "cookies_sent_count"),
        Value::Null
    );
}

#[test]
fn functions_tell_cookies_by_listener() {
    let mut story = Story::new(&["tcp_conn_request", "cookie_v4_init_sequence"]);
    story.list(WIDE, &[], &[listener(80, 0, 0, 0), listener(81, 0, 0, 0)]);
    story.handshake(HS_CONN_REQUEST, 0, 16, 0);
    story.handshake(HS_COOKIE_SENT, 0, 0, 0);
    story.handshake(HS_COOKIE_CHECKED, SOCK, 16, 0);
    story.handshake(HS_COOKIE_CHECKED, SOCK + 4096, 16, 1);
    let ledger = story.end();
    assert_eq!(cell(&ledger, "syn_queues", 0, "most_count"), 16);
    assert_eq!(cell(&ledger, "syn_queues", 0, "cookies_sent_count"), 1);
    assert_eq!(cell(&ledger, "syn_queues", 0, "cookies_valid_count"), 1);
    assert_eq!(cell(&ledger, "syn_queues", 1, "cookies_sent_count"), 0);
}

#[test]
fn a_listener_of_a_moment_has_its_line_and_its_owner() {
    let mut story = Story::new(&["request_queued"]);
    story.state(id(SOCK, 80, 0), CLOSE, LISTEN, 16);
    story.state(id(SOCK + 8, 80, 4000), LISTEN, SYN_RECV, 0);
    story.state(id(SOCK + 8, 80, 4000), SYN_RECV, ESTABLISHED, 0);
    story.state(id(SOCK, 80, 0), LISTEN, CLOSE, 16);
    // The same pointer again.
    story.state(id(SOCK, 80, 0), CLOSE, LISTEN, 5);
    story.list(
        [5, 4096, 1, 0],
        &[],
        &[ListenerMark {
            limit: 5,
            ..listener(80, 0, 0, 2)
        }],
    );
    let ledger = story.end();
    assert_eq!(cell(&ledger, "listeners", 0, "process"), "nginx");
    assert_eq!(cell(&ledger, "listeners", 0, "asked"), "16 or more");
    assert!(cell(&ledger, "listeners", 0, "closed_ms").is_number());
    assert_eq!(cell(&ledger, "accept_queues", 0, "connections_count"), 1);
    assert_eq!(cell(&ledger, "accept_queues", 1, "connections_count"), 0);
    assert_eq!(cell(&ledger, "listeners", 1, "closed_ms"), Value::Null);
    // Whatever it has dropped, it has dropped since it was opened.
    assert_eq!(cell(&ledger, "accept_queues", 1, "drops_count"), 2);
}

#[test]
fn dropped_packets_bear_the_kernels_reason() {
    let mut story = Story::new(&[]);
    story.list(WIDE, &[], &[listener(80, 0, 0, 0)]);
    for (port, reason) in [(80, 40), (80, 40), (81, 40)] {
        let drop = SkbDrop {
            id: id(0, port, 4000),
            reason,
            ..SkbDrop::default()
        };
        story.event(Kind::SkbDrop, Body::SkbDrop(drop));
    }
    let ledger = story.end();
    assert_eq!(cell(&ledger, "packet_drops", 0, "count"), 2);
    let reason = cell(&ledger, "packet_drops", 0, "reason");
    assert_eq!(reason, "SKB_DROP_REASON_TCP_LISTEN_OVERFLOW");
}

#[test]
fn only_listeners_that_were_asked_for_are_shown() {
    let both = [listener(80, 0, 0, 0), listener(81, 0, 0, 0)];
    let rows = |options: Value| {
        let mut story = Story::with(&[], options);
        story.list(WIDE, &[], &both);
        let ledger = story.end();
        ledger.tables[0].rows.len()
    };
    assert_eq!(rows(json!({})), 2);
    assert_eq!(rows(json!({ "local_port": 81 })), 1);
    assert_eq!(rows(json!({ "states": ["ESTABLISHED"] })), 0);
    assert_eq!(rows(json!({ "states": ["LISTEN"] })), 2);
    // Of processes, and nobody said whose.
    assert_eq!(rows(json!({ "of_processes": true })), 0);
}
