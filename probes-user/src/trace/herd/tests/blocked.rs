//! What keeps a claim from being settled, and that nothing settles it by silence.

use serde_json::json;

use super::super::marks::{AccountMark, Arrival, HerdMark, Variant};
use super::super::testkit::*;
use crate::evidence::ClaimResult;
use crate::lab::account::Account;
use crate::stream::{Body, Item};
use crate::trace::{Ending, LabOptions, Mode, Trace};

const ID: &str = "accept-herd/one-wakeup";

fn good() -> Script {
    let mut script = Script::new();
    script.scene(Variant::Accept, Arrival::Sequential, 4);
    for round in 0..20 {
        script.herd(&[round % 4]);
    }
    script
}

fn ended(mut script: Script) -> Script {
    script.end();
    script
}

fn judged(script: &Script, ending: &Ending) -> (ClaimResult, String) {
    let outcome = fold(&context("accept-herd", Mode::Lab), &script.items, ending);
    let found = finding(&outcome, ID);
    (found.result, found.because.clone())
}

fn inconclusive(script: &Script, ending: &Ending, why: &str) {
    let (result, because) = judged(script, ending);
    assert_eq!(result, ClaimResult::Inconclusive, "{because}");
    assert!(because.contains(why), "{because}");
}

/// The script without the events that this picks.
fn without(mut script: Script, drop: impl Fn(&Body) -> bool) -> Script {
    script
        .items
        .retain(|item| !matches!(item, Item::Event(event) if drop(&event.body)));
    script
}

/// The good run with what the kernel counted of each worker, short of `missing` voluntary switches of the first.
fn accounted(missing: u64) -> Script {
    let mut script = good();
    let zero = json!({ "voluntary": 0, "involuntary": 0, "times": null });
    for item in &mut script.items {
        if let Item::Mark(mark) = item
            && let Some(workers) = mark.data["workers"].as_array_mut()
        {
            workers
                .iter_mut()
                .for_each(|its| its["account"] = zero.clone());
        }
    }
    for index in 0..4 {
        let pid = script.pid(index);
        let slept = |item: &&Item| {
            let left = |body: &Body| matches!(body, Body::Switch(its) if its.prev == pid);
            matches!(item, Item::Event(event) if left(&event.body))
        };
        let slept = script.items.iter().filter(slept).count() as u64;
        let account = Account {
            voluntary: slept - if index == 0 { missing } else { 0 },
            ..Account::default()
        };
        script.mark(HerdMark::Account(AccountMark {
            scene: 0,
            index,
            account,
        }));
    }
    ended(script)
}

#[test]
fn the_kernels_own_account_of_switches_must_agree() {
    let alike = accounted(0);
    assert_eq!(judged(&alike, &Ending::default()).0, ClaimResult::Holds);
    let context = context("accept-herd", Mode::Lab);
    let outcome = fold(&context, &alike.items, &Ending::default());
    let rows = |name: &str| {
        let tables = &outcome.ledger.tables;
        let found = tables.iter().find(|table| table.id == name);
        found.map_or(0, |table| table.rows.len())
    };
    assert_eq!((rows("accounts"), rows("checks")), (4, 7));
    let why = "independent counts differ, voluntary switches";
    inconclusive(&accounted(1), &Ending::default(), why);
}

#[test]
fn the_good_run_holds() {
    assert_eq!(
        judged(&ended(good()), &Ending::default()).0,
        ClaimResult::Holds
    );
}

#[test]
fn lost_records_leave_it_open_but_lost_witnesses_do_not() {
    let lost = |kind: &str| Ending {
        lost: [(kind.to_owned(), 3)].into(),
        ..Ending::default()
    };
    inconclusive(&ended(good()), &lost("Waking"), "records lost: 3 Waking");
    inconclusive(
        &ended(good()),
        &lost("sent but not read"),
        "sent but not read",
    );
    assert_eq!(
        judged(&ended(good()), &lost("WaitWake")).0,
        ClaimResult::Holds
    );
}

#[test]
fn a_missing_hook_is_unsupported() {
    let ending = Ending {
        missing: vec![("sched_waking".to_owned(), "no such tracepoint".to_owned())],
        ..Ending::default()
    };
    let (result, because) = judged(&Script::new(), &ending);
    assert_eq!(result, ClaimResult::Unsupported);
    assert!(
        because.contains("sched_waking") && because.contains("no such tracepoint"),
        "{because}"
    );
}

#[test]
fn a_failed_step_of_the_lab_leaves_it_open() {
    let ending = Ending {
        lab_error: Some("worker 3 died".to_owned()),
        ..Ending::default()
    };
    inconclusive(&ended(good()), &ending, "worker 3 died");
}

#[test]
fn an_interrupted_run_leaves_open_what_it_did_not_reach() {
    let ending = Ending {
        interrupted: true,
        ..Ending::default()
    };
    inconclusive(&Script::new(), &ending, "interrupted");
    inconclusive(&good(), &ending, "has no end");
    assert_eq!(judged(&ended(good()), &ending).0, ClaimResult::Holds);
}

