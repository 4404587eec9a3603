use std::time::Duration;

use serde_json::{Map, json};

use super::*;
use crate::check::render;

const CLAIM: &str = "accept-herd/one-wakeup";
const RELEASE: &str = "6.1.0-50-cloud-amd64";

fn accept_herd() -> &'static dyn Trace {
    crate::trace::find("accept-herd").unwrap()
}

fn finding(id: &str, result: ClaimResult) -> Finding {
    let mut numbers = Map::new();
    numbers.insert("woken_mean".to_owned(), json!(1.0));
    numbers.insert("useless_wakeups_per_connection".to_owned(), json!(0.25));
    Finding {
        id: id.to_owned(),
        result,
        statement: "s".to_owned(),
        because: "a connection woke 1".to_owned(),
        numbers,
    }
}

fn round(results: [ClaimResult; 2]) -> Run {
    let ids = [CLAIM, "accept-herd/cost"];
    Run {
        trace: "accept-herd",
        hooks: Vec::new(),
        findings: Ok(ids
            .iter()
            .zip(results)
            .map(|(id, result)| finding(id, result))
            .collect()),
        took: Duration::from_millis(1500),
        again: false,
    }
}

/// A lab that was run once more for what it left open.
fn unsettled(results: [ClaimResult; 2]) -> Run {
    Run {
        again: true,
        ..round(results)
    }
}

fn known(result: &str) -> Expectations {
    let rows: Vec<_> = [CLAIM, "accept-herd/cost"]
        .iter()
        .map(|claim| json!({ "claim": claim, "kernels": "*", "result": result, "source": "the book" }))
        .collect();
    let file = json!({ "schema": "probes.expect/1", "expectations": rows });
    Expectations::parse(&file.to_string()).unwrap()
}

fn rows_of(runs: &[Run], expected: &str) -> Vec<Row> {
    rows(&[accept_herd()], runs, &|_| true, &known(expected), RELEASE)
}

const HOLDS: ClaimResult = ClaimResult::Holds;
const REFUTED: ClaimResult = ClaimResult::Refuted;

#[test]
fn the_same_in_every_round_is_settled_and_compared() {
    let rows = rows_of(&[round([HOLDS, HOLDS]), round([HOLDS, HOLDS])], "holds");
    assert!(rows.iter().all(|row| row.known == Known::AsExpected));
    assert_eq!(Tally::of(&rows).exit(), Exit::Settled);
    assert_eq!(rows[0].took, Duration::from_millis(1500));
    assert_eq!(rows[0].number(), Some(("woken_mean", &json!(1.0))));
}

#[test]
fn a_claim_that_changes_between_rounds_is_flaky_and_not_settled() {
    let rows = rows_of(
        &[
            round([HOLDS, HOLDS]),
            round([REFUTED, HOLDS]),
            round([HOLDS, HOLDS]),
        ],
        "holds",
    );
    assert_eq!(
        rows[0].settled,
        Settled::Flaky(vec![(HOLDS, 2), (REFUTED, 1)])
    );
    assert_eq!(rows[0].known, Known::NotSettled);
    assert_eq!(rows[0].result(), "flaky: 2 holds, 1 refuted");
    assert_eq!(rows[1].known, Known::AsExpected);
    assert_eq!(Tally::of(&rows).exit(), Exit::Inconclusive);
}

#[test]
fn a_lab_that_lacked_evidence_is_settled_by_the_next_run_and_that_is_said() {
    let runs = [
        unsettled([HOLDS, ClaimResult::Inconclusive]),
        round([HOLDS, HOLDS]),
    ];
    let rows = rows_of(&runs, "holds");
    assert!(rows.iter().all(|row| row.known == Known::AsExpected));
    assert_eq!(Tally::of(&rows).exit(), Exit::Settled);
    assert_eq!(rows[0].took, Duration::from_secs(3));
    let text = render::text(&rows, &runs);
    let said = "accept-herd was run again:\n    a connection woke 1\n";
    assert!(text.contains(said), "{text}");
}

