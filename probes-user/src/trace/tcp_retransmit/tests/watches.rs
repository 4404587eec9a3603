//! The watch: what it counts, whose it says a socket is, what it says of the next wait.

use serde_json::{Value, json};

use super::kit::*;
use crate::evidence::{Ledger, Table};
use crate::stream::{Body, Item};
use crate::trace::tcp::marks::{OwnerMark, SocketMark};
use crate::trace::tcp_retransmit::watch::WatchFold;
use crate::trace::{Context, Ending, Fold, Mode};

const OWNER: u32 = 321;

fn context(options: Value) -> Context {
    Context {
        trace: "tcp-retransmit".to_owned(),
        mode: Mode::Watch,
        options,
        symbols: symbols(),
        attached: Vec::new(),
        enums: Default::default(),
        timeline: None,
    }
}

/// The client's socket as a list of the kernel's has it.
fn listed(ktime: u64) -> Item {
    let mark = SocketMark {
        netns: 7,
        family: 2,
        state: 1,
        local: format!("127.0.0.1:{CLIENT}").parse().unwrap(),
        remote: format!("127.0.0.1:{SERVER}").parse().unwrap(),
        cookie: 5,
        inode: 6,
        uid: 0,
        owner: Some(OwnerMark {
            pid: OWNER,
            comm: "talker".to_owned(),
        }),
        holders: vec![OWNER],
        timer: 0,
        expires_ms: 0,
        bytes_acked: 0,
        bytes_received: 0,
        rtt_us: 0,
    };
    Item::Mark(mark.to_mark(ktime).unwrap())
}

pub fn ledger(items: &[Item], options: Value) -> Ledger {
    let mut fold: Box<dyn Fold> = Box::new(WatchFold::new(&context(options)));
    items.iter().for_each(|item| fold.item(item));
    let interim = fold.interim();
    let outcome = fold.finish(&Ending::default());
    assert_eq!(interim, outcome.ledger);
    assert!(outcome.findings.is_empty(), "a watch judges nothing");
    outcome.ledger
}

fn table<'a>(ledger: &'a Ledger, id: &str) -> &'a Table {
    ledger.tables.iter().find(|table| table.id == id).unwrap()
}

fn cell<'a>(table: &'a Table, row: usize, key: &str) -> &'a Value {
    let at = table.columns.iter().position(|column| column.key == key);
    &table.rows[row][at.unwrap()]
}

fn items(wire: Wire) -> Vec<Item> {
    wire.events.into_iter().map(Item::Event).collect()
}

fn dead_peer() -> Wire {
    let mut wire = Wire::default();
    wire.resend(200 * MS, 1_000, resend_with(BY_PROBE, OPEN, 5));
    if let Some(event) = wire.events.last_mut()
        && let Body::TcpRetransmit(its) = &mut event.body
    {
        its.snap.rto = 51;
    }
    wire.rto_after(400 * MS, 1_000, 0, 51);
    wire.rto_after(800 * MS, 1_000, 1, 102);
    wire
}

fn options(of_processes: bool) -> Value {
    json!({ "jiffy_ns": 4 * MS, "of_processes": of_processes, "states": [] })
}

#[test]
fn causes_steps_and_waits_of_a_dead_peer() {
    let ledger = ledger(&items(dead_peer()), options(false));
    let causes = table(&ledger, "causes");
    assert_eq!(cell(causes, 0, "rto_count"), 2);
    assert_eq!(cell(causes, 0, "tlp_count"), 1);
    let sockets = table(&ledger, "sockets");
    assert_eq!(cell(sockets, 0, "resends_count"), 3);
    assert_eq!(cell(sockets, 0, "backoff_step_max"), 1);
    assert_eq!(cell(sockets, 0, "pid"), &Value::Null);
    let resends = table(&ledger, "resends");
    let next: Vec<&Value> = (0..3).map(|row| cell(resends, row, "next_ms")).collect();
    assert_eq!(next, [&json!(204.0), &json!(408.0), &json!(816.0)]);
    let again: Vec<&Value> = (0..3).map(|row| cell(resends, row, "again")).collect();
    assert_eq!(again, [&json!(false), &json!(true), &json!(true)]);
}

#[test]
fn an_owner_found_later_is_told_too() {
    let mut items = items(dead_peer());
    items.push(listed(900 * MS));
    let ledger = ledger(&items, options(false));
    assert_eq!(cell(table(&ledger, "sockets"), 0, "pid"), OWNER);
    assert_eq!(cell(table(&ledger, "resends"), 0, "owner"), "talker");
}

#[test]
fn of_processes_only_those_of_the_target_are_told() {
    let mut items = items(dead_peer());
    items.push(listed(900 * MS));
    let ledger = ledger(&items, options(true));
    assert!(table(&ledger, "sockets").rows.is_empty());
    assert!(table(&ledger, "resends").rows.is_empty());
    assert_eq!(cell(table(&ledger, "causes"), 0, "rto_count"), 0);
    assert_eq!(ledger.remarks, ["nothing was sent again"]);
}

#[test]
fn a_state_that_was_not_asked_for_is_left_out() {
    let asked = json!({ "jiffy_ns": 4 * MS, "states": ["CLOSE_WAIT"] });
    let left = ledger(&items(dead_peer()), asked);
    assert!(table(&left, "sockets").rows.is_empty());
    let asked = json!({ "jiffy_ns": 4 * MS, "states": ["ESTABLISHED"] });
    let told = ledger(&items(dead_peer()), asked);
    assert_eq!(table(&told, "sockets").rows.len(), 1);
}

#[test]
fn without_the_length_of_a_jiffy_no_wait_is_told() {
    let ledger = ledger(&items(dead_peer()), json!({}));
    assert_eq!(cell(table(&ledger, "resends"), 1, "next_ms"), &Value::Null);
}

#[test]
fn a_loss_on_purpose_is_tied_to_the_resend_that_answers_it() {
    let mut wire = Wire::default();
    wire.data(MS, 1_000, true);
    wire.data(2 * MS, 1_000 + u32::from(MSS), false);
    wire.resend(
        202 * MS,
        1_000 + u32::from(MSS),
        resend_with(BY_PROBE, OPEN, 5),
    );
    let mut items = items(wire);
    items.push(listed(900 * MS));
    let asked = json!({ "jiffy_ns": 4 * MS, "drop": ["data:2@9"] });
    let told = ledger(&items, asked);
    let losses = table(&told, "losses");
    assert_eq!(losses.rows.len(), 1);
    assert_eq!(cell(losses, 0, "rule"), "data:2@9");
    assert_eq!(cell(losses, 0, "cause"), "TLP");
    assert_eq!(cell(losses, 0, "lost"), "segment");
    assert_eq!(cell(losses, 0, "resent_ms"), 200.0);
    assert_eq!(cell(losses, 0, "pid"), OWNER);
    // Nothing is dropped on purpose, nothing is tied.
    let plain = ledger(&items, json!({}));
    assert!(plain.tables.iter().all(|table| table.id != "losses"));
}
