//! The verdicts over logs made by hand: what holds, what refutes, what settles nothing.

use probes_common::tcp::TIMER_STARTED;
use proptest::prelude::{prop_assert_eq, proptest};
use serde_json::{Value, json};

use super::lab_fold::LabFold;
use super::watch_fold::WatchFold;
use super::{ACTIVE_CLOSER, KILLED, SIXTY_SECONDS};
use crate::evidence::{ClaimResult, Finding, Ledger};
use crate::kernel::tcp::*;
use crate::lab::script::{CASE, CASE_END};
use crate::stream::{Body, Item, Mark};
use crate::trace::tcp::tests::{
    BYSTANDER, CLIENT, SERVER, change, connection, connections, in_order, mixed, waits,
};
use crate::trace::{Context, Ending, Fold as _, Mode};

const PORT: u16 = 40_000;
/// After the last event but the timer's expiry.
const END: u64 = 2_000;

fn mark(ktime: u64, name: &str, data: Value) -> Item {
    Item::Mark(Mark {
        ktime,
        name: name.to_owned(),
        data,
    })
}

fn seen(ktime: u64, client: u8, server: u8, left_cs: u64) -> Item {
    let end = |state: u8| json!({ "state": state, "timer": 3, "expires_cs": left_cs });
    let data = json!({ "when": "then", "client": end(client), "server": end(server) });
    mark(ktime, "seen", data)
}

fn closes(ktime: u64, by: &str) -> Item {
    mark(ktime, "action", json!({ "what": "close", "by": by }))
}

/// A case around these items, with what the namespace would count.
fn case(label: &str, items: Vec<Item>) -> Vec<Item> {
    let begin = json!({ "label": label, "netns": 7, "sysctls": {} });
    let mut all = vec![
        mark(0, CASE, begin),
        mark(0, "clock", json!({ "tick_ns": 4_000_000 })),
        mark(0, "pair", json!({ "client": PORT, "server": 80 })),
    ];
    all.extend(items);
    all.sort_by_key(Item::ktime);
    let resets = all.iter().filter(|item| match item {
        Item::Event(event) => matches!(&event.body, Body::TcpState(its)
            if matches!((its.old, its.new), (ESTABLISHED | CLOSE_WAIT, CLOSE))),
        Item::Mark(_) => false,
    });
    let mut counters = json!({ "TcpActiveOpens": 1, "TcpPassiveOpens": 1 });
    let resets = resets.count();
    if resets > 0 {
        counters["TcpEstabResets"] = json!(resets);
    }
    all.push(mark(END, CASE_END, counters));
    all
}

/// The client closes first; its TIME_WAIT goes on when the case ends.
fn orderly(first: &str) -> Vec<Item> {
    let mut items = connection(100, 10, (0x1000, 0x2000), PORT);
    items.pop();
    items.push(closes(135, first));
    items.push(closes(165, "server"));
    items.push(seen(130, ESTABLISHED, ESTABLISHED, 0));
    items.push(seen(1_000, TIME_WAIT, CLOSE, 6_000));
    items
}

fn judged(items: &[Item], ending: &Ending) -> Vec<Finding> {
    let mut fold = Box::new(LabFold::default());
    items.iter().for_each(|item| fold.item(item));
    fold.finish(ending).findings
}

fn result(items: &[Item], claim: &str) -> (ClaimResult, String) {
    let findings = judged(items, &Ending::default());
    let found = findings.into_iter().find(|finding| finding.id == claim);
    found.map(|found| (found.result, found.because)).unwrap()
}

#[test]
fn the_first_closer_in_time_wait_for_60_s_holds() {
    let items = case("client-closes/v4", orderly("client"));
    let (holds, because) = result(&items, ACTIVE_CLOSER);
    assert_eq!(holds, ClaimResult::Holds, "{because}");
    let (holds, because) = result(&items, SIXTY_SECONDS);
    assert_eq!(holds, ClaimResult::Holds, "{because}");
    assert!(because.contains("60.00"), "{because}");
}

