//! accept-queue settles its claims; packets, the kernel's resends and the counters agree.

use crate::context::{Ctx, Outcome};
use crate::harness::noise::Noise;
use crate::harness::report::Row;

pub fn a_full_accept_queue_drops_the_ack_or_resets(ctx: &Ctx) -> Outcome {
    settled(ctx);
    Outcome::Pass
}

pub fn a_full_accept_queue_is_told_the_same_beside_noise(ctx: &Ctx) -> Outcome {
    let mut noise = Noise::start();
    settled(ctx);
    noise.assert_alive();
    Outcome::Pass
}

fn settled(ctx: &Ctx) {
    let report = ctx.settle(["accept-queue"]);
    report.show();
    assert_eq!(report.assert_settled().code, 0);
    assert_eq!(report.results().len(), 2);
    for slug in ["drops-ack", "abort-on-overflow"] {
        assert_eq!(
            report.claim(&format!("accept-queue/{slug}"))["result"],
            "holds"
        );
    }
    let rows = report.rows("overflows");
    assert_eq!(rows.len(), 12, "three segments, two settings, two families");
    rows.iter().for_each(one);
}

fn one(row: &Row) {
    let case = row.text("case");
    let aborted = case.starts_with("ack/abort-1/");
    // One waits beyond the limit before the queue counts as full.
    assert_eq!(
        row.count("waiting_count"),
        row.count("limit_count") + 1,
        "{row:?}"
    );
    assert!(row.count("overflows_count") >= 1, "{row:?}");
    assert!(row.count("came_in_count") >= 1, "{row:?}");
    let client = match case.split('/').next() {
        Some("syn") => "SYN_SENT",
        Some("ack") if aborted => "CLOSE",
        _ => "ESTABLISHED",
    };
    assert_eq!(row.text("client"), client, "{row:?}");
    let queued = u64::from(case.starts_with("ack/abort-0/"));
    assert_eq!(row.count("half_open_count"), queued, "{row:?}");
    assert_eq!(row.count("resets_count"), u64::from(aborted), "{row:?}");
    let comes_through = if aborted { "gone" } else { "accepted" };
    assert_eq!(row.text("came_through"), comes_through, "{row:?}");
}
