//! syn-retry against the sysctls of a fresh namespace, read and computed here once more.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;

use crate::context::{Ctx, Outcome};
use crate::harness::inventory::cgroup2;
use crate::harness::noise::Noise;
use crate::harness::report::{Report, Row};
use crate::harness::{sandbox, wait};

pub fn unanswered_syns_follow_the_sysctls_and_not_the_notes(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let report = ctx.settle(["syn-retry"]);
    judged(
        &report,
        sysctl("tcp_syn_retries").expect("a number of retries"),
    );
    assert!(
        report.remarks()[0].starts_with("Compressed"),
        "{:?}",
        report.remarks()
    );
    Outcome::Pass
}

pub fn fewer_retries_are_fewer_syns_beside_noise_too(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let mut noise = Noise::start();
    let report = ctx.settle(["syn-retry", "--retries", "4"]);
    noise.assert_alive();
    judged(&report, 4);
    ctx.probes(["syn-retry", "--retries", "1"])
        .run()
        .expect(2)
        .says(&["2 to 10"]);
    Outcome::Pass
}

/// What every report of the trace must show, with so many retries.
fn judged(report: &Report, retries: u64) {
    report.show();
    assert_eq!(report.assert_settled().code, 0);
    assert_eq!(report.claim("syn-retry/schedule")["result"], "refuted");
    assert_eq!(report.claim("syn-retry/gives-up")["result"], "holds");
    let linear = sysctl("tcp_syn_linear_timeouts").unwrap_or_default();
    let syns = syns(retries, linear);
    for case in ["schedule/v4", "schedule/v6"] {
        let rows = rows(report, case);
        assert_eq!(rows.len() as u64, syns, "{case}: SYNs");
        doubles_after(&rows, linear);
    }
    checks_agree(report, 6);
}

/// How many leave: one for each retry and each linear timeout beside the first, until as much time has
/// passed as the retries take when each doubles.
fn syns(retries: u64, linear: u64) -> u64 {
    let (mut sent, mut wait, mut passed) = (1, 1, 1);
    while sent < retries + linear + 1 && passed < (2 << retries) - 1 {
        sent += 1;
        wait = if sent > linear + 1 { wait * 2 } else { wait };
        passed += wait;
    }
    sent
}

/// At 250 a second, 60 ms.
const STALL_JIFFIES: u64 = 15;

/// The first `linear` resends wait as long as the first SYN, each later one twice as long as the one before:
/// by the timers exactly, by the clock as far as a stalled machine lets it.
pub fn doubles_after(rows: &[Row], linear: u64) {
    let factors: Vec<u64> = (0..rows.len() as u64)
        .map(|send| 1 << send.saturating_sub(linear))
        .collect();
    // An arming that the kernel kept from the program is not known. The longest known one tells the unit
    // best: a tick may pass between the arming and the reading of the clock.
    let known: Vec<(u64, u64)> = rows
        .iter()
        .zip(&factors)
        .filter_map(|(row, factor)| Some((row.known("armed_jiffies")?, *factor)))
        .collect();
    assert!(known.len() * 2 > rows.len(), "hardly a timer: {rows:?}");
    let (longest, factor) = known[known.len() - 1];
    let unit = (longest + factor / 2) / factor;
    // What is left of a wait is read a moment after it was armed: less when the machine stalled, never more.
    let off = |armed: u64, factor: u64| armed.abs_diff(factor * unit) > 1 + armed / 100;
    for (armed, factor) in &known {
        assert!(
            !off(*armed, *factor)
                || (*armed < factor * unit && armed + STALL_JIFFIES > factor * unit),
            "{armed} jiffies, not {factor} times {unit}"
        );
    }
    let stalled = known.iter().filter(|(armed, factor)| off(*armed, *factor));
    assert!(stalled.count() * 2 <= known.len(), "{known:?}");
    for row in rows {
        let (wait, law) = (row.number("wait_ms"), row.number("law_ms"));
        assert!(
            (law - 250.0..law * 1.125 + 300.0).contains(&wait),
            "{row:?}"
        );
    }
}

pub fn rows(report: &Report, case: &str) -> Vec<Row> {
    let all = report.rows("schedule").into_iter();
    all.filter(|row| row.text("case") == case).collect()
}

pub fn checks_agree(report: &Report, least: usize) {
    let checks = report.document["ledger"]["tables"]["checks"].as_array();
    let checks = checks.expect("a table of checks");
    assert!(checks.len() >= least, "{checks:?}");
    for check in checks {
        assert_eq!(check["agree"], true, "{check}");
    }
}

/// In this test's own namespace, which is as fresh as the lab's.
pub fn sysctl(name: &str) -> Option<u64> {
    let text = fs::read_to_string(Path::new("/proc/sys/net/ipv4").join(name)).ok()?;
    Some(text.trim().parse().expect("a number"))
}

pub fn without_a_control_group_it_takes_real_time_and_says_so(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    sandbox::own_mounts();
    while let Some(mount) = cgroup2() {
        unmount(&mount, UnmountFlags::DETACH).expect("the hierarchy unmounted");
    }
    let report = ctx.settle(["syn-retry", "--variant", "v4"]);
    report.show();
    report.assert_settled();
    let linear = sysctl("tcp_syn_linear_timeouts").unwrap_or_default();
    let rows = rows(&report, "schedule/v4");
    assert_eq!(report.claim("syn-retry/schedule")["result"], "refuted");
    assert_eq!(report.claim("syn-retry/gives-up")["result"], "holds");
    assert_eq!(rows.len() as u64, syns(2, linear), "two retries");
    assert!(
        rows[0].number("wait_ms") >= 980.0,
        "a second: {:?}",
        rows[0]
    );
    let said = &report.remarks()[0];
    assert!(
        said.contains("In real time") && said.contains("version 2"),
        "{said}"
    );
    Outcome::Pass
}

pub fn a_killed_run_leaves_an_empty_group_that_the_next_removes(ctx: &Ctx) -> Outcome {
    let root = cgroup2().expect("a hierarchy of version 2");
    let mut running = ctx.probes(["syn-retry", "--json"]).start();
    let own = format!("probes-{}-", running.pid());
    let group = wait::until("the lab's control group", || {
        assert!(!running.ended(), "{}", running.stderr());
        groups(&root, &own).pop()
    });
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code(), 137);
    assert!(group.exists(), "nobody removes it when the run is killed");
    let words = ["syn-retry", "--retries", "2", "--variant", "v4"];
    ctx.settle(words).assert_settled();
    assert!(!group.exists(), "{} is still there", group.display());
    Outcome::Pass
}

fn groups(root: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).expect("the hierarchy").flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    ours.map(|entry| entry.path()).collect()
}
