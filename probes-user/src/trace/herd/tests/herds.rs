//! What a herd is, and what none is.

use serde_json::json;

use super::super::marks::{Arrival, Variant};
use super::super::testkit::*;
use crate::evidence::ClaimResult;

fn sequential(variant: Variant, workers: u32) -> Script {
    let mut script = Script::new();
    script.scene(variant, Arrival::Sequential, workers);
    script
}

#[test]
fn four_of_four_woken_is_a_herd() {
    let mut script = sequential(Variant::PerProcessInstance, 4);
    for _ in 0..20 {
        script.herd(&[0, 1, 2, 3]);
    }
    script.end();
    let outcome = lab("epoll-herd", &script);
    let found = finding(&outcome, "epoll-herd/per-process-instance");
    assert_eq!(found.result, ClaimResult::Holds, "{}", found.because);
    assert_eq!(found.numbers["woken_mean"], json!(4.0));
    assert_eq!(found.numbers["judged_count"], json!(20));
    assert_eq!(found.numbers["eagain_per_connection"], json!(3.0));
    assert_eq!(found.numbers["useless_wakeups_per_connection"], json!(3.0));
    assert_eq!(found.numbers["switches_per_connection"], json!(4.0));
    assert_eq!(found.numbers["gini_ratio"], json!(0.75));
    assert_eq!(
        found.numbers["wake_to_run_p50_ns"]
            .as_u64()
            .map(|ns| ns > 0),
        Some(true)
    );
}

#[test]
fn one_of_four_woken_is_none_and_the_longest_asleep_is_first() {
    let mut script = sequential(Variant::Accept, 4);
    for round in 0..20 {
        script.herd(&[round % 4]);
    }
    script.end();
    let outcome = lab("accept-herd", &script);
    assert_eq!(
        result(&outcome, "accept-herd/one-wakeup"),
        ClaimResult::Holds
    );
    let cost = finding(&outcome, "accept-herd/cost");
    assert_eq!(cost.result, ClaimResult::Holds, "{}", cost.because);
    assert_eq!(cost.numbers["switches_per_connection"], json!(1.0));
    assert_eq!(
        cost.numbers["on_cpu_ns_per_connection"]
            .as_f64()
            .map(|ns| ns > 0.0),
        Some(true)
    );
    assert_eq!(cell(&outcome, "balance", 0, "order"), json!("FIFO"));
    assert_eq!(cell(&outcome, "balance", 0, "gini_ratio"), json!(0.0));
}

#[test]
fn a_second_waiter_woken_now_and_then_refutes_exactly_one() {
    let mut script = sequential(Variant::Exclusive, 4);
    for round in 0..20 {
        if round % 5 == 0 {
            script.herd(&[0, 1])
        } else {
            script.herd(&[0])
        };
    }
    script.end();
    let found = lab("epoll-herd", &script);
    let found = finding(&found, "epoll-herd/exclusive");
    assert_eq!(found.result, ClaimResult::Refuted);
    assert_eq!(found.numbers["exactly_one_ratio"], json!(0.8));
}

#[test]
fn half_the_herd_is_not_every_waiter() {
    let mut script = sequential(Variant::PerProcessInstance, 4);
    for round in 0..20 {
        if round % 2 == 0 {
            script.herd(&[0, 1, 2, 3])
        } else {
            script.herd(&[0, 1])
        };
    }
    script.end();
    assert_eq!(
        result(
            &lab("epoll-herd", &script),
            "epoll-herd/per-process-instance"
        ),
        ClaimResult::Refuted
    );
}

#[test]
fn useless_wakeups_refute_the_cost() {
    let mut script = sequential(Variant::Accept, 4);
    for _ in 0..20 {
        script.herd(&[0, 1]);
    }
    script.end();
    let outcome = lab("accept-herd", &script);
    assert_eq!(result(&outcome, "accept-herd/cost"), ClaimResult::Refuted);
    assert_eq!(
        result(&outcome, "accept-herd/one-wakeup"),
        ClaimResult::Refuted
    );
}

#[test]
fn a_cascade_is_reported_beside_the_criterion() {
    let mut script = sequential(Variant::SharedInstance, 4);
    for _ in 0..20 {
        let conn = script.connect();
        let (first, second) = (script.pid(0), script.pid(1));
        script.woken(first, conn).runs(first);
        script.waking(first, second, 0, CASCADE, 0).wakeup(second);
        let call = script.call();
        script
            .returns(first, call, 1)
            .accepts(first, conn)
            .waits(first);
        script.loses(second);
    }
    script.end();
    let outcome = lab("epoll-herd", &script);
    let found = finding(&outcome, "epoll-herd/shared-instance");
    assert_eq!(found.result, ClaimResult::Refuted, "{}", found.because);
    assert_eq!(found.numbers["woken_mean"], json!(1.0));
    assert_eq!(found.numbers["cascades_per_connection"], json!(1.0));
    assert_eq!(found.numbers["useless_wakeups_per_connection"], json!(1.0));
}

#[test]
fn a_silent_wakeup_is_seen_although_no_call_returned() {
    let mut script = sequential(Variant::PerProcessInstance, 2);
    for _ in 0..20 {
        let conn = script.connect();
        let (first, second) = (script.pid(0), script.pid(1));
        script
            .woken(first, conn)
            .woken(second, conn)
            .wins(first, conn)
            .looks(second);
    }
    script.end();
    let outcome = lab("epoll-herd", &script);
    let found = finding(&outcome, "epoll-herd/per-process-instance");
    assert_eq!(found.result, ClaimResult::Holds, "{}", found.because);
    assert_eq!(found.numbers["silent_per_connection"], json!(1.0));
    assert_eq!(found.numbers["eagain_per_connection"], json!(0.0));
}

