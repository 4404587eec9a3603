//! Verdicts on cases built by hand.

use probes_common::pages::{Count, owner};
use serde_json::json;

use super::Options;
use super::settle::judge;
use super::steps::{Case, Who};
use crate::evidence::ClaimResult;
use crate::instrument::pages::{PageRow, Pages};
use crate::lab::pages::{Did, FsName, STEP, Step, Subject};
use crate::lab::script::{CASE, CASE_END};
use crate::stream::{Item, Mark};
use crate::trace::page_cache::QUESTIONS;
use crate::trace::scripted::Cases;
use crate::trace::{Context, Ending, Fold, Mode};

const PAGES: u64 = 1000;
const SCRIPT: u32 = 7;
const SUBJECT: Subject = Subject {
    fs: FsName::Raw,
    dev: 7 << 20,
    ino: 0,
    bytes: PAGES * 4096,
    tgid: SCRIPT,
};

fn row(tgid: u32, counts: &[(Count, u64)]) -> PageRow {
    let mut row = PageRow {
        owner: owner::DEVICE,
        dev: SUBJECT.dev,
        tgid,
        ..PageRow::default()
    };
    for (count, value) in counts {
        row.set(*count, *value);
    }
    row
}

fn step(name: &str, counts: &[(Count, u64)]) -> Step {
    Step {
        name: name.to_owned(),
        did: Did {
            calls: 10,
            bytes: PAGES * 4096,
            pages: PAGES,
            tgid: 0,
        },
        pages: Pages {
            rows: vec![row(SCRIPT, counts)],
            ..Pages::default()
        },
        ..Step::default()
    }
}

fn mark(ktime: u64, name: &str, data: serde_json::Value) -> Item {
    Item::Mark(Mark {
        ktime,
        name: name.to_owned(),
        data,
    })
}

fn cases(steps: &[Step]) -> Cases {
    let mut cases = Cases::default();
    let begin = json!({ "label": "raw", "netns": 1, "sysctls": {} });
    cases.item(&mark(1, CASE, begin));
    cases.item(&mark(2, Subject::NAME, json!(SUBJECT)));
    for step in steps {
        cases.item(&mark(3, STEP, json!(step)));
    }
    cases.item(&mark(4, CASE_END, json!({})));
    cases
}

fn result(steps: &[Step], claim: &str) -> (ClaimResult, String) {
    let options = Options {
        variants: vec!["raw".to_owned()],
        size_bytes: SUBJECT.bytes,
    };
    let findings = judge(&QUESTIONS, &cases(steps), &options, &Ending::default());
    let id = format!("page-cache/{claim}");
    let found = findings.into_iter().find(|finding| finding.id == id);
    let found = found.expect("a finding");
    (found.result, found.because)
}

/// Most of it read ahead.
fn cold() -> Step {
    step(
        "cold",
        &[
            (Count::read_calls, 10),
            (Count::asked, PAGES),
            (Count::missed_in_call, 16),
            (Count::missed_sync, 16),
            (Count::missed_async, PAGES - 32),
            (Count::inserted_read, 16),
            (Count::inserted_sync, 16),
            (Count::inserted_async, PAGES - 32),
        ],
    )
}

fn warm(missed: u64) -> Step {
    step(
        "warm",
        &[
            (Count::read_calls, 10),
            (Count::asked, PAGES),
            (Count::missed_in_call, missed),
            (Count::inserted_read, missed),
        ],
    )
}

#[test]
fn a_single_pass_has_no_hits_however_much_was_read_ahead() {
    let (result, because) = result(&[cold()], "cold-misses-all");
    assert_eq!(result, ClaimResult::Holds, "{because}");
}

#[test]
fn one_page_found_there_refutes_a_cold_start() {
    let mut step = cold();
    step.pages.rows[0].set(Count::missed_async, PAGES - 33);
    let (result, because) = result(&[step], "cold-misses-all");
    assert_eq!(result, ClaimResult::Refuted, "{because}");
}

#[test]
fn a_warm_pass_needs_a_cold_one_as_its_control() {
    assert_eq!(
        result(&[warm(0)], "warm-hits-all").0,
        ClaimResult::Inconclusive
    );
    assert_eq!(
        result(&[cold(), warm(0)], "warm-hits-all").0,
        ClaimResult::Holds
    );
    assert_eq!(
        result(&[cold(), warm(1)], "warm-hits-all").0,
        ClaimResult::Refuted
    );
}

/// Seen on 7.2: khugepaged had brought in 320 pages before dd wrote them, which dd then found there.
#[test]
fn what_somebody_else_brought_in_or_took_away_refutes_nothing() {
    for (count, said) in [
        (Count::inserted_other, "khugepaged brought in pages"),
        (Count::deleted, "khugepaged took pages"),
    ] {
        let mut disturbed = warm(1);
        let mut other = row(99, &[(count, 320)]);
        other.comm = "khugepaged".to_owned();
        disturbed.pages.rows.push(other);
        let (result, because) = result(&[cold(), disturbed], "warm-hits-all");
        assert_eq!(result, ClaimResult::Inconclusive, "{because}");
        assert!(because.contains(said), "{because}");
    }
}

