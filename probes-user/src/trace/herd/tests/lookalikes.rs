//! What only looks like a herd, or hides one.

use serde_json::json;

use super::super::marks::{Arrival, Variant};
use super::super::testkit::*;
use crate::evidence::ClaimResult;

const ROUNDS: u32 = 20;

fn rounds(
    variant: Variant,
    workers: u32,
    mut round: impl FnMut(&mut Script),
) -> crate::trace::Outcome {
    let mut script = Script::new();
    script.scene(variant, Arrival::Sequential, workers);
    for _ in 0..ROUNDS {
        round(&mut script);
    }
    script.end();
    let trace = if matches!(variant, Variant::Accept | Variant::PollAccept) {
        "accept-herd"
    } else {
        "epoll-herd"
    };
    lab(trace, &script)
}

#[test]
fn delivery_by_ksoftirqd_belongs_to_the_connection_all_the_same() {
    let outcome = rounds(Variant::Accept, 2, |script| {
        let conn = script.connect();
        let (first, ksoftirqd) = (script.pid(0), 17);
        script
            .waking(ksoftirqd, first, conn.sock, CHILD, 0)
            .wakeup(first)
            .wins(first, conn);
    });
    assert_eq!(
        result(&outcome, "accept-herd/one-wakeup"),
        ClaimResult::Holds
    );
}

#[test]
fn a_worker_as_bystander_of_the_softirq_is_not_the_waker() {
    let outcome = rounds(Variant::PerProcessInstance, 3, |script| {
        let conn = script.connect();
        let pids = [script.pid(0), script.pid(1), script.pid(2)];
        script.woken(pids[0], conn).runs(pids[0]);
        // The softirq that delivers the rest runs on the first one's back.
        for pid in &pids[1..] {
            let stack = [
                "try_to_wake_up",
                "sock_def_readable",
                "tcp_child_process",
                "handle_softirqs",
                "ep_done_scan",
            ];
            script
                .waking(pids[0], *pid, conn.sock, &stack, 0)
                .wakeup(*pid);
        }
        let call = script.call();
        script
            .returns(pids[0], call, 1)
            .accepts(pids[0], conn)
            .waits(pids[0])
            .loses(pids[1])
            .loses(pids[2]);
    });
    let found = finding(&outcome, "epoll-herd/per-process-instance");
    assert_eq!(found.result, ClaimResult::Holds, "{}", found.because);
    assert_eq!(found.numbers["cascades_per_connection"], json!(0.0));
}

#[test]
fn the_listeners_lock_handed_over_is_no_second_wakeup() {
    let outcome = rounds(Variant::Accept, 3, |script| {
        let conn = script.connect();
        let (first, second) = (script.pid(0), script.pid(1));
        script.woken(first, conn).runs(first);
        script.waking(first, second, 0, LOCK, 0).wakeup(second);
        script.accepts(first, conn).waits(first).looks(second);
    });
    assert_eq!(
        result(&outcome, "accept-herd/one-wakeup"),
        ClaimResult::Holds
    );
    assert_eq!(result(&outcome, "accept-herd/cost"), ClaimResult::Holds);
    assert_eq!(cell(&outcome, "workers", 1, "by_lock_count"), json!(ROUNDS));
}

#[test]
fn timers_are_no_herd() {
    let outcome = rounds(Variant::Exclusive, 3, |script| {
        let conn = script.connect();
        let (first, second) = (script.pid(0), script.pid(1));
        let over_child = [
            "try_to_wake_up",
            "hrtimer_wakeup",
            "asm_sysvec_apic_timer_interrupt",
            "tcp_child_process",
        ];
        script.woken(first, conn);
        script
            .waking(CLIENT, second, conn.sock, &over_child, 0)
            .wakeup(second);
        script.wins(first, conn).looks(second);
    });
    assert_eq!(result(&outcome, "epoll-herd/exclusive"), ClaimResult::Holds);
    assert_eq!(
        cell(&outcome, "balance", 0, "timer_wakeups_per_connection"),
        json!(1.0)
    );
}

