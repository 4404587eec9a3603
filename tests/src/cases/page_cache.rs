//! page-cache and buffer-cache: every claim settled as known, counted alike by the script, mincore(2) and
//! /proc; a watch of dd says 0 % on its first pass and 100 % on its second.

use std::process::Command;

use crate::context::{Ctx, Outcome};
use crate::harness::loopdev::LoopDev;
use crate::harness::noise::Noise;
use crate::harness::report::{Report, Row};
use crate::harness::watch::Watch;

const MIB: u64 = 16;
const PAGES: u64 = MIB << 8;

const CLAIMS: [&str; 5] = [
    "page-cache/cold-misses-all",
    "page-cache/warm-hits-all",
    "page-cache/mmap-faults",
    "page-cache/read-ahead",
    "page-cache/write-back",
];
const BUFFERS: [&str; 2] = [
    "buffer-cache/file-write-grows-cache",
    "buffer-cache/device-read-grows-buffers",
];

pub fn cold_misses_all_and_warm_hits_all_counted_alike(ctx: &Ctx) -> Outcome {
    let report = settled(ctx, "page-cache", &CLAIMS);
    for row in report.rows("reads") {
        let step = row.text("step");
        let ratio = row.number("hit_ratio");
        assert!((0.0..=1.0).contains(&ratio), "{step}: {ratio}");
        if step.ends_with("cold") {
            assert_eq!((row.count("asked_count"), ratio), (PAGES, 0.0), "{step}");
        } else if step.ends_with("warm") {
            assert_eq!((row.count("asked_count"), ratio), (PAGES, 1.0), "{step}");
        } else if step.ends_with("truncate") {
            assert_eq!(
                row.count("asked_count"),
                PAGES / 2,
                "{step}: only what was delivered"
            );
        }
    }
    Outcome::Pass
}

pub fn files_grow_cached_and_devices_buffers(ctx: &Ctx) -> Outcome {
    let mut noise = Noise::start();
    settled(ctx, "buffer-cache", &BUFFERS);
    noise.assert_alive();
    Outcome::Pass
}

fn settled(ctx: &Ctx, trace: &str, claims: &[&str]) -> Report {
    let report = ctx.settle([trace, "--size", &MIB.to_string()]);
    report.show();
    assert_eq!(report.assert_settled().code, 0);
    for claim in claims {
        let found = report.claim(claim);
        assert_eq!(found["result"], "holds", "{found}");
        let on = found["numbers"]["judged_count"].as_u64();
        assert!(on > Some(0), "{found}");
    }
    witnesses_agree(&report);
    report
}

/// Exact ones always; /proc/meminfo, which others move at the same time, mostly.
fn witnesses_agree(report: &Report) {
    let rows = report.rows("witnesses");
    let (shared, own): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| {
        row.text("what").contains("Buffers") || row.text("what").contains("Cached")
    });
    assert!(own.iter().all(|row| row.flag("agrees")), "{own:?}");
    let agree = shared.iter().filter(|row| row.flag("agrees")).count();
    assert!(4 * agree >= 3 * shared.len(), "{shared:?}");
}

pub fn a_watch_of_dd_says_nothing_on_its_first_pass_and_all_on_its_second(ctx: &Ctx) -> Outcome {
    let device = LoopDev::new(MIB << 20);
    let own = std::process::id().to_string();
    let watch = Watch::of(ctx, "page-cache", &["-p", &own]);
    // One after the other: where reclaim is eager, pages do not stay for long.
    let passes = [0.0, 1.0].map(|ratio| (dd(&device), ratio));
    let report = watch.finish();
    let processes = report.rows("processes");
    for (pid, ratio) in passes {
        let found = processes
            .iter()
            .find(|row| row.count("pid") == u64::from(pid));
        let row = found.unwrap_or_else(|| panic!("no pid {pid} in {processes:?}"));
        // Its own files are read as well: some pages, all of them there.
        let asked = row.count("asked_count");
        assert!((PAGES..PAGES + 100).contains(&asked), "{row:?}");
        assert_eq!(row.text("process"), "dd");
        assert!((row.number("hit_ratio") - ratio).abs() < 0.01, "{row:?}");
    }
    let files = report.rows("files");
    let file = files.iter().find(|row| row.text("kind") == "device");
    let file = file.unwrap_or_else(|| panic!("no device in {files:?}"));
    assert_eq!(file.count("asked_count"), 2 * PAGES, "{file:?}");
    assert!((file.number("hit_ratio") - 0.5).abs() < 0.01, "{file:?}");
    Outcome::Pass
}

/// Reads the device whole; returns the pid.
fn dd(device: &LoopDev) -> u32 {
    let mut child = Command::new("dd")
        .arg(format!("if={}", device.path.display()))
        .args(["of=/dev/null", "bs=64k", "status=none"])
        .spawn()
        .expect("dd");
    let pid = child.id();
    assert!(child.wait().expect("its end").success());
    pid
}

pub fn sizes_that_make_no_sense_are_refused(ctx: &Ctx) -> Outcome {
    for trace in ["page-cache", "buffer-cache"] {
        for (words, said) in [
            (["--size", "0"], "from 4 to"),
            (["--size", "much"], "invalid value"),
            (["--variant", "btrfs"], "there are ext4, xfs and raw"),
        ] {
            let run = ctx.probes([trace, words[0], words[1]]).run();
            assert_eq!(run.code(), 2, "{trace} {words:?}: {}", run.stderr);
            assert!(
                run.stderr.contains(said),
                "{trace} {words:?}: {}",
                run.stderr
            );
        }
    }
    Outcome::Pass
}
