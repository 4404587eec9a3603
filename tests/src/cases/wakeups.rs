//! wakeups: what a hand-off costs and where a delay comes from, beside the kernel's own counts.

use crate::context::{Ctx, Outcome};
use crate::harness::noise::Noise;
use crate::harness::report::{Report, Row};

const CLAIMS: [&str; 2] = ["wakeups/switch-cost", "wakeups/chain"];
const HAND_OFFS: u64 = 200;
/// Of the three chains, with two hops each.
const CHAINS: u64 = 90;
/// Each task of `chain-busy` keeps the CPU so long after it has woken the next.
const HOLD_US: f64 = 300.0;

pub fn a_hand_off_costs_two_switches_and_chains_are_found_with_their_causes(ctx: &Ctx) -> Outcome {
    settled(ctx);
    Outcome::Pass
}

pub fn beside_noise_a_hand_off_costs_the_same(ctx: &Ctx) -> Outcome {
    let mut noise = Noise::start();
    settled(ctx);
    noise.assert_alive();
    Outcome::Pass
}

fn settled(ctx: &Ctx) {
    let report = ctx.probes(["wakeups"]).report();
    report.show();
    assert_eq!(report.assert_settled().code, 0);
    report.assert_nothing_lost();
    for claim in CLAIMS {
        let found = report.claim(claim);
        assert_eq!(found["result"], "holds", "{found}");
    }
    let chains = &report.claim("wakeups/chain")["numbers"];
    assert_eq!(chains["chains_right_count"], CHAINS, "{chains}");
    hand_offs_are_two_switches(&report);
    delays_have_their_causes(&report);
    the_kernel_counted_the_same(&report);
}

fn of_case(report: &Report, table: &str, case: &str) -> Vec<Row> {
    let rows = report.rows(table).into_iter();
    rows.filter(|row| row.text("case") == case).collect()
}

fn hand_offs_are_two_switches(report: &Report) {
    for case in ["pipe", "futex"] {
        let rows = of_case(report, "hand_offs", case);
        let [row] = rows.as_slice() else {
            panic!("{case}: {rows:?}");
        };
        assert_eq!(row.count("handoffs_count"), HAND_OFFS, "{row:?}");
        let undisturbed = row.count("undisturbed_count");
        assert!(undisturbed * 2 >= HAND_OFFS, "{row:?}");
        assert_eq!(row.count("switches_count"), 2 * undisturbed, "{row:?}");
        assert_eq!(row.count("sleeps_count"), 2 * undisturbed, "{row:?}");
    }
}

fn delays_have_their_causes(report: &Report) {
    let by = |case: &str, cause: &str| {
        let rows = of_case(report, "delays", case);
        rows.into_iter().find(|row| row.text("cause") == cause)
    };
    let busy = by("chain-busy", "busy with the waker").expect("delays behind the waker");
    assert!(busy.number("p50_us") * 8.0 / 7.0 >= HOLD_US, "{busy:?}");
    assert!(by("chain-moved", "migration").is_some());
    assert!(by("chain-apart", "migration").is_none());
}

/// Its own switches of each task, and of its run delay about as much: its clock is another one.
fn the_kernel_counted_the_same(report: &Report) {
    let rows = report.rows("tasks");
    assert!(!rows.is_empty());
    for row in rows {
        let pair = |seen: &str| (row.count(seen), row.count(&format!("kernel_{seen}")));
        let (seen, counted) = pair("voluntary_count");
        if row.text("case") != "sleep" {
            assert_eq!(seen, counted, "{row:?}");
        }
        if row.text("case") == "chain-busy" && row.known("kernel_run_delay_ns").is_some() {
            let (seen, counted) = pair("run_delay_ns");
            assert!(seen <= 2 * counted && counted <= 2 * seen, "{row:?}");
        }
    }
}
