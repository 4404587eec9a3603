//! The labs settle every claim, undisturbed and beside unrelated work, and the counts agree.

use crate::context::{Ctx, Outcome};
use crate::harness::noise::Noise;
use crate::harness::report::{Report, sum};

const CONNECTIONS: u64 = 20;

pub fn accept_herd_settles_every_claim(ctx: &Ctx) -> Outcome {
    settled(ctx, "accept-herd");
    Outcome::Pass
}

pub fn epoll_herd_settles_every_claim(ctx: &Ctx) -> Outcome {
    settled(ctx, "epoll-herd");
    Outcome::Pass
}

pub fn both_labs_settle_every_claim_beside_noise(ctx: &Ctx) -> Outcome {
    let mut noise = Noise::start();
    settled(ctx, "accept-herd");
    settled(ctx, "epoll-herd");
    noise.assert_alive();
    Outcome::Pass
}

pub fn eight_workers_settle_every_claim_too(ctx: &Ctx) -> Outcome {
    for trace in ["accept-herd", "epoll-herd"] {
        let report = ctx.settle([trace, "--workers", "8"]);
        report.show();
        assert_eq!(report.assert_settled().code, 0);
        connections_agree(&report, 8);
    }
    Outcome::Pass
}

fn settled(ctx: &Ctx, trace: &str) {
    let report = ctx.settle([trace]);
    report.show();
    assert_eq!(report.assert_settled().code, 0);
    assert_eq!(report.document["trace"], trace);
    assert_eq!(report.document["mode"], "lab");
    connections_agree(&report, 4);
}

/// In the ledger = accepted by the workers = as many as were asked for, in every scene.
fn connections_agree(report: &Report, workers: usize) {
    let (scenes, of_workers) = (report.rows("herd"), report.rows("workers"));
    assert!(scenes.len() >= 5, "{} scenes", scenes.len());
    for scene in &scenes {
        let name = scene.text("scene");
        let own: Vec<_> = of_workers
            .iter()
            .filter(|row| row.text("scene") == name)
            .cloned()
            .collect();
        assert_eq!(own.len(), workers, "{name}: workers");
        assert_eq!(
            scene.count("connections_count"),
            CONNECTIONS,
            "{name}: connections in the ledger"
        );
        assert_eq!(
            sum(&own, "won_count"),
            CONNECTIONS,
            "{name}: connections accepted"
        );
    }
    let checks = report.rows("checks");
    let connections: Vec<_> = checks
        .iter()
        .filter(|row| row.text("what") == "connections")
        .collect();
    assert_eq!(
        connections.len(),
        scenes.len(),
        "a check of the connections for each scene"
    );
    for check in connections {
        let counts = check.text("counts");
        assert!(
            counts.matches(&format!(" {CONNECTIONS}")).count() >= 4,
            "{}: {counts}",
            check.text("scene")
        );
    }
}
