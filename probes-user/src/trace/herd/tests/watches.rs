//! Somebody else's processes: what the tables and sentences say.

use serde_json::{Value, json};

use super::super::calls;
use super::super::testkit::*;

fn server(workers: u32, events: u32) -> Script {
    let mut script = Script::watch(workers);
    script.listener(1);
    for index in 0..workers {
        let pid = script.pid(index);
        script
            .task(pid, "gunicorn", Some(calls::EPOLL_WAIT))
            .registration(pid, events);
    }
    script
}

fn remark(outcome: &crate::trace::Outcome, part: &str) -> bool {
    outcome
        .ledger
        .remarks
        .iter()
        .any(|remark| remark.contains(part))
}

#[test]
fn a_herding_server_is_told_so_and_what_to_set() {
    let mut script = server(4, 1);
    for round in 0..24 {
        script.herd(&[round % 4, (round + 1) % 4, (round + 2) % 4, (round + 3) % 4]);
    }
    let outcome = watch(&script);
    assert!(outcome.findings.is_empty());
    assert_eq!(cell(&outcome, "listeners", 0, "port"), json!(PORT));
    assert_eq!(
        cell(&outcome, "listeners", 0, "connections_count"),
        json!(24)
    );
    assert_eq!(cell(&outcome, "listeners", 0, "woken_mean"), json!(4.0));
    assert_eq!(cell(&outcome, "listeners", 0, "eagain_count"), json!(72));
    assert_eq!(cell(&outcome, "woken", 0, "woken_count"), json!(4));
    assert_eq!(
        cell(&outcome, "workers", 0, "by_connection_count"),
        json!(24)
    );
    assert_eq!(
        cell(&outcome, "registrations", 0, "events"),
        json!("EPOLLIN")
    );
    let told = "one connection wakes 4.0 of 4.0 waiting workers: a herd; no EPOLLEXCLUSIVE in its registrations";
    assert!(remark(&outcome, told), "{:?}", outcome.ledger.remarks);
    assert!(remark(&outcome, "3.0 useless wakeups per connection"));
    assert!(remark(&outcome, "Gini 0.00"));
}

#[test]
fn an_exclusive_server_has_no_herd() {
    let mut script = server(4, calls::EXCLUSIVE | 1);
    for _ in 0..24 {
        script.herd(&[0]);
    }
    let outcome = watch(&script);
    assert!(remark(
        &outcome,
        "no herd: one connection wakes 1.0 of 4.0 waiting workers (EPOLLEXCLUSIVE)"
    ));
    assert!(
        remark(&outcome, "took 100% of 24 connections, Gini 0.75"),
        "{:?}",
        outcome.ledger.remarks
    );
    assert_eq!(
        cell(&outcome, "registrations", 0, "events"),
        json!("EPOLLIN|EPOLLEXCLUSIVE")
    );
}

#[test]
fn sockets_that_share_a_port_are_told_apart() {
    let mut script = Script::watch(2);
    for index in 0..2 {
        let pid = script.pid(index);
        script
            .task(pid, "nginx", Some(calls::EPOLL_WAIT))
            .registers(pid, 1, 1)
            .waits(pid);
    }
    for (round, item) in script.items.iter_mut().enumerate() {
        if let crate::stream::Item::Event(event) = item
            && let crate::stream::Body::SysExit(exit) = &mut event.body
        {
            exit.fd_sock = 0x100 + round as u64;
        }
    }
    script.herd(&[0]);
    let outcome = watch(&script);
    assert!(
        remark(&outcome, "(3 sockets share the port: SO_REUSEPORT)"),
        "{:?}",
        outcome.ledger.remarks
    );
    assert_eq!(cell(&outcome, "listeners", 0, "sockets_count"), json!(3));
}

#[test]
fn tasks_that_wait_for_something_else_are_no_waiters() {
    let mut script = server(2, 1);
    script.task(500, "logger", Some(calls::POLL));
    script.herd(&[0, 1]);
    let outcome = watch(&script);
    assert_eq!(cell(&outcome, "listeners", 0, "sleepers_mean"), json!(2.0));
    let workers = outcome
        .ledger
        .tables
        .iter()
        .find(|table| table.id == "workers")
        .unwrap();
    assert_eq!(workers.rows.len(), 2);
}