#[test]
fn another_end_in_time_wait_refutes() {
    let (refuted, because) = result(&case("server-closes/v4", orderly("server")), ACTIVE_CLOSER);
    assert_eq!(refuted, ClaimResult::Refuted);
    assert_eq!(
        because,
        "1 of 1 cases otherwise: server-closes/v4: server closed first, in TIME_WAIT: client"
    );
}

/// TIME_WAIT started for so many jiffies of 4 ms, and the table's word for what is left.
fn armed(jiffies: u64, left_cs: u64) -> Vec<Item> {
    let mut items = orderly("client");
    for item in &mut items {
        if let Item::Event(event) = item
            && let Body::TcpTimer(timer) = &mut event.body
        {
            timer.timeout = jiffies;
        }
    }
    items.retain(|item| !matches!(item, Item::Mark(mark) if mark.ktime == 1_000));
    items.push(seen(1_000, TIME_WAIT, CLOSE, left_cs));
    case("client-closes/v4", items)
}

#[test]
fn another_time_refutes_and_a_table_that_differs_settles_nothing() {
    assert_eq!(
        result(&armed(7_500, 3_000), SIXTY_SECONDS).0,
        ClaimResult::Refuted
    );
    let (open, because) = result(&armed(15_000, 3_000), SIXTY_SECONDS);
    assert_eq!(open, ClaimResult::Inconclusive);
    assert_eq!(
        because,
        "the table of sockets does not say what the timers say"
    );
}

#[test]
fn a_look_is_held_against_the_states_of_its_own_time() {
    let looked = |from: u64, to: u64, noted: u64| {
        let mut items = orderly("client");
        let mut look = seen(noted, ESTABLISHED, ESTABLISHED, 0);
        if let Item::Mark(mark) = &mut look {
            mark.data["from_ns"] = json!(from);
            mark.data["to_ns"] = json!(to);
        }
        items.push(look);
        result(&case("client-closes/v4", items), ACTIVE_CLOSER).0
    };
    // Noted when the client had closed already; looked at when it began to; looked at afterwards.
    assert_eq!(looked(130, 132, 150), ClaimResult::Holds);
    assert_eq!(looked(130, 150, 151), ClaimResult::Holds);
    assert_eq!(looked(148, 150, 151), ClaimResult::Inconclusive);
}

#[test]
fn events_that_differ_from_the_table_settle_nothing() {
    let mut items = orderly("client");
    items.push(seen(155, ESTABLISHED, CLOSE_WAIT, 0));
    let (open, because) = result(&case("client-closes/v4", items), ACTIVE_CLOSER);
    assert_eq!(open, ClaimResult::Inconclusive);
    assert!(
        because.contains("client is ESTABLISHED in the table, FIN_WAIT1 by events"),
        "{because}"
    );
}

#[test]
fn a_missing_event_settles_nothing() {
    let mut items = orderly("client");
    items.retain(|item| item.ktime() != 160);
    let (open, because) = result(&case("client-closes/v4", items), ACTIVE_CLOSER);
    assert_eq!(open, ClaimResult::Inconclusive);
    assert!(because.contains("do not fit"), "{because}");
}

#[test]
fn a_claim_whose_cases_were_not_asked_for_is_left_out() {
    let items = case("client-closes/v4", orderly("client"));
    let ids: Vec<String> = judged(&items, &Ending::default())
        .into_iter()
        .map(|finding| finding.id)
        .collect();
    assert_eq!(ids, [ACTIVE_CLOSER, SIXTY_SECONDS]);
}

#[test]
fn a_case_with_a_missing_event_is_run_again_and_a_whole_one_is_not() {
    let mut short = orderly("client");
    short.retain(|item| item.ktime() != 160);
    for (items, again) in [(orderly("client"), false), (short, true)] {
        let mut fold = LabFold::default();
        case("client-closes/v4", items)
            .iter()
            .for_each(|item| fold.item(item));
        assert_eq!(fold.incomplete(), again);
    }
}

