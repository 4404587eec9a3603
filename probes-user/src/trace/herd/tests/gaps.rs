//! Missing events: what a gap touches is not judged, and a scene that was run again counts by its last run.

use super::super::marks::{Arrival, Variant};
use super::super::testkit::*;
use crate::evidence::ClaimResult;
use crate::stream::continuity::{Continuity, Gap, Missing};
use crate::stream::{Body, Item, Mark};
use crate::trace::Outcome;

const ID: &str = "accept-herd/one-wakeup";

/// Runs a scene; returns its second worker.
fn scene(script: &mut Script, rounds: u32) -> u32 {
    script.scene(Variant::Accept, Arrival::Sequential, 4);
    for round in 0..rounds {
        script.herd(&[round % 4]);
    }
    let worker = script.pid(1);
    script.end();
    worker
}

/// The items with the gap marks that the pump puts in.
fn pumped(script: &Script) -> Vec<Item> {
    let mut continuity = Continuity::default();
    let mut items = Vec::new();
    for item in script.items.clone() {
        continuity.pass(item, |item| items.push(item));
    }
    items
}

fn judged(items: &[Item]) -> Outcome {
    let context = context("accept-herd", crate::trace::Mode::Lab);
    fold(&context, items, &crate::trace::Ending::default())
}

fn gap(script: &Script, pid: u32, since: u64, until: u64) -> Item {
    let data = serde_json::to_value(Gap {
        pid,
        since,
        missing: Missing::Switch,
    })
    .unwrap();
    assert!(until <= script.now);
    Item::Mark(Mark {
        ktime: until,
        name: "gap".to_owned(),
        data,
    })
}

fn with(items: &[Item], mark: Item) -> Vec<Item> {
    let mut items = items.to_vec();
    let at = items.partition_point(|item| item.ktime() <= mark.ktime());
    items.insert(at, mark);
    items
}

fn established(items: &[Item]) -> Vec<u64> {
    let state = |item: &&Item| matches!(item, Item::Event(event) if matches!(&event.body, Body::SockState(s) if s.new == 1));
    items.iter().filter(state).map(Item::ktime).collect()
}

#[test]
fn whole_scenes_have_no_gaps() {
    let mut script = Script::new();
    scene(&mut script, 20);
    assert_eq!(pumped(&script), script.items);
}

#[test]
fn a_gap_leaves_out_the_connection_it_touches_and_no_other() {
    let mut script = Script::new();
    let worker = scene(&mut script, 20);
    let at = established(&script.items)[5];
    let outcome = judged(&with(&script.items, gap(&script, worker, at, at)));
    let found = finding(&outcome, ID);
    assert_eq!(found.result, ClaimResult::Holds, "{}", found.because);
    assert_eq!(found.numbers["judged_count"], 19);
}

#[test]
fn a_gap_over_many_connections_leaves_the_claim_open() {
    let mut script = Script::new();
    let worker = scene(&mut script, 20);
    let times = established(&script.items);
    let outcome = judged(&with(
        &script.items,
        gap(&script, worker, times[2], times[9]),
    ));
    assert_eq!(result(&outcome, ID), ClaimResult::Inconclusive);
}

#[test]
fn gaps_of_others_touch_nothing() {
    let mut script = Script::new();
    scene(&mut script, 20);
    let times = established(&script.items);
    let outcome = judged(&with(
        &script.items,
        gap(&script, 999_999, times[2], times[9]),
    ));
    assert_eq!(finding(&outcome, ID).numbers["judged_count"], 20);
}

#[test]
fn a_lost_waking_is_found_by_the_run_that_nothing_caused() {
    let mut script = Script::new();
    scene(&mut script, 20);
    let mut left = 30;
    script.items.retain(|item| match item {
        Item::Event(event) => match &event.body {
            Body::Waking(_) | Body::Wakeup(_) => {
                left -= 1;
                !(0..=1).contains(&left)
            }
            _ => true,
        },
        Item::Mark(_) => true,
    });
    let marks = pumped(&script)
        .iter()
        .filter(|item| matches!(item, Item::Mark(m) if m.name == "gap"))
        .count();
    assert_eq!(marks, 1);
}

#[test]
fn a_scene_that_was_run_again_counts_by_its_last_run() {
    let mut script = Script::new();
    let worker = scene(&mut script, 20);
    let times = established(&script.items);
    let bad = gap(&script, worker, times[2], times[9]);
    scene(&mut script, 20);
    let outcome = judged(&with(&script.items, bad));
    assert_eq!(result(&outcome, ID), ClaimResult::Holds);
    let remarks = outcome.ledger.remarks.join("\n");
    assert!(
        remarks.contains("run again") && remarks.contains("accept/sequential"),
        "{remarks}"
    );
}
