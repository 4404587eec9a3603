//! Wakeups agree with an independent count from the kernel's own tracing, on the same run.
//!
//! Both clocks are CLOCK_MONOTONIC, and every window begins and ends while all workers sleep. So these
//! must be equal, without tolerance:
//! 1. in each scene, for each worker: `sched_waking` as recorded and as traced;
//! 2. for each connection that arrives alone: the waiters it woke, as in the ledger, and the tasks that
//!    tracing saw woken out of a sleep until the next connection (more by at most the ledger's cascades,
//!    where a worker wakes another one).

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

use crate::context::{Ctx, Outcome};
use crate::harness::dir::Dir;
use crate::harness::recording::{Mark, Recording};
use crate::harness::report::{Report, Row};
use crate::harness::tracefs::{Event, Tracing, wakings};

/// Workers under this name live only in our lab.
const WORKER: &str = "herd-worker";

struct Both {
    report: Report,
    recording: Recording,
    traced: Vec<Event>,
}

fn both(ctx: &Ctx, words: &[&str]) -> Both {
    let dir = Dir::new();
    let path = dir.join("run.probes");
    let tracing = Tracing::start(WORKER);
    let report = ctx
        .probes(words.iter().copied().chain(["--record"]))
        .arg(&path)
        .report();
    let traced = tracing.end();
    report.assert_settled();
    assert!(traced.len() > 100, "tracing saw {} events", traced.len());
    Both {
        report,
        recording: Recording::read(&path),
        traced,
    }
}

pub fn accept_herd_wakeups_agree_with_tracefs(ctx: &Ctx) -> Outcome {
    let both = both(ctx, &["accept-herd"]);
    recorded_as_traced(&both);
    connections_as_traced(&both, &["accept/sequential", "poll-accept/sequential"]);
    Outcome::Pass
}

pub fn epoll_herd_wakeups_agree_with_tracefs(ctx: &Ctx) -> Outcome {
    let both = both(ctx, &["epoll-herd"]);
    recorded_as_traced(&both);
    let scenes = [
        "shared-instance",
        "per-process-instance",
        "edge-per-process",
        "exclusive",
        "reuseport",
        "poll",
    ];
    let scenes: Vec<String> = scenes
        .iter()
        .map(|scene| format!("{scene}/sequential"))
        .collect();
    connections_as_traced(
        &both,
        &scenes.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    Outcome::Pass
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

/// A scene's window and its workers.
fn scenes(recording: &Recording) -> Vec<(Range<u64>, Vec<u32>, &Mark)> {
    let ends: BTreeMap<u64, u64> = recording
        .named("scene-end")
        .map(|mark| (number(&mark.data["scene"]), mark.ktime))
        .collect();
    let of = |mark: &Mark| -> Vec<u32> {
        let workers = mark.data["workers"].as_array().into_iter().flatten();
        workers
            .map(|worker| u32::try_from(number(&worker["pid"])).expect("a pid"))
            .collect()
    };
    recording
        .named("scene")
        .map(|mark| {
            (
                mark.ktime..ends[&number(&mark.data["scene"])],
                of(mark),
                mark,
            )
        })
        .collect()
}

fn recorded_as_traced(both: &Both) {
    let scenes = scenes(&both.recording);
    assert_eq!(scenes.len(), both.report.rows("herd").len());
    let mut compared = 0;
    for (window, workers, mark) in scenes {
        let traced = wakings(&both.traced, window.start / 1000..window.end / 1000 + 1);
        for pid in workers {
            let of_worker = both
                .recording
                .wakings
                .iter()
                .filter(|its| its.target == pid);
            let recorded = of_worker.filter(|its| window.contains(&its.ktime)).count() as u64;
            let traced = traced.get(&pid).map_or(0, |counts| counts.all);
            if recorded != traced {
                let all: Vec<_> = both
                    .recording
                    .wakings
                    .iter()
                    .filter(|its| its.target == pid)
                    .map(|i| i.ktime / 1000)
                    .collect();
                let tr: Vec<_> = both
                    .traced
                    .iter()
                    .filter(|e| e.pid == pid && e.kind == crate::harness::tracefs::Kind::Waking)
                    .map(|e| e.at_us)
                    .collect();
                println!("window {window:?} rec {all:?}\ntraced {tr:?}");
            }
            assert_eq!(
                recorded, traced,
                "wakings of worker {pid}, recorded and traced, in {}",
                mark.data
            );
            compared += recorded;
        }
    }
    println!("{compared} wakings recorded and traced alike");
    assert!(compared > 50, "{compared} wakings compared");
}

fn connections_as_traced(both: &Both, labels: &[&str]) {
    let rows = both.report.rows("connections");
    for label in labels {
        let rows: Vec<&Row> = rows
            .iter()
            .filter(|row| row.text("scene") == *label)
            .collect();
        assert!(!rows.is_empty(), "no connections of {label}");
        let scene = scene_of(both, &rows);
        let mut woken = 0;
        for (row, window) in rows.iter().zip(windows(both, scene)) {
            let traced = wakings(&both.traced, window);
            let out_of_sleep = traced
                .values()
                .filter(|counts| counts.of_sleepers > 0)
                .count() as u64;
            let (own, cascades) = (row.count("woken_count"), row.count("cascades_count"));
            assert!(
                (own..=own + cascades).contains(&out_of_sleep),
                "{label}: tracing saw {out_of_sleep} woken, the ledger says {own} and {cascades} by cascade: {row:?}"
            );
            woken += out_of_sleep;
        }
        println!(
            "{label}: {} connections woke {woken} workers in both",
            rows.len()
        );
        assert!(woken >= rows.len() as u64);
    }
}

/// The scene's number, from the client ports that its rows and its marks share.
fn scene_of(both: &Both, rows: &[&Row]) -> u64 {
    let port = rows[0].count("client_port");
    let mark = both
        .recording
        .named("connect")
        .find(|mark| number(&mark.data["client_port"]) == port);
    number(&mark.expect("the mark of the scene's first connection").data["scene"])
}

/// From each connection of the scene to the next one, or to the scene's end, in microseconds.
fn windows(both: &Both, scene: u64) -> Vec<Range<u64>> {
    let of_scene = |mark: &&Mark| number(&mark.data["scene"]) == scene;
    let connects = both.recording.named("connect").filter(of_scene);
    let end = both
        .recording
        .named("scene-end")
        .find(of_scene)
        .expect("the scene's end");
    let mut times: Vec<u64> = connects.map(|mark| mark.ktime / 1000).collect();
    times.push(end.ktime / 1000 + 1);
    times.windows(2).map(|pair| pair[0]..pair[1]).collect()
}