#[test]
fn who_waits_with_an_accept_mutex_and_who_only_sleeps() {
    let mut script = Script::new();
    script.scene(Variant::AcceptMutex, Arrival::Sequential, 4);
    let holder = script.pid(0);
    let sleeper = script.pid(1);
    let call = script.call();
    script
        .waking(0, holder, 0, TIMER, 0)
        .runs(holder)
        .returns(holder, call, 0);
    script.registers(holder, 1, 1).waits(holder);
    for _ in 0..20 {
        script.herd(&[0]);
        script
            .waking(0, sleeper, 0, TIMER, 0)
            .runs(sleeper)
            .returns(sleeper, call, 0)
            .waits(sleeper);
    }
    script.end();
    let outcome = lab("epoll-herd", &script);
    let found = finding(&outcome, "epoll-herd/accept-mutex");
    assert_eq!(found.result, ClaimResult::Holds, "{}", found.because);
    assert_eq!(found.numbers["sleepers_mean"], json!(4.0));
    assert_eq!(cell(&outcome, "herd", 0, "registered_mean"), json!(1.0));
    assert_eq!(found.numbers["timer_wakeups_per_connection"], json!(1.05));
    assert_eq!(found.numbers["useless_wakeups_per_connection"], json!(0.0));
    assert_eq!(cell(&outcome, "balance", 0, "busiest_ratio"), json!(1.0));
}

#[test]
fn the_order_of_waking_is_named_by_the_rules_that_fit() {
    let order = |variant, picks: fn(u32) -> u32| {
        let mut script = sequential(variant, 4);
        for round in 0..40 {
            script.herd(&[picks(round)]);
        }
        script.end();
        cell(&lab("epoll-herd", &script), "balance", 0, "order")
    };
    assert_eq!(order(Variant::Exclusive, |round| round % 4), json!("FIFO"));
    assert_eq!(order(Variant::Exclusive, |_| 3), json!("LIFO, last, same"));
    assert_eq!(order(Variant::Exclusive, |_| 0), json!("LIFO, first, same"));
    assert_eq!(
        order(Variant::Exclusive, |round| [0, 2, 1, 3, 2, 0, 3, 1]
            [round as usize % 8]),
        json!("mixed")
    );
    assert_eq!(
        order(Variant::Reuseport, |round| [0, 2, 1, 3, 2, 0, 3, 1]
            [round as usize % 8]),
        json!("hash")
    );
}

#[test]
fn contrasts_stand_beside_the_judged_scene() {
    let mut script = sequential(Variant::Exclusive, 4);
    for _ in 0..20 {
        script.herd(&[0]);
    }
    script
        .end()
        .scene(Variant::PerProcessInstance, Arrival::Sequential, 4);
    for _ in 0..20 {
        script.herd(&[0, 1, 2, 3]);
    }
    script.end();
    let outcome = lab("epoll-herd", &script);
    let found = finding(&outcome, "epoll-herd/exclusive");
    assert_eq!(found.result, ClaimResult::Holds);
    assert_eq!(found.numbers["per_process_instance_woken_mean"], json!(4.0));
    assert!(
        found.because.ends_with("per-process-instance: 4.0 woken"),
        "{}",
        found.because
    );
}

#[test]
fn in_a_burst_a_worker_may_win_what_another_was_woken_for() {
    let mut script = Script::new();
    script.scene(Variant::PerProcessInstance, Arrival::Burst, 2);
    script.phase += 1;
    let first = script.connect_in_phase();
    let (a, b) = (script.pid(0), script.pid(1));
    script.woken(a, first).woken(b, first);
    let second = script.connect_in_phase();
    script.wins(b, first).wins(a, second);
    script.end();
    let outcome = lab("epoll-herd", &script);
    assert_eq!(
        cell(&outcome, "herd", 0, "useless_per_connection"),
        json!(0.0)
    );
    assert_eq!(cell(&outcome, "connections", 1, "winner_index"), json!(0));
    assert_eq!(cell(&outcome, "connections", 0, "winner_index"), json!(1));
}

#[test]
fn a_delay_before_accept_does_not_end_the_wakeup() {
    let mut script = Script::new();
    script.scene(Variant::PollAccept, Arrival::LateAccept, 2);
    let conn = script.connect();
    let (a, b) = (script.pid(0), script.pid(1));
    let call = script.call();
    script.woken(a, conn).woken(b, conn);
    script.runs(a).returns(a, call, 1).sleeps(a);
    script.runs(b).returns(b, call, 1).sleeps(b);
    for pid in [a, b] {
        script.waking(0, pid, 0, TIMER, 0).wakeup(pid).runs(pid);
    }
    script.accepts(a, conn).waits(a).finds_nothing(b).waits(b);
    script.end();
    let outcome = lab("accept-herd", &script);
    assert_eq!(cell(&outcome, "herd", 0, "woken_mean"), json!(2.0));
    assert_eq!(
        cell(&outcome, "herd", 0, "useless_per_connection"),
        json!(1.0)
    );
    assert_eq!(
        cell(&outcome, "cost", 0, "switches_per_connection"),
        json!(4.0)
    );
    assert_eq!(cell(&outcome, "workers", 0, "by_timer_count"), json!(0));
}
