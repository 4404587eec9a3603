//! The distribution's nginx under watch: what each of its settings really changes.
//!
//! nginx 1.22 sets EPOLLEXCLUSIVE itself when accept_mutex is off, and lets workers take turns by
//! registering the listener anew after its first and every 16th accept (ngx_reorder_accept_events).
//! With the mutex on one worker has the listener and the others wake by a timer of 500 ms to ask for it.
//! With reuseport each worker has a listener of its own and the kernel's hash decides.

use std::collections::BTreeSet;

use crate::context::{Ctx, Outcome};
use crate::harness::nginx::{Nginx, PORT, Setting};
use crate::harness::report::{Report, Row, sum};
use crate::harness::server::{EPOLLEXCLUSIVE, all_asleep};
use crate::harness::watch::Watch;
use crate::harness::{client, procs, sandbox, wait};

/// In each row of connections: sequential, concurrent, and the same by curl.
const CONNECTIONS: u64 = 200;

pub fn mutex_off_wakes_one_of_4_by_exclusive(ctx: &Ctx) -> Outcome {
    mutex_off(ctx, 4)
}

pub fn mutex_off_wakes_one_of_8_by_exclusive(ctx: &Ctx) -> Outcome {
    mutex_off(ctx, 8)
}

pub fn mutex_on_has_one_of_4_listen_and_the_rest_wake_by_timers(ctx: &Ctx) -> Outcome {
    mutex_on(ctx, 4)
}

pub fn mutex_on_has_one_of_8_listen_and_the_rest_wake_by_timers(ctx: &Ctx) -> Outcome {
    mutex_on(ctx, 8)
}

pub fn reuseport_gives_each_of_4_a_listener_and_the_hash_decides(ctx: &Ctx) -> Outcome {
    reuseport(ctx, 4)
}

pub fn reuseport_gives_each_of_8_a_listener_and_the_hash_decides(ctx: &Ctx) -> Outcome {
    reuseport(ctx, 8)
}

/// Every row of connections in one watch; the counts agree whatever the setting.
pub fn no_connection_is_missed_under_load(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    for setting in [Setting::MutexOff, Setting::MutexOn, Setting::Reuseport] {
        let nginx = Nginx::start(setting, 4);
        let watch = Watch::start(ctx, &["-p", &nginx.master().to_string()]);
        let made = client::concurrent(PORT, CONNECTIONS)
            + client::curl(PORT, CONNECTIONS, false)
            + client::curl(PORT, CONNECTIONS, true);
        assert_eq!(
            made,
            3 * CONNECTIONS,
            "{setting:?}: curl counts what it made"
        );
        let seen = Seen::of(watch, &nginx, made);
        assert_eq!(seen.listener.count("woken_max"), 1, "{setting:?}");
    }
    Outcome::Pass
}

/// A watch that is over.
struct Seen {
    report: Report,
    listener: Row,
    workers: Vec<Row>,
    registrations: Vec<Row>,
}

impl Seen {
    fn of(watch: Watch, nginx: &Nginx, made: u64) -> Seen {
        wait::until("nginx's workers to be done", || {
            all_asleep(&nginx.workers).then_some(())
        });
        let report = watch.finish();
        Seen {
            listener: report.assert_connections(PORT, made),
            workers: report.rows("workers"),
            registrations: report.rows("registrations"),
            report,
        }
    }

    /// 200 connections, each when all workers sleep.
    fn sequential(ctx: &Ctx, nginx: &Nginx) -> Seen {
        let watch = Watch::start(ctx, &["-p", &nginx.master().to_string()]);
        let before: Vec<u64> = nginx
            .workers
            .iter()
            .map(|pid| procs::switches(*pid))
            .collect();
        let made = client::sequential(PORT, CONNECTIONS, || all_asleep(&nginx.workers));
        if nginx.setting == Setting::MutexOn {
            // The idle ones come round every 500 ms: long enough to see each do so.
            wait::until("every worker's turn to ask for the mutex", || {
                let now = nginx.workers.iter().map(|pid| procs::switches(*pid));
                let all = now.zip(&before).all(|(now, before)| now > before + 1);
                all.then_some(())
            });
        }
        let seen = Seen::of(watch, nginx, made);
        let listener = &seen.listener;
        assert_eq!(listener.count("woken_max"), 1, "one connection wakes one");
        assert!(
            listener.number("woken_mean") > 0.9,
            "a connection that finds its worker asleep wakes it"
        );
        seen
    }

    fn of_worker(&self, pid: u32) -> &Row {
        let row = self
            .workers
            .iter()
            .find(|row| row.count("pid") == u64::from(pid));
        row.unwrap_or_else(|| panic!("no row for worker {pid} in {:?}", self.workers))
    }
}