#[test]
fn an_incomplete_scene_leaves_it_open() {
    let mut script = good();
    script.complete = false;
    inconclusive(&ended(script), &Ending::default(), "not every connection");
}

#[test]
fn silence_is_never_a_result() {
    let no_wakings = without(ended(good()), |body| matches!(body, Body::Waking(_)));
    inconclusive(
        &no_wakings,
        &Ending::default(),
        "positive control silent: sched_waking",
    );
    let no_states = without(ended(good()), |body| matches!(body, Body::SockState(_)));
    inconclusive(&no_states, &Ending::default(), "independent counts differ");
    let mut nothing = Script::new();
    nothing.scene(Variant::Accept, Arrival::Sequential, 4).end();
    inconclusive(
        &nothing,
        &Ending::default(),
        "positive control silent: inet_sock_set_state",
    );
    let no_switches = without(ended(good()), |body| matches!(body, Body::Switch(_)));
    let (result, because) = judged(&no_switches, &Ending::default());
    assert_eq!(result, ClaimResult::Inconclusive, "{because}");
}

#[test]
fn counts_that_differ_leave_it_open_and_say_which() {
    let mut script = good();
    script.counts[0].accepted += 1;
    inconclusive(
        &ended(script),
        &Ending::default(),
        "accepted by their own count 21",
    );
    let mut script = good();
    script.counts[0].eagain += 1;
    inconclusive(
        &ended(script),
        &Ending::default(),
        "EAGAIN: seen 0, by their own count 1",
    );
    let mut script = good();
    script.counts[0].returns += 1;
    assert_eq!(
        judged(&ended(script), &Ending::default()).0,
        ClaimResult::Holds
    );
}

#[test]
fn a_foreign_connection_is_found_by_its_port() {
    let mut script = good();
    let foreign = Conn {
        sock: 0x6666,
        client_port: 1,
    };
    let mut marks = script.items.iter_mut().filter_map(|item| match item {
        Item::Event(event) => match &mut event.body {
            Body::SockState(state) => Some(state),
            _ => None,
        },
        Item::Mark(_) => None,
    });
    marks.next().unwrap().remote_port = foreign.client_port;
    inconclusive(&ended(script), &Ending::default(), "client ports");
}

#[test]
fn wakings_that_nobody_owns_leave_it_open() {
    let mut script = good();
    let target = script.pid(1);
    script.waking(CLIENT, target, 0x9999, CHILD, 0);
    inconclusive(
        &ended(script),
        &Ending::default(),
        "wakings by a connection that nobody knows: 1",
    );
    let mut script = good();
    let conn = script.connect();
    let target = script.pid(0);
    script.phase += 1;
    script.woken(target, conn);
    script.phase -= 1;
    script.wins(target, conn);
    inconclusive(&ended(script), &Ending::default(), "another phase");
    let mut script = good();
    let conn = script.connect();
    let target = script.pid(0);
    script
        .waking(CLIENT, target, conn.sock, &[], 0)
        .wakeup(target)
        .wins(target, conn);
    inconclusive(&ended(script), &Ending::default(), "without a stack");
}

#[test]
fn connections_without_any_waking_leave_it_open() {
    let mut script = good();
    let conn = script.connect();
    let lucky = script.pid(0);
    script.waking(0, lucky, 0, TIMER, 0).wins(lucky, conn);
    inconclusive(
        &ended(script),
        &Ending::default(),
        "1 of 21 connections show no waking",
    );
}

#[test]
fn one_waiter_cannot_tell_one_from_many() {
    let mut script = Script::new();
    script.scene(Variant::Accept, Arrival::Sequential, 1);
    for _ in 0..20 {
        script.herd(&[0]);
    }
    inconclusive(
        &ended(script),
        &Ending::default(),
        "only 0 of 20 connections met two or more",
    );
}

#[test]
fn claims_whose_scene_was_not_asked_for_are_left_out() {
    let options = LabOptions {
        variants: vec!["exclusive/sequential".to_owned()],
        ..LabOptions::default()
    };
    let mut context = context("epoll-herd", Mode::Lab);
    context.options = crate::trace::epoll_herd::EPOLL_HERD
        .lab_options(&options)
        .unwrap();
    let outcome = fold(&context, &[], &Ending::default());
    let ids: Vec<&str> = outcome
        .findings
        .iter()
        .map(|found| found.id.as_str())
        .collect();
    assert_eq!(ids, ["epoll-herd/exclusive"]);
    assert_eq!(outcome.findings[0].result, ClaimResult::Inconclusive);
}

#[test]
fn damaged_marks_are_counted_and_nothing_is_judged_on_them() {
    let mark = crate::stream::Mark {
        ktime: 5,
        name: "scene".to_owned(),
        data: serde_json::json!({"scene": "x"}),
    };
    let outcome = fold(
        &context("accept-herd", Mode::Lab),
        &[Item::Mark(mark)],
        &Ending::default(),
    );
    assert_eq!(result(&outcome, ID), ClaimResult::Inconclusive);
    assert!(
        outcome
            .ledger
            .remarks
            .iter()
            .any(|remark| remark.contains("marks that could not be read: 1"))
    );
}
