//! Recordings and report files: replayed alike, refused when damaged, honest about a full disk.

use std::fs::OpenOptions;
use std::path::Path;

use super::bad_input::Copy;
use crate::context::{Ctx, Outcome};
use crate::harness::dir::Dir;
use crate::harness::sandbox;

/// A recording of a short run, and the report of that run.
fn recorded(ctx: &Ctx, path: &Path) -> crate::harness::report::Report {
    let words = [
        "epoll-herd",
        "--variant",
        "per-process-instance",
        "--variant",
        "exclusive",
        "--json",
        "--record",
    ];
    ctx.probes(words).arg(path).run().expect(0).report()
}

pub fn a_replay_without_root_says_the_same(ctx: &Ctx) -> Outcome {
    let dir = Dir::new();
    let path = dir.join("run.probes");
    let live = recorded(ctx, &path);
    live.assert_settled();
    let replay = Copy::of(ctx)
        .probes(["replay", "--json"])
        .arg(&path)
        .by_nobody()
        .run()
        .expect(0)
        .report();
    for key in [
        "trace",
        "mode",
        "kernel",
        "options",
        "claims",
        "ledger",
        "losses",
        "hooks",
        "duration_ns",
    ] {
        assert_eq!(replay.document[key], live.document[key], "{key}");
    }
    Outcome::Pass
}

pub fn a_truncated_recording_is_refused(ctx: &Ctx) -> Outcome {
    let dir = Dir::new();
    let path = dir.join("run.probes");
    recorded(ctx, &path);
    let whole = std::fs::read(&path).expect("the recording");
    for length in [0, 7, 16, 18, 400, whole.len() / 2, whole.len() - 1] {
        let cut = dir.write("cut.probes", &whole[..length]);
        let run = ctx
            .probes(["replay"])
            .arg(&cut)
            .run()
            .expect(2)
            .says(&["cut.probes"]);
        assert!(
            run.stdout.is_empty() && run.stderr.lines().count() == 1,
            "{length}: {}",
            run.stderr
        );
    }
    Outcome::Pass
}

pub fn a_foreign_recording_is_refused(ctx: &Ctx) -> Outcome {
    let dir = Dir::new();
    let foreign = dir.write(
        "foreign",
        "\u{7f}ELF and so on, long enough to hold any head",
    );
    ctx.probes(["replay"])
        .arg(&foreign)
        .run()
        .expect(2)
        .says(&["no recording"]);
    let future = dir.write("future", "probes.record/9\nwhat nobody knows yet");
    ctx.probes(["replay"])
        .arg(&future)
        .run()
        .expect(2)
        .says(&["recording"]);
    ctx.probes(["replay"]).arg(dir.path()).run().expect(2);
    Outcome::Pass
}

pub fn a_full_disk_spoils_the_recording_and_not_the_report(ctx: &Ctx) -> Outcome {
    let dir = Dir::new();
    sandbox::own_mounts();
    let _full = sandbox::Tmpfs::mount(dir.path(), "size=64k");
    let path = dir.join("run.probes");
    let run = ctx
        .probes(["epoll-herd", "--json", "--record"])
        .arg(&path)
        .run()
        .expect(3);
    let run = run.says(&["recording", "space"]);
    let report = run.report();
    report.assert_settled();
    assert!(
        report.document["record_error"].is_string(),
        "{}",
        report.document["record_error"]
    );
    ctx.probes(["replay"])
        .arg(&path)
        .run()
        .expect(2)
        .says(&["short"]);
    Outcome::Pass
}

pub fn a_report_that_cannot_be_written_is_an_error(ctx: &Ctx) -> Outcome {
    ctx.probes(["accept-herd", "-o", "/dev/full"])
        .run()
        .expect(3)
        .says(&["/dev/full", "space"]);
    ctx.probes(["accept-herd", "-o", "/no/such/folder/report"])
        .run()
        .expect(3)
        .says(&["/no/such/folder"]);
    let full = OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    ctx.probes(["accept-herd", "--json"])
        .stdout_to(full)
        .run()
        .expect(3)
        .says(&["standard output", "space"]);
    Outcome::Pass
}

pub fn a_report_in_a_file_is_the_whole_report(ctx: &Ctx) -> Outcome {
    let dir = Dir::new();
    let path = dir.join("report.json");
    let run = ctx
        .probes(["accept-herd", "--json", "-o"])
        .arg(&path)
        .run()
        .expect(0);
    assert!(run.stdout.is_empty(), "{}", run.stdout);
    let text = std::fs::read_to_string(&path).expect("the report");
    let document: serde_json::Value = serde_json::from_str(&text).expect("a report in JSON");
    assert_eq!(document["schema"], "probes.report/1");
    Outcome::Pass
}