#[test]
fn a_reused_pointer_belongs_to_the_new_connection() {
    let mut script = Script::new();
    script.reuse = 1;
    script.scene(Variant::Accept, Arrival::Sequential, 2);
    for round in 0..ROUNDS {
        script.herd(&[round % 2]);
    }
    script.end();
    let outcome = lab("accept-herd", &script);
    let found = finding(&outcome, "accept-herd/one-wakeup");
    assert_eq!(found.result, ClaimResult::Holds, "{}", found.because);
}

#[test]
fn a_worker_still_running_is_not_asleep_and_not_counted() {
    let outcome = rounds(Variant::PerProcessInstance, 4, |script| {
        // Worker 3 is up by its own timer and runs while the connection comes.
        let busy = script.pid(3);
        let call = script.call();
        script
            .waking(0, busy, 0, TIMER, 0)
            .wakeup(busy)
            .runs(busy)
            .returns(busy, call, 0);
        script.herd(&[0, 1, 2]);
        script.waits(busy);
    });
    let found = finding(&outcome, "epoll-herd/per-process-instance");
    assert_eq!(found.result, ClaimResult::Holds, "{}", found.because);
    assert_eq!(found.numbers["sleepers_mean"], json!(3.0));
}

#[test]
fn an_absorbed_waking_is_no_sleeper_woken() {
    let outcome = rounds(Variant::Accept, 4, |script| {
        let late = script.pid(3);
        let call = script.call();
        // Worker 3 has come back by a timer, is on its way into the wait and is woken before it sleeps.
        script
            .waking(0, late, 0, TIMER, 0)
            .wakeup(late)
            .runs(late)
            .returns(late, call, -4)
            .enters(late, call);
        let conn = script.connect();
        let first = script.pid(0);
        script.woken(first, conn).woken(late, conn);
        script.sleeps(late).wins(first, conn);
    });
    let found = finding(&outcome, "accept-herd/one-wakeup");
    assert_eq!(found.result, ClaimResult::Holds, "{}", found.because);
    assert_eq!(found.numbers["woken_mean"], json!(1.0));
    assert_eq!(found.numbers["sleepers_mean"], json!(3.0));
}

#[test]
fn a_waking_that_overtakes_the_switch_out_is_no_sleeper_woken() {
    let outcome = rounds(Variant::Accept, 4, |script| {
        let late = script.pid(3);
        let call = script.call();
        script
            .waking(0, late, 0, TIMER, 0)
            .wakeup(late)
            .runs(late)
            .returns(late, call, -4)
            .enters(late, call);
        let conn = script.connect();
        let first = script.pid(0);
        script.woken(first, conn);
        script
            .waking(CLIENT, late, conn.sock, CHILD, 0)
            .sleeps(late)
            .wakeup(late);
        script.wins(first, conn).runs(late).sleeps(late);
    });
    let found = finding(&outcome, "accept-herd/one-wakeup");
    assert_eq!(found.result, ClaimResult::Holds, "{}", found.because);
    assert_eq!(found.numbers["woken_mean"], json!(1.0));
}

#[test]
fn a_sleep_for_the_listeners_lock_is_no_wait() {
    let outcome = rounds(Variant::Accept, 3, |script| {
        let blocked = script.pid(2);
        let call = script.call();
        script
            .waking(0, blocked, 0, TIMER, 0)
            .wakeup(blocked)
            .runs(blocked)
            .returns(blocked, call, -4);
        script.enters(blocked, call).switch(blocked, 0, 2, 0);
        script.herd(&[0]);
        script
            .waking(0, blocked, 0, LOCK, 0)
            .wakeup(blocked)
            .runs(blocked)
            .sleeps(blocked);
    });
    let found = finding(&outcome, "accept-herd/one-wakeup");
    assert_eq!(
        found.numbers["sleepers_mean"],
        json!(2.0),
        "{}",
        found.because
    );
}

#[test]
fn what_dying_workers_do_after_the_end_is_not_looked_at() {
    let mut script = Script::new();
    script.scene(Variant::Accept, Arrival::Sequential, 2);
    for _ in 0..ROUNDS {
        script.herd(&[0]);
    }
    let dying = script.pid(1);
    script.end();
    script.waking(CLIENT, dying, 0x5000_0100, CHILD, 0);
    assert_eq!(
        result(&lab("accept-herd", &script), "accept-herd/one-wakeup"),
        ClaimResult::Holds
    );
}
