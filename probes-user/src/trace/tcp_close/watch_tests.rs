//! A client that connected by itself resets a server that had listened before the start.

use probes_common::event::Kind;
use probes_common::tcp::{RESET_RECEIVED, TcpState};
use serde_json::json;

use super::super::cause::NAMES;
use super::*;
use crate::stream::Mark;
use crate::trace::Symbol;

const CLIENT: u32 = 50;
const SERVER: u32 = 60;
const PORT: u16 = 80;
const FROM: u16 = 4000;

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

fn address(name: &str) -> u64 {
    let at = NAMES.iter().position(|known| *known == name).unwrap();
    0x1000 * (at as u64 + 1) + 0x10
}

fn event(kind: Kind, tgid: u32, body: Body) -> Item {
    let header = Header {
        ktime: 10,
        kind: kind as u16,
        pid: tgid,
        tgid,
        ..Header::default()
    };
    Item::Event(Event { header, body })
}

fn id(sock: u64, state: u8, local: u16, remote: u16) -> probes_common::tcp::SockId {
    let mut id = probes_common::tcp::SockId {
        sock,
        netns: 9,
        family: 2,
        state,
        local_port: local,
        remote_port: remote,
        ..Default::default()
    };
    id.local_addr[..4].copy_from_slice(&[127, 0, 0, 1]);
    id.remote_addr[..4].copy_from_slice(&[127, 0, 0, 1]);
    id
}

fn state(sock: u64, tgid: u32, ends: (u16, u16), old: u8, new: u8) -> Item {
    let mut change = TcpState {
        id: id(sock, new, ends.0, ends.1),
        old,
        new,
        ..TcpState::default()
    };
    change.comm[..6].copy_from_slice(b"client");
    event(Kind::TcpState, tgid, Body::TcpState(change))
}

fn listener() -> Item {
    Item::Mark(Mark {
        ktime: 1,
        name: "socket".to_owned(),
        data: json!({
            "netns": 9, "family": 2, "state": 10, "local": "127.0.0.1:80", "remote": "0.0.0.0:0",
            "cookie": 1, "inode": 5, "uid": 0, "owner": { "pid": SERVER, "comm": "server" },
            "holders": [SERVER], "timer": 0, "expires_ms": 0, "bytes_acked": 0, "bytes_received": 0,
            "rtt_us": 0,
        }),
    })
}

fn received() -> Item {
    let reset = TcpReset {
        id: id(2, 1, PORT, FROM),
        direction: RESET_RECEIVED,
        ..TcpReset::default()
    };
    event(Kind::TcpReset, CLIENT, Body::TcpReset(reset))
}

fn sent() -> Item {
    let mut reset = TcpReset {
        id: id(1, 7, FROM, PORT),
        depth: 2,
        ..TcpReset::default()
    };
    reset.stack[0] = address("tcp_disconnect");
    reset.stack[1] = address("__tcp_close");
    event(Kind::TcpReset, CLIENT, Body::TcpReset(reset))
}

fn watched(resets: [Item; 2]) -> Vec<Line> {
    let mut fold = WatchFold::new(names(), &json!({}));
    let connection = [
        listener(),
        state(1, CLIENT, (FROM, PORT), 7, 2),
        state(2, CLIENT, (PORT, FROM), 10, 3),
        state(2, CLIENT, (PORT, FROM), 3, 1),
        state(1, CLIENT, (FROM, PORT), 2, 1),
        state(1, CLIENT, (FROM, PORT), 1, 7),
    ];
    connection
        .iter()
        .chain(&resets)
        .for_each(|item| fold.item(item));
    fold.lines
}

#[test]
fn both_ends_are_named_whichever_event_comes_first() {
    for resets in [[sent(), received()], [received(), sent()]] {
        let lines = watched(resets);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let who = |who: &Option<Who>| who.as_ref().map(Who::text);
        assert_eq!(who(&lines[0].sender).unwrap(), "client[50]");
        assert_eq!(who(&lines[0].receiver).unwrap(), "server[60]");
        assert_eq!(lines[0].cause, Some(Cause::LingerZero));
        assert_eq!(lines[0].state, 1);
    }
}

#[test]
fn a_reset_from_elsewhere_has_no_sender_and_no_cause() {
    let lines = watched([received(), received()]);
    assert_eq!(lines.len(), 2);
    assert!(
        lines
            .iter()
            .all(|line| line.cause.is_none() && line.sender.is_none())
    );
}

#[test]
fn a_watch_of_processes_shows_their_resets_only() {
    let mut fold = WatchFold::new(names(), &json!({ "of_processes": true }));
    fold.item(&received());
    assert_eq!(fold.lines.len(), 1);
    assert!(fold.ledger().tables[1].rows.is_empty());
}
