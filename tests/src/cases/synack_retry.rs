//! synack-retry against the sysctls of a fresh namespace; kernels that cannot set a request's timeout too.

use super::syn_retry::{checks_agree, doubles_after, rows, sysctl};
use crate::context::{Ctx, Outcome};
use crate::harness::noise::Noise;
use crate::harness::report::Report;
use crate::harness::sandbox;

pub fn a_lost_final_ack_leaves_the_client_established(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let report = ctx.settle(["synack-retry"]);
    judged(
        &report,
        sysctl("tcp_synack_retries").expect("a number of retries"),
    );
    let said = report.remarks().join(" ");
    assert!(
        said.contains("data-carries-ack/v4, data-carries-ack/v6"),
        "{said}"
    );
    Outcome::Pass
}

pub fn fewer_retries_are_fewer_synacks_beside_noise_too(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let mut noise = Noise::start();
    let report = ctx.settle(["synack-retry", "--retries", "3"]);
    noise.assert_alive();
    judged(&report, 3);
    Outcome::Pass
}

fn judged(report: &Report, retries: u64) {
    report.show();
    assert_eq!(report.assert_settled().code, 0);
    for claim in report.claims() {
        assert_eq!(claim["result"], "holds", "{claim}");
    }
    // In real time two retries are all there is time for.
    let compressed = report.remarks()[0].starts_with("Compressed");
    let resends = if compressed { retries } else { 2 };
    for (case, ends) in ["ack-lost/v4", "ack-lost/v6"]
        .into_iter()
        .zip(report.rows("ends"))
    {
        let rows = rows(report, case);
        assert_eq!(rows.len() as u64, resends + 1, "{case}: SYN-ACKs");
        doubles_after(&rows, 0);
        assert_eq!(ends.text("case"), case);
        assert!(ends.count("acks_lost_count") >= 1, "{ends:?}");
        let looks = ends.count("looks_half_open_count") + ends.count("looks_gone_count");
        assert_eq!(ends.count("established_count"), looks, "{ends:?}");
        assert_eq!(ends.count("errno"), 104, "{ends:?}");
    }
    checks_agree(report, 8);
}
