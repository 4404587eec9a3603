//! reuse-port settles its claims, undisturbed and beside noise, and its numbers are the kernel's counters'.

use crate::context::{Ctx, Outcome};
use crate::harness::noise::Noise;
use crate::harness::report::{Report, Row};

const CLAIMS: [(&str, &str); 5] = [
    ("one-wakeup", "holds"),
    ("balance", "holds"),
    ("same-uid", "holds"),
    ("by-hash", "holds"),
    ("whole-tuple", "refuted"),
];
/// What a sample has unless it is asked for otherwise.
const CONNECTIONS: u64 = 10_000;

/// With the usual samples here; an emulated guest that shares its host has smaller ones.
pub fn its_claims_are_settled_on_both_families(ctx: &Ctx) -> Outcome {
    if ctx.on_host() {
        settled(&ctx.settle(["reuse-port"]), CONNECTIONS);
    } else {
        let words = ["reuse-port", "--connections", "2500"];
        settled(&ctx.settle(words), 2500);
    }
    Outcome::Pass
}

pub fn its_claims_are_settled_beside_noise(ctx: &Ctx) -> Outcome {
    let mut noise = Noise::start();
    let words = ["reuse-port", "--connections", "1000"];
    settled(&ctx.settle(words), 1000);
    noise.assert_alive();
    Outcome::Pass
}

/// Without the tracepoint that tells which socket became ready, the accepts alone say it.
pub fn without_sk_data_ready_the_verdicts_are_the_same(ctx: &Ctx) -> Outcome {
    let words = [
        "reuse-port",
        "--connections",
        "1000",
        "--without",
        "sk_data_ready",
    ];
    let report = ctx.settle(words);
    settled(&report, 1000);
    let checks = report.rows("checks");
    assert!(
        checks
            .iter()
            .all(|row| row.text("what") != "socket of each connection")
    );
    Outcome::Pass
}

fn settled(report: &Report, connections: u64) {
    report.show();
    assert_eq!(report.assert_settled().code, 0);
    for (slug, result) in CLAIMS {
        let claim = report.claim(&format!("reuse-port/{slug}"));
        assert_eq!(claim["result"], result, "{slug}: {}", claim["because"]);
    }
    assert_eq!(report.claims().len(), CLAIMS.len());
    for family in ["v4", "v6"] {
        spread(report, &format!("balance/{family}"), connections);
        counts_agree(report, &format!("balance/{family}"));
        counts_agree(report, &format!("by-hash/{family}"));
        binds(report, &format!("same-uid/{family}"));
    }
    replays(report);
}

fn of<'a>(rows: &'a [Row], scene: &str) -> Vec<&'a Row> {
    let of_scene = rows.iter().filter(|row| row.text("scene") == scene);
    let found: Vec<&Row> = of_scene.collect();
    assert!(!found.is_empty(), "no rows of {scene}");
    found
}

/// The statistic once more, from the counts alone.
fn spread(report: &Report, scene: &str, connections: u64) {
    let rows = report.rows("sockets");
    let samples = of(&rows, scene);
    let mut statistics = Vec::new();
    for sample in &samples {
        let counts = [0, 1, 2, 3].map(|socket| sample.count(&format!("socket{socket}_count")));
        assert_eq!(counts.iter().sum::<u64>(), connections, "{sample:?}");
        let expected = connections as f64 / 4.0;
        let parts = counts.map(|count| (count as f64 - expected).powi(2) / expected);
        let own: f64 = parts.iter().sum();
        let told = sample.number("chi_square");
        assert!((own - told).abs() < 0.001, "{own} and {told}");
        statistics.push(own);
    }
    println!("{scene}: chi-square {statistics:?}");
    let needed = if statistics[0] > 16.266 { 2 } else { 1 };
    assert_eq!(
        statistics.len(),
        needed,
        "a second sample only where the first is odd"
    );
}

/// Accepted = established in the kernel = TcpPassiveOpens = TcpActiveOpens of the namespace.
fn counts_agree(report: &Report, scene: &str) {
    let rows = report.rows("checks");
    let checks = of(&rows, scene);
    let attached = report.attached_as("sk_data_ready").is_some();
    assert_eq!(checks.len(), if attached { 3 } else { 2 }, "{checks:?}");
    for check in &checks {
        assert!(check.flag("agrees"), "{check:?}");
    }
    let told = checks[0].text("counts");
    assert!(
        told.contains("TcpPassiveOpens") && !told.contains("TcpPassiveOpens 0"),
        "{told}"
    );
}

fn replays(report: &Report) {
    let rows = report.rows("replays");
    assert_eq!(rows.len(), 4 * 4, "kinds and rounds");
    for row in &rows {
        assert_eq!(
            row.count("as_before_count"),
            row.count("tuples_count"),
            "{row:?}"
        );
    }
}

fn binds(report: &Report, scene: &str) {
    let rows = report.rows("binds");
    let refused = of(&rows, scene)
        .into_iter()
        .filter(|row| row.count("errno") == 98)
        .count();
    assert_eq!((of(&rows, scene).len(), refused), (8, 3), "{scene}");
}