fn mutex_off(ctx: &Ctx, workers: usize) -> Outcome {
    sandbox::own_network();
    let nginx = Nginx::start(Setting::MutexOff, workers);
    let flags = nginx.registered();
    assert!(
        flags.iter().all(|entry| entry.events & EPOLLEXCLUSIVE != 0),
        "by /proc: {flags:?}"
    );
    let seen = Seen::sequential(ctx, &nginx);
    assert!(
        seen.listener.number("sleepers_mean") > workers as f64 - 0.5,
        "all waited for each connection"
    );
    assert_eq!(seen.registrations.len(), workers);
    for row in &seen.registrations {
        assert_eq!(row.text("events"), "EPOLLIN|EPOLLEXCLUSIVE");
        assert!(
            row.count("removed_count") > 0,
            "nginx registers anew to take turns: {row:?}"
        );
    }
    for pid in &nginx.workers {
        assert!(
            seen.of_worker(*pid).count("won_count") >= 10,
            "the turns reach every worker"
        );
    }
    assert_eq!(
        sum(&seen.workers, "by_timer_count"),
        0,
        "nobody wakes for nothing"
    );
    let remarks = seen.report.remarks().join("\n");
    assert!(
        remarks.contains("no herd") && remarks.contains("EPOLLEXCLUSIVE"),
        "{remarks}"
    );
    assert!(
        !remarks.contains("accept mutex"),
        "there is none: {remarks}"
    );
    Outcome::Pass
}

fn mutex_on(ctx: &Ctx, workers: usize) -> Outcome {
    sandbox::own_network();
    let nginx = Nginx::start(Setting::MutexOn, workers);
    let seen = Seen::sequential(ctx, &nginx);
    assert_eq!(
        nginx.registered().len(),
        1,
        "one worker has the listener, says /proc"
    );
    for row in &seen.registrations {
        assert_eq!(
            row.text("events"),
            "EPOLLIN|EPOLLRDHUP",
            "no EPOLLEXCLUSIVE with the mutex"
        );
    }
    assert!(
        seen.listener.number("sleepers_mean") < 1.5,
        "the others do not wait for the listener"
    );
    let timers = nginx
        .workers
        .iter()
        .filter(|pid| seen.of_worker(**pid).count("by_timer_count") > 0)
        .count();
    assert!(
        timers >= workers - 1,
        "{timers} of {workers} workers woke by a timer: the mutex's price"
    );
    let turns = sum(&seen.registrations, "set_count");
    assert!(
        turns <= CONNECTIONS / 4,
        "who has the mutex keeps it for a while: {turns} turns"
    );
    let remarks = seen.report.remarks().join("\n");
    assert!(remarks.contains("timer wakeups"), "{remarks}");
    Outcome::Pass
}

fn reuseport(ctx: &Ctx, workers: usize) -> Outcome {
    sandbox::own_network();
    let nginx = Nginx::start(Setting::Reuseport, workers);
    let sockets: BTreeSet<u64> = nginx.registered().iter().map(|entry| entry.inode).collect();
    assert_eq!(
        sockets.len(),
        workers,
        "a listener for each worker, says /proc"
    );
    let seen = Seen::sequential(ctx, &nginx);
    assert_eq!(
        seen.listener.count("sockets_count"),
        workers as u64,
        "sockets on the port"
    );
    assert_eq!(seen.registrations.len(), workers);
    for row in &seen.registrations {
        assert_eq!(
            row.text("events"),
            "EPOLLIN|EPOLLRDHUP",
            "no EPOLLEXCLUSIVE where nobody shares"
        );
        assert_eq!(row.count("removed_count"), 0);
    }
    assert_eq!(
        sum(&seen.workers, "by_timer_count"),
        0,
        "nobody wakes for nothing"
    );
    // Binomial: 5 standard deviations, less than one false alarm in 10^5 for all 8 together.
    let (fair, n) = (CONNECTIONS as f64 / workers as f64, workers as f64);
    let bound = 5.0 * (fair * (1.0 - 1.0 / n)).sqrt();
    for pid in &nginx.workers {
        let won = seen.of_worker(*pid).count("won_count") as f64;
        assert!(
            (won - fair).abs() <= bound,
            "worker {pid} got {won} of {CONNECTIONS}, fair is {fair} ± {bound:.0}"
        );
    }
    let remarks = seen.report.remarks().join("\n");
    assert!(
        remarks.contains("no herd") && remarks.contains(&format!("{workers} sockets")),
        "{remarks}"
    );
    Outcome::Pass
}
