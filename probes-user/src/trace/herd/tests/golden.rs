//! Whole reports as a person and as a program get them.

use serde_json::json;

use super::super::calls;
use super::super::marks::{Arrival, Variant};
use super::super::scenes;
use super::super::testkit::*;
use crate::render::report::{HookReport, KernelReport, ProgramCost, StatsReport};
use crate::render::{Report, json, text};
use crate::trace::{Ending, LabOptions, Mode};

fn hook(name: &str, attached_as: Option<&str>, why_not: Option<&str>) -> HookReport {
    HookReport {
        hook: name.to_owned(),
        attached_as: attached_as.map(str::to_owned),
        needed: !name.starts_with("tcp_"),
        lost_without: "a wakeup is tied to its connection by the kernel stack alone".to_owned(),
        why_not: why_not.map(str::to_owned),
    }
}

fn report(mode: Mode, script: &Script, timeline: Option<u64>) -> Report {
    let mut context = context("epoll-herd", mode);
    context.timeline = timeline;
    let options = LabOptions {
        variants: vec!["e/sequential".to_owned()],
        ..LabOptions::default()
    };
    if mode == Mode::Lab {
        context.options = serde_json::to_value(scenes::epoll_plan(&options).unwrap()).unwrap();
    }
    let ending = Ending {
        emitted: 1234,
        duration_ns: 2_500_000_000,
        ..Ending::default()
    };
    let outcome = fold(&context, &script.items, &ending);
    Report {
        trace: context.trace,
        mode,
        kernel: KernelReport {
            release: "6.12.1".to_owned(),
            version: "#1 SMP".to_owned(),
            machine: "x86_64".to_owned(),
            cpus: 2,
        },
        options: context.options,
        findings: outcome.findings,
        ledger: outcome.ledger,
        ending,
        hooks: vec![
            hook("sched_waking", Some("tp_btf"), None),
            hook("sched_switch", Some("raw_tp"), None),
            hook("tcp_child_process", None, Some("EPERM")),
        ],
        stats: None,
        record_error: None,
    }
}

/// The herd, the shared instance with its cascade, and one cure.
fn lab_script() -> Script {
    let mut script = Script::new();
    script.scene(Variant::SharedInstance, Arrival::Sequential, 4);
    for _ in 0..20 {
        let conn = script.connect();
        let (first, second) = (script.pid(0), script.pid(1));
        script.woken(first, conn).runs(first);
        script.waking(first, second, 0, CASCADE, 0).wakeup(second);
        let call = script.call();
        script
            .returns(first, call, 1)
            .accepts(first, conn)
            .waits(first)
            .loses(second);
    }
    script
        .end()
        .scene(Variant::PerProcessInstance, Arrival::Sequential, 4);
    for _ in 0..20 {
        script.herd(&[0, 1, 2, 3]);
    }
    script
        .end()
        .scene(Variant::Exclusive, Arrival::Sequential, 4);
    for _ in 0..20 {
        script.herd(&[0]);
    }
    script.end();
    script
}

fn watch_script() -> Script {
    let mut script = Script::watch(4);
    script.listener(1);
    for index in 0..4 {
        let pid = script.pid(index);
        script
            .task(pid, "gunicorn", Some(calls::EPOLL_WAIT))
            .registration(pid, 1);
    }
    for round in 0..24 {
        script.herd(&[round % 4, (round + 1) % 4, (round + 2) % 4]);
    }
    script.connect();
    script
}

fn page(report: &Report) -> String {
    let page = text::report(report, text::Style::default());
    assert!(
        page.lines().all(|line| line.chars().count() <= text::WIDTH),
        "{page}"
    );
    page
}

#[test]
fn a_lab_report_for_a_person() {
    let mut report = report(Mode::Lab, &lab_script(), Some(21));
    report.ending.interrupted = true;
    insta::assert_snapshot!("lab", page(&report));
}

#[test]
fn a_watch_report_for_a_person() {
    insta::assert_snapshot!("watch", page(&report(Mode::Watch, &watch_script(), None)));
}

#[test]
fn colour_is_only_there_when_asked_for() {
    let report = report(Mode::Lab, &lab_script(), None);
    assert!(
        !text::report(
            &report,
            text::Style {
                colour: false,
                verbose: true
            }
        )
        .contains('\x1b')
    );
    assert!(
        text::report(
            &report,
            text::Style {
                colour: true,
                verbose: false
            }
        )
        .contains("\x1b[32mholds\x1b[0m")
    );
}

fn schema() -> jsonschema::Validator {
    let schema = include_str!("../../../../../docs/report.schema.json");
    jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap()
}

fn assert_valid(document: &serde_json::Value) {
    let errors: Vec<String> = schema()
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn reports_keep_to_the_published_schema() {
    let mut lab = report(Mode::Lab, &lab_script(), Some(3));
    assert_valid(&json::document(&lab));
    lab.ending.lost.insert("Waking".to_owned(), 3);
    lab.ending.lab_error = Some("a worker died".to_owned());
    lab.record_error = Some("disk full".to_owned());
    lab.stats = Some(StatsReport {
        startup_ns: vec![("btf".to_owned(), 1_000_000)],
        programs: vec![ProgramCost {
            program: "sched_waking".to_owned(),
            runs: 10,
            ns: 900,
        }],
        ..StatsReport::default()
    });
    assert_valid(&json::document(&lab));
    assert_valid(&json::document(&report(Mode::Watch, &watch_script(), None)));
    assert_valid(&json::document(&report(Mode::Watch, &Script::new(), None)));
}

#[test]
fn the_schema_refuses_what_is_no_report() {
    let mut document = json::document(&report(Mode::Lab, &lab_script(), None));
    document["claims"][0]["result"] = json!("maybe");
    assert!(!schema().is_valid(&document));
    assert!(!schema().is_valid(&json!({})));
}

#[test]
fn rows_are_keyed_by_column_and_numbers_carry_their_unit() {
    let document = json::document(&report(Mode::Lab, &lab_script(), None));
    assert_eq!(document["schema"], json!("probes.report/1"));
    assert_eq!(
        document["ledger"]["tables"]["herd"][1]["woken_mean"],
        json!(4.0)
    );
    assert_eq!(
        document["ledger"]["tables"]["herd"][1]["scene"],
        json!("per-process-instance/sequential")
    );
    assert_eq!(document["hooks"][2]["why_not"], json!("EPERM"));
    assert_eq!(
        document["claims"][0]["id"],
        json!("epoll-herd/shared-instance")
    );
}
