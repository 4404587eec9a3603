//! A real server that herds: uvicorn's workers share a listener, each with an epoll instance of its own.
//!
//! That it registers the listener without EPOLLEXCLUSIVE is seen twice: in /proc before the watch, and in
//! the watch's own ledger. One connection then wakes every worker, and all but one for nothing.

use crate::context::{Ctx, Outcome};
use crate::harness::client;
use crate::harness::report::{Report, Row, sum};
use crate::harness::sandbox;
use crate::harness::server::{EPOLLEXCLUSIVE, all_asleep};
use crate::harness::uvicorn::{PORT, Uvicorn};
use crate::harness::wait;
use crate::harness::watch::Watch;

const CONNECTIONS: u64 = 200;

pub fn uvicorn_wakes_all_4_workers_for_each_connection(ctx: &Ctx) -> Outcome {
    herds(ctx, 4)
}

pub fn uvicorn_wakes_all_8_workers_for_each_connection(ctx: &Ctx) -> Outcome {
    herds(ctx, 8)
}

fn herds(ctx: &Ctx, workers: usize) -> Outcome {
    sandbox::own_network();
    let server = Uvicorn::start(workers);
    let flags = server.registered();
    assert_eq!(flags.len(), workers);
    assert!(
        flags.iter().all(|entry| entry.events & EPOLLEXCLUSIVE == 0),
        "by /proc: {flags:?}"
    );
    one_at_a_time(ctx, &server, workers);
    all_at_once(ctx, &server);
    Outcome::Pass
}

fn one_at_a_time(ctx: &Ctx, server: &Uvicorn, workers: usize) {
    let watch = Watch::start(ctx, &["-p", &server.master().to_string()]);
    let made = client::sequential(PORT, CONNECTIONS, || all_asleep(&server.workers));
    let report = over(watch, server);
    counts(&report, made);
    let listeners = report.rows("listeners");
    let (asleep, woken) = (
        listeners[0].number("sleepers_mean"),
        listeners[0].number("woken_mean"),
    );
    let all = workers as f64;
    assert!(
        asleep > all * 0.95,
        "{asleep} of {all} workers waited for a connection"
    );
    assert!(
        woken > asleep * 0.95 && woken > 2.0,
        "woke {woken} of {asleep} sleeping workers"
    );
    let useless = listeners[0].number("useless_per_connection");
    assert!(
        useless > (all - 1.0) * 0.9,
        "{useless} useless wakeups per connection"
    );
    assert!(
        listeners[0].number("wasted_us_per_connection") > 0.0,
        "what they cost"
    );
    assert!(sum(&report.rows("workers"), "useless_count") > 0);
    let remarks = report.remarks().join("\n");
    assert!(
        remarks.contains("a herd") && remarks.contains("no EPOLLEXCLUSIVE"),
        "{remarks}"
    );
}

fn all_at_once(ctx: &Ctx, server: &Uvicorn) {
    let watch = Watch::start(ctx, &["-p", &server.master().to_string()]);
    let made = client::concurrent(PORT, CONNECTIONS)
        + client::curl(PORT, CONNECTIONS, false)
        + client::curl(PORT, CONNECTIONS, true);
    let report = over(watch, server);
    assert_eq!(made, 3 * CONNECTIONS, "curl counts what it made");
    counts(&report, made);
    assert!(
        report.rows("listeners")[0].count("woken_max") >= 2,
        "the herd shows under load too"
    );
}

fn over(watch: Watch, server: &Uvicorn) -> Report {
    wait::until("the workers to be done", || {
        all_asleep(&server.workers).then_some(())
    });
    watch.finish()
}

fn counts(report: &Report, made: u64) -> Row {
    for row in report.rows("registrations") {
        assert!(!row.text("events").contains("EXCLUSIVE"), "{row:?}");
    }
    report.assert_connections(PORT, made)
}