/// The client's process is killed; `by` changes the state.
fn dying(by: (u32, &str), read: Value) -> Vec<Item> {
    let (out, back) = ((PORT, 80), (80, PORT));
    let mut items: Vec<Item> = connection(100, 10, (0x1000, 0x2000), PORT);
    items.truncate(4);
    items.extend([
        mark(140, "killed", json!({ "pid": CLIENT.0 })),
        change(150, 0x1000, out, ESTABLISHED, FIN_WAIT1, by),
        change(151, 0x2000, back, ESTABLISHED, CLOSE_WAIT, BYSTANDER),
        waits(152, 0x1001, out, FIN_WAIT2, TIMER_STARTED),
        change(153, 0x1000, out, FIN_WAIT1, FIN_WAIT2, BYSTANDER),
        change(154, 0x1000, out, FIN_WAIT2, CLOSE, BYSTANDER),
        change(160, 0x2000, back, CLOSE_WAIT, LAST_ACK, SERVER),
        change(161, 0x2000, back, LAST_ACK, CLOSE, BYSTANDER),
        mark(170, "call", read),
    ]);
    let mut all = case("killed/v4", items);
    let mut unread: Vec<Item> = connection(100, 10, (0x1000, 0x2000), PORT);
    unread.truncate(4);
    unread.extend([
        mark(140, "killed", json!({ "pid": CLIENT.0 })),
        change(150, 0x1000, out, ESTABLISHED, CLOSE, CLIENT),
        change(151, 0x2000, back, ESTABLISHED, CLOSE, BYSTANDER),
        mark(170, "call", json!({ "call": "read", "errno": 104 })),
    ]);
    all.extend(case("killed-unread/v4", unread));
    all
}

#[test]
fn a_killed_process_closes_by_itself() {
    let (holds, because) = result(&dying(CLIENT, json!({ "bytes": 0 })), KILLED);
    assert_eq!(holds, ClaimResult::Holds, "{because}");
    let (refuted, because) = result(&dying(SERVER, json!({ "bytes": 0 })), KILLED);
    assert_eq!(refuted, ClaimResult::Refuted);
    assert!(
        because.contains("left ESTABLISHED in process 20, killed was 10"),
        "{because}"
    );
    let (refuted, because) = result(&dying(CLIENT, json!({ "errno": 104 })), KILLED);
    assert_eq!(refuted, ClaimResult::Refuted);
    assert!(because.contains("the peer read"), "{because}");
}

#[test]
fn losses_and_missing_hooks_block_every_claim() {
    let items = case("client-closes/v4", orderly("client"));
    let lost = Ending {
        lost: [("tcp_state".to_owned(), 1)].into(),
        ..Ending::default()
    };
    let missing = Ending {
        missing: vec![("timer_start".to_owned(), "not there".to_owned())],
        ..Ending::default()
    };
    let results = |ending: &Ending| -> Vec<ClaimResult> {
        let findings = judged(&items, ending);
        findings.iter().map(|finding| finding.result).collect()
    };
    assert_eq!(results(&lost), [ClaimResult::Inconclusive; 2]);
    assert_eq!(results(&missing), [ClaimResult::Unsupported; 2]);
}

fn watched(items: Vec<Item>) -> Ledger {
    let context = Context {
        trace: "tcp-states".to_owned(),
        mode: Mode::Watch,
        options: json!({}),
        symbols: Vec::new(),
        attached: Vec::new(),
        enums: Default::default(),
        timeline: None,
    };
    let mut fold = WatchFold::new(&context);
    in_order(items).iter().for_each(|item| fold.item(item));
    Box::new(fold).finish(&Ending::default()).ledger
}

proptest! {
    #[test]
    fn a_watch_tells_the_same_whatever_cpu_is_read_first(
        starts in proptest::collection::vec((0_u64..5_000, 1_u64..40), 1..12),
        seed in proptest::collection::vec(0_usize..64, 400),
    ) {
        let queues = connections(&starts);
        let straight = watched(queues.iter().flatten().cloned().collect());
        let ended = straight.tables.iter().find(|table| table.id == "connections").unwrap();
        prop_assert_eq!(ended.rows.len(), 2 * starts.len(), "both ends of each");
        prop_assert_eq!(watched(mixed(queues, &seed)), straight);
    }
}
