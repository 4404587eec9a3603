//! `probes check`: it agrees with what is known, writes what it found, and ends when it is told to.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::context::{Ctx, Outcome};
use crate::harness::dir::Dir;
use crate::harness::probes::Running;
use crate::harness::{procs, wait};

const SCHEMA: &str = include_str!("../../../docs/check.schema.json");

fn fits(document: &Value) {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema");
    let validator = jsonschema::validator_for(&schema).expect("a schema that can be used");
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// The process that runs the lab of a trace, as soon as there is one.
fn await_lab(running: &Running, trace: &str) -> u32 {
    wait::until("the lab's process", || {
        let runs = |pid: u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0)
                .any(|word| word == trace.as_bytes())
        };
        let children = procs::children(running.pid());
        children
            .into_iter()
            .map(|proc| proc.pid)
            .find(|pid| runs(*pid))
    })
}

pub fn it_finds_what_is_known_of_this_kernel(ctx: &Ctx) -> Outcome {
    let dir = Dir::new();
    let junit = dir.join("probes.xml");
    let mut words = vec!["check", "--json"];
    if !ctx.on_host() {
        // An emulated processor is slow to move bytes.
        words.extend(["--size", "4"]);
    }
    let run = ctx.probes(words).arg("--junit").arg(&junit).run();
    let document: Value = serde_json::from_str(&run.stdout).expect("a document");
    fits(&document);
    let rows = document["claims"].as_array().expect("claims");
    let odd: Vec<&Value> = rows
        .iter()
        .filter(|row| row["known"] != "as-expected" || row["number"].is_null())
        .collect();
    assert!(
        odd.is_empty() && run.code() == 0,
        "{odd:#?}\n{}",
        run.stderr
    );
    let claims = ctx.probes(["claims"]).run().expect(0).stdout;
    let known = claims
        .lines()
        .filter(|line| line.contains('/') && !line.starts_with(' '));
    assert_eq!(rows.len(), known.count(), "a row for every claim");
    let xml = std::fs::read_to_string(&junit).expect("the JUnit file");
    assert_eq!(xml.matches("<testcase ").count(), rows.len());
    assert!(
        !xml.contains("<failure") && !xml.contains("<error"),
        "{xml}"
    );
    Outcome::Pass
}

/// What one run found is what the next is held against; twice the same is not flaky.
pub fn what_one_run_wrote_down_the_next_meets(ctx: &Ctx) -> Outcome {
    let dir = Dir::new();
    let mine = dir.join("mine.json");
    let written = ctx
        .probes([
            "check",
            "--only",
            "accept-herd/*,tcp-states/killed*",
            "--write-expect",
        ])
        .arg(&mine)
        .run()
        .expect(0);
    assert!(
        written
            .stdout
            .ends_with("3 as expected, 0 differ, 0 not settled, 0 with nothing known\n"),
        "{}",
        written.stdout
    );
    let run = ctx
        .probes([
            "check",
            "--only",
            "accept-herd/*",
            "--skip",
            "*/cost",
            "--repeat",
            "2",
            "--expect",
        ])
        .arg(&mine)
        .run();
    assert!(
        run.stdout.contains("accept-herd/one-wakeup"),
        "{}",
        run.stdout
    );
    assert!(!run.stdout.contains("accept-herd/cost"), "{}", run.stdout);
    assert!(
        run.stdout
            .contains("1 as expected, 0 differ, 0 not settled"),
        "{}",
        run.stdout
    );
    Outcome::Pass
}

pub fn interrupted_it_says_what_it_knows(ctx: &Ctx) -> Outcome {
    let running = ctx.probes(["check", "--json", "--jobs", "1"]).start();
    await_lab(&running, "epoll-herd");
    running.signal(Signal::INT);
    let ended = running.wait().expect(130);
    let document: Value = serde_json::from_str(&ended.stdout).expect("a document");
    fits(&document);
    assert_eq!(document["interrupted"], true);
    let rows = document["claims"].as_array().expect("claims");
    assert!(
        rows.iter().any(|row| row["trace"] == "accept-herd"),
        "{document:#}"
    );
    assert!(
        !rows.iter().any(|row| row["trace"] == "tcp-close"),
        "{document:#}"
    );
    Outcome::Pass
}

pub fn killed_it_leaves_no_lab_behind(ctx: &Ctx) -> Outcome {
    let running = ctx.probes(["check", "--only", "epoll-herd/*"]).start();
    let lab = await_lab(&running, "epoll-herd");
    running.signal(Signal::KILL);
    let _killed = running.wait();
    wait::until("the lab's process has ended", || {
        procs::read(lab)
            .is_none_or(|proc| proc.zombie)
            .then_some(())
    });
    Outcome::Pass
}