#[test]
fn what_a_lab_settled_before_it_was_run_again_counts_too() {
    let runs = [
        unsettled([REFUTED, ClaimResult::Inconclusive]),
        round([HOLDS, HOLDS]),
    ];
    let rows = rows_of(&runs, "holds");
    assert_eq!(
        rows[0].settled,
        Settled::Flaky(vec![(REFUTED, 1), (HOLDS, 1)])
    );
}

#[test]
fn what_stays_open_to_the_last_is_not_settled() {
    let open = [HOLDS, ClaimResult::Inconclusive];
    let rows = rows_of(&[unsettled(open), unsettled(open), round(open)], "holds");
    assert_eq!(rows[1].settled, Settled::As(ClaimResult::Inconclusive));
    assert_eq!(Tally::of(&rows).exit(), Exit::Inconclusive);
}

#[test]
fn a_lab_that_did_not_run_once_leaves_its_claims_open() {
    let failed = Run {
        findings: Err("no BTF".to_owned()),
        ..round([HOLDS, HOLDS])
    };
    let rows = rows_of(&[round([HOLDS, HOLDS]), failed], "holds");
    assert_eq!(rows[1].settled, Settled::NotRun("no BTF".to_owned()));
    assert_eq!(Tally::of(&rows).exit(), Exit::CannotRun);
}

#[test]
fn a_claim_the_lab_is_silent_about_is_not_run() {
    let mut silent = round([HOLDS, HOLDS]);
    silent.findings.as_mut().unwrap().pop();
    let rows = rows_of(&[silent], "holds");
    assert!(matches!(rows[1].settled, Settled::NotRun(_)));
}

#[test]
fn what_differs_wins_over_what_is_open() {
    let rows = rows_of(&[round([REFUTED, ClaimResult::Inconclusive])], "holds");
    assert_eq!(Tally::of(&rows).exit(), Exit::Differs);
    let text = render::text(&rows, &[]);
    assert!(text.contains("DIFFERS accept-herd/one-wakeup"), "{text}");
    assert!(text.contains("expected holds: the book"), "{text}");
    assert!(
        text.ends_with("0 as expected, 1 differ, 1 not settled, 0 with nothing known\n"),
        "{text}"
    );
}

#[test]
fn what_was_found_is_an_expectation_for_this_version_and_no_other() {
    let rows = rows_of(&[round([HOLDS, ClaimResult::Inconclusive])], "holds");
    let (written, left_out) = expectations(&rows, RELEASE);
    assert_eq!(left_out, ["accept-herd/cost"]);
    let text = serde_json::to_string(&written).unwrap();
    let read = Expectations::parse(&text).unwrap();
    assert_eq!(read.judge("6.1.99", CLAIM, HOLDS), Verdict::AsExpected);
    assert!(matches!(
        read.judge(RELEASE, CLAIM, REFUTED),
        Verdict::Differs { .. }
    ));
    assert_eq!(read.judge("6.2.0", CLAIM, HOLDS), Verdict::Unknown);
}

#[test]
fn junit_tells_a_difference_from_a_claim_left_open() {
    let rows = rows_of(&[round([REFUTED, ClaimResult::Inconclusive])], "holds");
    let xml = render::junit(&rows, RELEASE).unwrap();
    assert_eq!(
        (
            xml.matches("<failure").count(),
            xml.matches("<error").count()
        ),
        (1, 1),
        "{xml}"
    );
    assert!(xml.contains("expected holds: the book"), "{xml}");
}

#[test]
fn numbers_are_shown_with_their_words_and_units() {
    for (key, value, shown) in [
        ("woken_mean", json!(4.0), "woken 4"),
        (
            "close_expired_ns",
            json!(1_019_467_977_u64),
            "close expired 1.02 s",
        ),
        (
            "tail_waited_ms",
            json!([5.76, 6.0]),
            "tail waited 5.76 6.0 ms",
        ),
        ("waits_measured", json!("1.1 2.1"), "waits measured 1.1 2.1"),
        ("lost", json!([]), "lost none"),
        ("real_time_s", json!(131.0), "real time 131 s"),
        ("other_uid_errno", json!(98), "other uid 98"),
    ] {
        assert_eq!(render::number(key, &value), shown);
    }
}
