//! block-io settles its claims; its counts agree with the kernel's own books, a watch with the lab that it watches.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use crate::context::{Ctx, Outcome};
use crate::harness::dir::Dir;
use crate::harness::inventory::loop_devices;
use crate::harness::noise::Noise;
use crate::harness::report::{Report, Row, sum};
use crate::harness::wait;

const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;
/// include/uapi/linux/loop.h
const LOOP_CLR_FD: libc::c_ulong = 0x4C01;

pub fn small_writes_merge_reads_run_ahead_and_the_dirtier_is_found(ctx: &Ctx) -> Outcome {
    settled(ctx);
    Outcome::Pass
}

pub fn beside_noise_the_disks_tell_the_same(ctx: &Ctx) -> Outcome {
    let mut noise = Noise::start();
    // Another disk, made, written and taken away meanwhile.
    let other = ctx
        .probes(["block-io", "--variant", "ext4", "--size", "8", "--json"])
        .start();
    settled(ctx);
    assert_eq!(other.wait().report().assert_settled().code, 0);
    noise.assert_alive();
    Outcome::Pass
}

fn settled(ctx: &Ctx) {
    let report = ctx.settle(["block-io", "--size", "16"]);
    report.show();
    assert_eq!(report.assert_settled().assert_nothing_lost().code, 0);
    for slug in ["merges", "reads-ahead", "true-dirtier"] {
        assert_eq!(report.claim(&format!("block-io/{slug}"))["result"], "holds");
    }
    for disk in ["ext4", "xfs", "raw"] {
        books(&report, disk);
        parts(&report, disk);
    }
}

/// What the kernel counts by itself agrees with the events, in every point.
fn books(report: &Report, disk: &str) {
    let checks: Vec<Row> = of(report, "checks", "case", disk);
    assert_eq!(checks.len(), 20, "{disk}");
    for check in checks {
        assert!(check.flag("agree"), "{check:?}");
        assert_eq!(check.count("ours_count"), check.count("witness_count"));
    }
}

fn parts(report: &Report, disk: &str) {
    let rows = of(report, "parts", "case", disk);
    assert_eq!(rows.len(), if disk == "raw" { 6 } else { 7 });
    for row in rows {
        let (calls, requests) = (row.count("calls_count"), row.count("requests_count"));
        let carried = row.count("carried_bytes");
        match row.text("part") {
            "sequential writes" => assert_eq!(carried, 16 * MIB),
            "direct writes" | "random reads" => {
                assert_eq!((calls, requests, carried), (64, 64, 64 * PAGE));
            }
            "writers" => assert_eq!(carried, MIB),
            // The first read has brought in some of what the others read.
            _ => assert!(carried + 16 * PAGE > row.count("called_bytes"), "{row:?}"),
        }
    }
}

fn of(report: &Report, table: &str, key: &str, value: &str) -> Vec<Row> {
    let mut rows = report.rows(table);
    rows.retain(|row| row.text(key) == value);
    rows
}

/// The lab is the watched command: what it knows of its own disk is what the watch must find.
/// The lab may have to run a case again; a watch of that sees both.
const TRIES: usize = 5;

/// A watch of the lab itself, and the lab's own report.
fn watch_the_lab(ctx: &Ctx) -> (Report, Report) {
    let dir = Dir::new();
    let file = dir.join("lab.json");
    let report = ctx
        .probes(["block-io", "--json", "--slower", "1us", "--"])
        .arg(&ctx.probes)
        .arg("block-io")
        .arg("--variant=raw")
        .arg("--size=4")
        .arg("--json")
        .arg("-o")
        .arg(&file)
        .run()
        .report();
    let text = std::fs::read_to_string(&file).expect("the lab's report");
    let lab = Report {
        code: 0,
        document: serde_json::from_str(&text).expect("JSON"),
    };
    (report, lab)
}