#[test]
fn what_the_lab_s_own_dd_brings_in_disturbs_nothing() {
    let mut by_dd = cold();
    (by_dd.name, by_dd.did.tgid) = ("dd-cold".to_owned(), 8);
    by_dd.pages.rows[0].tgid = 8;
    // A step around it, in which the script itself did nothing.
    let mut around = by_dd.clone();
    (around.name, around.did) = ("dd-twice".to_owned(), Did::default());
    let cases = cases(&[cold(), by_dd, around]);
    let case = cases.last().and_then(Case::of).expect("a case");
    assert_eq!(case.disturbed_by(), None);
}

#[test]
fn pages_that_the_script_read_and_nobody_saw_settle_nothing() {
    let mut step = cold();
    step.pages.rows[0].set(Count::asked, PAGES - 1);
    let (result, because) = result(&[step], "cold-misses-all");
    assert_eq!(result, ClaimResult::Inconclusive, "{because}");
}

#[test]
fn hits_are_never_less_than_none() {
    let mut step = warm(0);
    step.pages.rows[0].set(Count::missed_in_call, 2 * PAGES);
    let cases = cases(&[step]);
    let case = Case::of(cases.find("raw").expect("the case")).expect("a case about pages");
    let sums = case.step("warm").expect("the step");
    assert_eq!((sums.hits(), sums.hit_ratio()), (0, Some(0.0)));
}

#[test]
fn others_rows_are_told_from_the_actors() {
    let mut step = cold();
    step.pages.rows.push(row(99, &[(Count::asked, 5)]));
    let cases = cases(&[step]);
    let case = Case::of(cases.find("raw").expect("the case")).expect("a case about pages");
    let sums = case.step("cold").expect("the step");
    assert_eq!(sums.count(Who::Actor, Count::asked), PAGES);
    assert_eq!(sums.count(Who::Others, Count::asked), 5);
    assert_eq!(sums.count(Who::All, Count::asked), PAGES + 5);
}

#[test]
fn a_write_that_sends_requests_itself_refutes_write_back() {
    let write = |own: u64| {
        step(
            "write",
            &[
                (Count::write_calls, 10),
                (Count::dirtied, PAGES),
                (Count::first_dirtied_ns, 5),
                (Count::last_dirtied_ns, 6),
                (Count::written_back_bytes, own),
            ],
        )
    };
    let fsync = |bytes: u64| {
        step(
            "fsync",
            &[
                (Count::written_back_bytes, bytes),
                (Count::last_written_back_ns, 9),
            ],
        )
    };
    // Both, and what the flusher did in between.
    let written = |flusher: u64| {
        let mut step = step("written", &[]);
        let mut own = row(SCRIPT + 1, &[(Count::written_back_bytes, flusher)]);
        own.comm = "kworker/u4:1".to_owned();
        step.pages.rows = vec![own];
        step
    };
    let all = PAGES * 4096;
    let held = result(&[write(0), fsync(all), written(0)], "write-back");
    assert_eq!(held.0, ClaimResult::Holds, "{}", held.1);
    let own = result(&[write(4096), fsync(all - 4096), written(0)], "write-back");
    assert_eq!(own.0, ClaimResult::Refuted, "{}", own.1);
    let between = result(&[write(0), fsync(all / 2), written(all / 2)], "write-back");
    assert_eq!(between.0, ClaimResult::Holds, "{}", between.1);
    let half = result(&[write(0), fsync(all / 2), written(0)], "write-back");
    assert_eq!(half.0, ClaimResult::Refuted, "{}", half.1);
}

#[test]
fn a_watch_shows_what_was_counted_last() {
    let mut fold = super::watch::WatchFold::default();
    for asked in [1, 8] {
        let mut read = row(SCRIPT, &[(Count::asked, asked), (Count::missed_in_call, 2)]);
        read.comm = "reader".to_owned();
        let pages = Pages {
            rows: vec![read],
            ..Pages::default()
        };
        fold.item(&mark(1, super::watch::COUNTED, json!(pages)));
    }
    let ledger = fold.interim();
    let table = ledger.tables.iter().find(|table| table.id == "processes");
    let row = &table.expect("a table of processes").rows[0];
    assert_eq!(
        row[..4],
        [json!("reader"), json!(SCRIPT), json!(8), json!(0.75)]
    );
}

#[test]
fn a_case_that_counts_differently_is_run_again() {
    let context = Context {
        trace: "page-cache".to_owned(),
        mode: Mode::Lab,
        options: json!({ "size_bytes": SUBJECT.bytes }),
        symbols: Vec::new(),
        attached: Vec::new(),
        enums: Default::default(),
        timeline: None,
    };
    let mut fold = crate::trace::page_cache::LabFold::new(&context, &QUESTIONS);
    fold.item(&mark(
        1,
        CASE,
        json!({ "label": "raw", "netns": 1, "sysctls": {} }),
    ));
    fold.item(&mark(2, Subject::NAME, json!(SUBJECT)));
    fold.item(&mark(3, STEP, json!(cold())));
    assert!(!fold.incomplete());
    let mut short = cold();
    short.pages.rows[0].set(Count::asked, PAGES - 1);
    fold.item(&mark(4, STEP, json!(short)));
    assert!(fold.incomplete());
}