#[test]
fn connections_that_nobody_takes_are_counted() {
    let mut script = server(2, 1);
    script.herd(&[0]);
    script.connect();
    script.connect();
    let outcome = watch(&script);
    assert_eq!(
        cell(&outcome, "listeners", 0, "not_accepted_count"),
        json!(2)
    );
    assert!(remark(&outcome, "accepted by nobody so far: 2"));
}

#[test]
fn a_forked_worker_is_followed_with_its_inherited_registration() {
    let mut script = Script::watch(3);
    let (master, worker) = (script.pid(0), script.pid(1));
    script.task(master, "master", None).registers(master, 1, 1);
    script
        .forks(master, worker, "worker")
        .runs(worker)
        .waits(worker);
    let conn = script.connect();
    script.woken(worker, conn).wins(worker, conn);
    let outcome = watch(&script);
    let registrations = outcome
        .ledger
        .tables
        .iter()
        .find(|table| table.id == "registrations")
        .unwrap();
    assert_eq!(registrations.rows.len(), 2);
    assert_eq!(cell(&outcome, "workers", 0, "comm"), json!("worker"));
    assert_eq!(cell(&outcome, "workers", 0, "won_count"), json!(1));
    script.exits(worker);
    let outcome = watch(&script);
    let comms = [0, 1].map(|row| cell(&outcome, "workers", row, "comm"));
    assert!(comms.contains(&json!("worker")), "its row stays: {comms:?}");
    assert_eq!(cell(&outcome, "registrations", 1, "comm"), json!("worker"));
}

#[test]
fn an_accept_mutex_shows_by_its_turns_and_its_timers() {
    let mut script = Script::watch(2);
    let pid = script.pid(0);
    script.task(pid, "nginx", Some(calls::EPOLL_WAIT));
    for _ in 0..10 {
        script
            .waking(0, pid, 0, TIMER, 0)
            .wakeup(pid)
            .runs(pid)
            .returns(pid, calls::EPOLL_WAIT, 0);
        script
            .registers(pid, 1, 1)
            .registers(pid, calls::CTL_DEL, 0)
            .waits(pid);
    }
    let outcome = watch(&script);
    assert!(
        remark(&outcome, "taken out of epoll 10 times"),
        "{:?}",
        outcome.ledger.remarks
    );
    assert!(remark(&outcome, "timer wakeups per s"));
    assert!(remark(&outcome, "no connection was established"));
}

#[test]
fn blocking_accept_without_registrations_counts_every_waiter() {
    let mut script = Script::watch(3);
    for index in 0..3 {
        let pid = script.pid(index);
        script.task(pid, "apache2", Some(calls::ACCEPT4));
    }
    for round in 0..3 {
        let conn = script.connect();
        let pid = script.pid(round);
        script
            .woken(pid, conn)
            .runs(pid)
            .accepts(pid, conn)
            .enters(pid, calls::ACCEPT4)
            .sleeps(pid);
    }
    let outcome = watch(&script);
    assert_eq!(cell(&outcome, "listeners", 0, "sleepers_mean"), json!(3.0));
    assert!(remark(&outcome, "no herd: one connection wakes 1.0 of 3.0"));
}

#[test]
fn a_long_watch_keeps_its_sums() {
    let mut script = server(2, 1);
    for _ in 0..3000 {
        script.herd(&[0, 1]);
    }
    let outcome = watch(&script);
    assert_eq!(
        cell(&outcome, "listeners", 0, "connections_count"),
        json!(3000)
    );
    assert_eq!(cell(&outcome, "listeners", 0, "woken_mean"), json!(2.0));
    assert_eq!(
        cell(&outcome, "listeners", 0, "not_accepted_count"),
        json!(0)
    );
}

#[test]
fn an_empty_watch_says_so() {
    let outcome = watch(&Script::new());
    assert!(remark(
        &outcome,
        "no connection was established on the followed ports"
    ));
    assert!(
        outcome
            .ledger
            .tables
            .iter()
            .all(|table| table.rows.is_empty())
    );
    assert_eq!(Value::Null, crate::evidence::statistics::rounded(None));
}