pub fn a_watch_counts_what_a_command_did_to_its_disk(ctx: &Ctx) -> Outcome {
    let again = |lab: &Report| {
        let remarks = lab.remarks();
        remarks.iter().any(|line| line.contains("run again"))
    };
    let mut tries = std::iter::repeat_with(|| watch_the_lab(ctx)).take(TRIES);
    let whole = tries.find(|(_, lab)| !again(lab));
    let (report, lab) = whole.expect("a lab that runs its case once");
    report.show();
    report.assert_nothing_lost();
    let carried = |names: &[&str]| {
        let rows = lab.rows("parts").into_iter();
        let rows: Vec<Row> = rows
            .filter(|row| names.contains(&row.text("part")))
            .collect();
        sum(&rows, "carried_bytes")
    };
    let mut rows = report.rows("owners");
    rows.retain(|row| row.text("disk").starts_with("loop"));
    let owned = |process: &str, operation: &str| {
        let rows = rows.iter().filter(|row| row.text("operation") == operation);
        let rows: Vec<Row> = rows
            .filter(|row| row.text("process") == process)
            .cloned()
            .collect();
        sum(&rows, "bytes")
    };
    assert_eq!(
        owned("script", "write"),
        carried(&["sequential writes", "direct writes"])
    );
    assert_eq!(owned("writer-a", "write"), MIB, "whoever synchronised it");
    let reads = ["first read", "sequential reads", "random reads"];
    assert_eq!(owned("script", "read"), carried(&reads));
    // The slowest only: which operations those are is the disk's affair.
    let slow = report.rows("slow");
    assert!(!slow.is_empty(), "no request takes less than 1 µs");
    for row in &slow {
        assert!(row.count("total_us") >= row.count("device_us"), "{row:?}");
    }
    let falls = |pair: &[Row]| pair[0].count("total_us") >= pair[1].count("total_us");
    assert!(slow.windows(2).all(falls), "{slow:?}");
    Outcome::Pass
}

pub fn a_disk_that_is_torn_away_in_mid_run_leaves_nothing(ctx: &Ctx) -> Outcome {
    let before: BTreeSet<String> = loop_devices().into_iter().collect();
    let words = ["block-io", "--variant", "raw", "--size", "64", "--json"];
    let mut running = ctx.probes(words).start();
    let torn = wait::until("a disk of the lab's", || {
        assert!(!running.ended(), "it has ended: {}", running.stderr());
        let now = loop_devices();
        now.into_iter().find(|device| !before.contains(device))
    });
    let name = torn
        .split_whitespace()
        .nth(2)
        .and_then(|path| path.rsplit('/').next());
    let path = format!("/dev/{}", name.expect("a name"));
    let device = File::open(&path).expect("the lab's disk");
    // SAFETY: takes nothing.
    let _refused = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD as _, 0) };
    drop(device);
    let report = running.wait().report();
    assert!([0, 4].contains(&report.code), "exit code {}", report.code);
    let left = wait::within(Duration::from_secs(10), || {
        let now = loop_devices();
        now.iter()
            .all(|device| before.contains(device))
            .then_some(())
    });
    assert!(left.is_some(), "left behind: {:?}", loop_devices());
    Outcome::Pass
}

pub fn disks_that_cannot_be_are_refused_with_words(ctx: &Ctx) -> Outcome {
    ctx.probes(["block-io", "--size", "0"])
        .run()
        .expect(2)
        .says(&["--size 0"]);
    ctx.probes(["block-io", "--disk", "no-such-disk"])
        .run()
        .expect(2)
        .says(&["no-such-disk"]);
    ctx.probes(["block-io", "--variant", "zfs"])
        .run()
        .expect(2)
        .says(&["ext4, xfs, raw"]);
    let report = ctx
        .probes(["block-io", "--variant", "raw", "--size", "65536"])
        .report();
    assert_eq!(
        report.code, 4,
        "a machine with room for a disk of 80 GiB in memory or on disk"
    );
    let because = report.claim("block-io/merges")["because"]
        .as_str()
        .map(str::to_owned);
    let because = because.expect("a reason");
    assert!(
        because.contains("no room") && because.contains("--size"),
        "{because}"
    );
    Outcome::Pass
}
