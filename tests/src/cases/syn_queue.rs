//! syn-queue settles its claims, and four witnesses count the same: timers, packets, /proc, counters.

use crate::context::{Ctx, Outcome};
use crate::harness::noise::Noise;
use crate::harness::report::{Report, Row};

const TRIES: u64 = 4;

pub fn a_full_syn_queue_refuses_and_cookies_get_past_it(ctx: &Ctx) -> Outcome {
    settled(ctx);
    Outcome::Pass
}

pub fn a_full_syn_queue_is_told_the_same_beside_noise(ctx: &Ctx) -> Outcome {
    let mut noise = Noise::start();
    settled(ctx);
    noise.assert_alive();
    Outcome::Pass
}

pub fn a_backlog_of_ones_own_is_the_limit_of_the_flood(ctx: &Ctx) -> Outcome {
    let words = [
        "syn-queue",
        "--cookies",
        "0",
        "--backlog",
        "40",
        "--somaxconn",
        "24",
    ];
    let report = ctx.settle(words);
    report.show();
    report.assert_settled();
    assert_eq!(report.results().len(), 1, "{:?}", report.results());
    for row in report.rows("floods") {
        assert_eq!(row.count("limit_count"), 24, "the smaller of the two");
        let held = row.count("half_open_count");
        assert!(
            (24..=25).contains(&held),
            "{held} held: the limit, or one more"
        );
        accounted_for(&row);
    }
    Outcome::Pass
}

fn settled(ctx: &Ctx) {
    let report = ctx.settle(["syn-queue"]);
    report.show();
    assert_eq!(report.assert_settled().code, 0);
    assert_eq!(report.results().len(), 5);
    for slug in ["overflow-refuses", "cookies-when-full", "cookies-always"] {
        assert_eq!(
            report.claim(&format!("syn-queue/{slug}"))["result"],
            "holds"
        );
    }
    let floods = report.rows("floods");
    assert_eq!(floods.len(), 14, "floods of both families");
    floods.iter().for_each(accounted_for);
    connections(&report);
    options(&report);
}

/// Each spoofed SYN was kept, dropped or answered by a cookie: /proc, and two counters.
fn accounted_for(row: &Row) {
    let (sent, held) = (row.count("spoofed_count"), row.count("half_open_count"));
    assert_eq!(held, row.count("request_timers_count"), "{row:?}");
    let rest = row.count("listen_drops_count") + row.count("cookies_sent_count");
    assert_eq!(sent, held + rest, "{row:?}");
    let full = row.count("queue_full_drops_count");
    assert!(full <= row.count("listen_drops_count"), "{row:?}");
}

fn connections(report: &Report) {
    let rows = report.rows("connections");
    let after = |part: &str| -> Vec<Row> {
        let own = |row: &&Row| row.text("case").starts_with(part) && row.text("step") == "after";
        rows.iter().filter(own).cloned().collect()
    };
    for row in after("cookies-0/") {
        assert_eq!(row.count("came_through_count"), 0);
        assert_eq!(row.count("answered_count"), 0, "packets say the same");
        assert!(
            row.count("queue_full_drops_count") >= TRIES,
            "and so does a counter"
        );
    }
    for row in after("cookies-1/").iter().chain(&after("cookies-2/")) {
        let all = [
            "came_through_count",
            "answered_count",
            "cookies_valid_count",
        ];
        assert!(all.iter().all(|key| row.count(key) == TRIES), "{row:?}");
        assert_eq!(row.count("request_timers_count"), 0);
    }
    for row in rows.iter().filter(|row| row.text("step") == "before") {
        assert_eq!(row.count("came_through_count"), 1, "the control of {row:?}");
    }
}

/// The SYN-ACK as a packet, and TCP_INFO of both ends, tell the same.
fn options(report: &Report) {
    let rows = report.rows("options");
    assert_eq!(
        rows.len(),
        8,
        "two settings, with cookies and without, both families"
    );
    for row in rows {
        let (synack, server, client) = (row.text("synack"), row.text("server"), row.text("client"));
        assert_eq!((synack, synack), (server, client), "{row:?}");
    }
}
