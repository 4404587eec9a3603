//! What the labs say that their workers cost agrees with the kernel's own account of each worker.
//!
//! /proc/PID/status and /proc/PID/schedstat, read by the lab while every worker is parked and again when all
//! sleep after the last connection. Switches must be equal, worker by worker, kind by kind. Time cannot be:
//! the kernel charges a task from the begin of `__schedule` to the begin of `__schedule`, `sched_switch` is its
//! end, the difference is of the order of the path between them (about a fifth of these short runs), and in an
//! emulated guest the host may take the CPU away between the two clock readings. So time is held to a factor:
//! 1.5 over a whole run, 2 and a few milliseconds for one scene.

use crate::context::{Ctx, Outcome};
use crate::harness::report::{Report, Row, sum};

/// What the host may take away in the middle of a scene.
const STOLEN_NS: f64 = 20e6;

pub fn accept_herd_costs_are_the_kernels_own(ctx: &Ctx) -> Outcome {
    costs_agree(&ctx.settle(["accept-herd"]));
    Outcome::Pass
}

pub fn epoll_herd_costs_are_the_kernels_own(ctx: &Ctx) -> Outcome {
    costs_agree(&ctx.settle(["epoll-herd"]));
    Outcome::Pass
}

fn costs_agree(report: &Report) {
    report.assert_settled();
    let (accounts, workers) = (report.rows("accounts"), report.rows("workers"));
    assert_eq!(accounts.len(), workers.len(), "an account of each worker");
    switches_agree(report, &accounts, &workers);
    for scene in report.rows("herd") {
        let own: Vec<Row> = accounts
            .iter()
            .filter(|row| row.text("scene") == scene.text("scene"))
            .cloned()
            .collect();
        assert_eq!(own.len(), 4, "{}: accounts", scene.text("scene"));
        times_agree(scene.text("scene"), &own, 2.0, STOLEN_NS);
    }
    times_agree("the whole run", &accounts, 1.5, 0.0);
}

fn switches_agree(report: &Report, accounts: &[Row], workers: &[Row]) {
    let mut compared = 0;
    for row in accounts {
        for kind in ["voluntary_switches_count", "involuntary_switches_count"] {
            let kernel = row.count(&format!("kernel_{kind}"));
            assert!(
                row.count(kind) == kernel || report.gaps() > 0,
                "{kind}: {row:?}"
            );
            compared += kernel;
        }
        // After the account nothing but a timer makes a worker run.
        let worker = workers
            .iter()
            .find(|its| its.count("pid") == row.count("pid"))
            .unwrap_or_else(|| panic!("no worker of {row:?}"));
        let (all, then) = ("voluntary_switches_count", worker.count("by_timer_count"));
        assert!(
            (row.count(all)..=row.count(all) + then).contains(&worker.count(all)),
            "{worker:?} {row:?}"
        );
    }
    let checks = report.rows("checks");
    let named = |what: &str| checks.iter().filter(|row| row.text("what") == what).count();
    let scenes = report.rows("herd").len();
    assert_eq!(named("switches of each worker"), scenes, "scenes checked");
    println!("{compared} switches of {} workers alike", accounts.len());
    assert!(
        compared > 2 * accounts.len() as u64,
        "{compared} switches compared"
    );
}

fn times_agree(what: &str, accounts: &[Row], factor: f64, slack_ns: f64) {
    let seen = sum(accounts, "on_cpu_ns") as f64;
    let kernel = sum(accounts, "kernel_on_cpu_ns") as f64;
    println!("{what}: {seen} ns on a CPU seen, {kernel} by the kernel's account");
    assert!(seen > 0.0 && kernel > 0.0, "{what}: no time at all");
    let (less, more) = (seen.min(kernel), seen.max(kernel));
    assert!(
        more <= less * factor + slack_ns,
        "{what}: {seen} and {kernel} ns differ"
    );
}
