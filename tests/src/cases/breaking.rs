//! Breaking things shows: each break turns the right thing inconclusive, unsupported or red.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::context::{Ctx, Outcome};
use crate::harness::dir::Dir;
use crate::harness::procs;
use crate::harness::report::Report;

/// One scene that rests on every needed hook, with a claim of its own.
const SCENE: [&str; 3] = ["epoll-herd", "--variant", "per-process-instance/sequential"];
const CLAIM: &str = "epoll-herd/per-process-instance";

pub fn a_needed_hook_removed_makes_claims_unsupported(ctx: &Ctx) -> Outcome {
    for hook in ["sched_waking", "inet_sock_set_state"] {
        for trace in ["accept-herd", "epoll-herd"] {
            let report = ctx.probes([trace, "--without", hook]).report();
            assert_eq!(report.code, 3, "{trace} without {hook}");
            assert_eq!(report.attached_as(hook), None);
            for claim in report.claims() {
                assert_eq!(claim["result"], "unsupported", "{claim}");
                assert!(
                    claim["because"]
                        .as_str()
                        .is_some_and(|why| why.contains(hook)),
                    "{claim}"
                );
            }
            assert!(!report.claims().is_empty());
        }
    }
    Outcome::Pass
}

pub fn a_rung_removed_falls_to_the_next_with_the_same_verdicts(ctx: &Ctx) -> Outcome {
    let whole = ctx.settle(["epoll-herd"]);
    let hooks = [
        "sched_waking",
        "sched_switch",
        "sys_exit",
        "inet_sock_set_state",
    ];
    let without: Vec<String> = hooks.iter().map(|hook| format!("{hook}:tp_btf")).collect();
    let words = without.iter().flat_map(|rung| ["--without", rung.as_str()]);
    let fallen = ctx.settle(["epoll-herd"].into_iter().chain(words));
    for hook in hooks {
        assert_eq!(whole.attached_as(hook).as_deref(), Some("tp_btf"), "{hook}");
        assert_eq!(
            fallen.attached_as(hook).as_deref(),
            Some("raw_tp"),
            "{hook}"
        );
    }
    assert_eq!(
        fallen.assert_settled().results(),
        whole.assert_settled().results()
    );
    assert_eq!(fallen.code, 0);
    Outcome::Pass
}

pub fn an_optional_hook_removed_changes_no_verdict(ctx: &Ctx) -> Outcome {
    let whole = ctx.settle(["epoll-herd"]);
    let without = ctx.settle(["epoll-herd", "--without", "sk_data_ready"]);
    assert_eq!(without.attached_as("sk_data_ready"), None);
    assert_eq!(
        without.assert_settled().results(),
        whole.assert_settled().results()
    );
    assert_eq!(without.code, 0);
    Outcome::Pass
}

pub fn function_probes_removed_change_no_verdict(ctx: &Ctx) -> Outcome {
    for trace in ["accept-herd", "epoll-herd"] {
        let whole = ctx.settle([trace]);
        let hooks = whole.document["hooks"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let functions: Vec<String> = hooks
            .iter()
            .filter(|hook| {
                // Attached as one, or tried as one and refused (a kernel without function probes).
                let rung = hook["attached_as"].as_str().or(hook["why_not"].as_str());
                rung.is_some_and(|rung| rung.starts_with("fentry") || rung.starts_with("fexit"))
            })
            .filter_map(|hook| hook["hook"].as_str().map(str::to_owned))
            .collect();
        assert!(functions.len() >= 6, "{functions:?}");
        let words = functions
            .iter()
            .flat_map(|hook| ["--without", hook.as_str()]);
        let without = ctx.settle([trace].into_iter().chain(words));
        functions
            .iter()
            .for_each(|hook| assert_eq!(without.attached_as(hook), None, "{hook}"));
        assert_eq!(
            without.assert_settled().results(),
            whole.assert_settled().results()
        );
        assert_eq!(without.code, 0);
    }
    Outcome::Pass
}

pub fn a_ring_too_small_is_inconclusive(ctx: &Ctx) -> Outcome {
    let words = ["--ring", "4", "--workers", "16", "--connections", "200"];
    let report = ctx.probes(SCENE.into_iter().chain(words)).report();
    report.show();
    assert_eq!(report.code, 4);
    assert!(
        report.lost() > 0,
        "a ring of 4 KiB lost nothing: {}",
        report.document["losses"]
    );
    inconclusive(&report, &["lost"]);
    Outcome::Pass
}

pub fn a_worker_killed_in_mid_run_is_inconclusive_and_named(ctx: &Ctx) -> Outcome {
    let mut running = ctx
        .probes(SCENE.into_iter().chain(["--connections", "5000", "--json"]))
        .start();
    let victim = running.await_worker_at_work();
    assert!(procs::signal(victim, Signal::KILL));
    let report = running.wait().expect(4).report();
    inconclusive(&report, &["died", &victim.to_string()]);
    Outcome::Pass
}

fn inconclusive(report: &Report, words: &[&str]) {
    let claim = report.claim(CLAIM);
    assert_eq!(claim["result"], "inconclusive", "{claim}");
    let why = claim["because"].as_str().unwrap_or_default();
    words
        .iter()
        .for_each(|word| assert!(why.contains(word), "{why:?} should say {word:?}"));
}

pub fn an_altered_expectation_is_the_one_that_differs(ctx: &Ctx) -> Outcome {
    let report = ctx.probes(["accept-herd"]).report();
    let flipped = "accept-herd/one-wakeup";
    let rows = report.results().into_iter().map(|(claim, result)| {
        let opposite = if result == "holds" {
            "refuted"
        } else {
            "holds"
        };
        let expected = if claim == flipped {
            opposite
        } else {
            result.as_str()
        };
        json!({"claim": claim, "kernels": "*", "result": expected, "source": "this test"})
    });
    let file = json!({"schema": "probes.expect/1", "expectations": rows.collect::<Vec<_>>()});
    let dir = Dir::new();
    let path = dir.write("expect.json", file.to_string());
    let run = ctx
        .probes(["check", "--only", "accept-herd/*", "--json", "--expect"])
        .arg(&path)
        .run()
        .expect(1);
    let document: Value = serde_json::from_str(&run.stdout).expect("a document");
    let rows = document["claims"].as_array().expect("claims");
    let differing: Vec<&Value> = rows
        .iter()
        .filter(|row| row["known"] == "differs")
        .collect();
    assert_eq!(differing.len(), 1, "{document:#}");
    assert_eq!(differing[0]["id"], flipped);
    assert_eq!(document["summary"]["differ"], 1);
    Outcome::Pass
}
