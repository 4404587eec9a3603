//! Wakeups agree with an independent count from the kernel's own tracing, on the same run.
//!
//! Both clocks are CLOCK_MONOTONIC, and every window begins and ends while all workers sleep. So these
//! must be equal, without tolerance:
//! 1. in each scene, for each worker: `sched_waking` as recorded and as traced;
//! 2. for each connection that arrives alone: the waiters it woke, as in the ledger, and the tasks that
//!    tracing saw woken out of a sleep until the next connection (more by at most the ledger's cascades,
//!    where a worker wakes another one).

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value;

use crate::context::{Ctx, Outcome};
use crate::harness::dir::Dir;
use crate::harness::probes::LAB_WORKER;
use crate::harness::recording::{Mark, Recording};
use crate::harness::report::{Report, Row};
use crate::harness::tracefs::{Event, Tracing, wakings};

struct Both {
    report: Report,
    recording: Recording,
    traced: Vec<Event>,
}

fn both(ctx: &Ctx, words: &[&str]) -> Both {
    let dir = Dir::new();
    let path = dir.join("run.probes");
    let tracing = Tracing::start(LAB_WORKER);
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

/// One run of a scene; one with gaps in its evidence is run again, and the last one counts.
struct Scene {
    label: String,
    workers: Vec<u32>,
    window: Range<u64>,
    /// When each connection was begun.
    connects: Vec<u64>,
    /// Events that the program itself knows to be missing.
    gaps: u64,
}

fn scenes(recording: &Recording) -> Vec<Scene> {
    let mut scenes: Vec<Scene> = Vec::new();
    for mark in recording.named("scene") {
        let later =
            |other: &&Mark| other.ktime > mark.ktime && other.data["scene"] == mark.data["scene"];
        let end = recording
            .named("scene-end")
            .find(later)
            .expect("the end of every scene")
            .ktime;
        let within = |other: &&Mark| (mark.ktime..end).contains(&other.ktime);
        let workers = mark.data["workers"].as_array().into_iter().flatten();
        let text = |key: &str| mark.data[key].as_str().unwrap_or_default();
        scenes.push(Scene {
            label: format!("{}/{}", text("variant"), text("arrival")),
            workers: workers
                .map(|its| u32::try_from(number(&its["pid"])).expect("a pid"))
                .collect(),
            window: mark.ktime..end,
            connects: recording
                .named("connect")
                .filter(within)
                .map(|mark| mark.ktime)
                .collect(),
            gaps: recording.named("gap").filter(within).count() as u64,
        });
    }
    scenes
}

fn recorded_as_traced(both: &Both) {
    let scenes = scenes(&both.recording);
    let labels: BTreeSet<&str> = scenes.iter().map(|scene| scene.label.as_str()).collect();
    assert_eq!(
        labels.len(),
        both.report.rows("herd").len(),
        "scenes recorded and reported"
    );
    let mut compared = 0;
    for scene in &scenes {
        let traced = wakings(&both.traced, microseconds(&scene.window));
        for pid in &scene.workers {
            let own = both
                .recording
                .wakings
                .iter()
                .filter(|its| its.target == *pid);
            let recorded = own.filter(|its| scene.window.contains(&its.ktime)).count() as u64;
            let traced = traced.get(pid).map_or(0, |counts| counts.all);
            let missed = traced.checked_sub(recorded);
            assert!(
                missed.is_some_and(|missed| missed <= scene.gaps),
                "{}, worker {pid}: {recorded} wakings recorded, {traced} traced, {} gaps",
                scene.label,
                scene.gaps
            );
            compared += recorded;
        }
    }
    println!("{compared} wakings recorded and traced alike");
    assert!(compared > 50, "{compared} wakings compared");
}

fn connections_as_traced(both: &Both, labels: &[&str]) {
    let (scenes, rows) = (scenes(&both.recording), both.report.rows("connections"));
    for label in labels {
        let rows: Vec<&Row> = rows
            .iter()
            .filter(|row| row.text("scene") == *label)
            .collect();
        let scene = scenes.iter().rev().find(|scene| scene.label == *label);
        let scene = scene.unwrap_or_else(|| panic!("no scene {label}"));
        assert!(
            !rows.is_empty() && rows.len() == scene.connects.len(),
            "connections of {label}"
        );
        let mut sum = 0;
        for (row, window) in rows.iter().zip(scene.between_connections()) {
            let traced = wakings(&both.traced, window.clone());
            let out_of_sleep = |pid: &&u32| traced.get(pid).is_some_and(|its| its.of_sleepers > 0);
            // Another lab on this host names its workers alike.
            let woken = scene.workers.iter().filter(out_of_sleep).count() as u64;
            let (own, cascades) = (row.count("woken_count"), row.count("cascades_count"));
            assert!(
                (own..=own + cascades + scene.gaps).contains(&woken),
                "{label}: tracing saw {woken} woken, the ledger says {own} and {cascades} by cascade: {row:?}\n{}",
                surroundings(both, &window)
            );
            sum += woken;
        }
        println!(
            "{label}: {} connections woke {sum} workers in both",
            rows.len()
        );
        assert!(sum >= rows.len() as u64);
    }
}

/// What was traced and what was recorded around a window, for whoever reads the failure.
fn surroundings(both: &Both, window_us: &Range<u64>) -> String {
    let near = window_us.start.saturating_sub(500)..window_us.end + 500;
    let traced = both
        .traced
        .iter()
        .filter(|event| near.contains(&event.at_us));
    let heads = both.recording.heads.iter();
    let recorded = heads.filter(|head| near.contains(&(head.ktime / 1000)));
    let lines = traced.map(|event| format!("traced {event:?}"));
    let lines = lines.chain(recorded.map(|head| format!("recorded {head}")));
    let lines: Vec<String> = lines.collect();
    format!("window {window_us:?} us\n{}", lines.join("\n"))
}

impl Scene {
    fn between_connections(&self) -> Vec<Range<u64>> {
        let mut times = self.connects.clone();
        times.push(self.window.end);
        times
            .windows(2)
            .map(|pair| microseconds(&(pair[0]..pair[1])))
            .collect()
    }
}

/// Tracing tells time in microseconds; at both ends of a window everybody sleeps.
fn microseconds(window: &Range<u64>) -> Range<u64> {
    window.start / 1000..window.end / 1000
}
