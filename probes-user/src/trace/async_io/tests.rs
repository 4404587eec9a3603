//! The ways, and verdicts on a stream made by hand.

use probes_common::event::{Header, Kind, SysExit};
use probes_common::uring::{UringDone, WAY_INLINE, WAY_POLLED, WAY_WORKER};
use serde_json::{Value, json};

use super::evidence::way;
use super::marks::Way;
use super::verdict::{CLAIMS, judge};
use crate::evidence::ClaimResult;
use crate::lab::script::{CASE, CASE_END};
use crate::stream::{Body, Event, Item, Mark};
use crate::trace::scripted::Cases;
use crate::trace::{Ending, LabOptions};

const PID: u32 = 7;

fn mark(ktime: u64, name: &str, data: Value) -> Item {
    let name = name.to_owned();
    Item::Mark(Mark { ktime, name, data })
}

fn event(ktime: u64, kind: Kind, body: Body) -> Item {
    let header = Header {
        ktime,
        kind: kind as u16,
        pid: PID,
        ..Header::default()
    };
    Item::Event(Event { header, body })
}

/// A request that is submitted at `at`, returned from 10 later and complete at `at` plus `after`.
fn request(items: &mut Vec<Item>, at: u64, must: Option<&str>, ways: u8, after: u64) {
    let starved = must == Some("polled") || at % 100 == 50;
    let name = format!("request {at}");
    let data = json!({ "name": name, "user_data": at, "must": must, "starved": starved });
    items.push(mark(at - 1, "request", data));
    let exit = SysExit {
        nr: 426,
        epoll_events: 0,
        ret: 1,
        args: [0; 4],
        fd_sock: 0,
        new_sock: 0,
        fd_port: 0,
        fd_state: 0,
        new_local_port: 0,
        new_remote_port: 0,
    };
    items.push(event(at + 10, Kind::SysExit, Body::SysExit(exit)));
    items.push(mark(
        at + 11,
        "submitted",
        json!({ "user_data": at, "shown": 0 }),
    ));
    if starved {
        items.push(mark(at + 12, "served", json!({ "user_data": at })));
    }
    let done = UringDone {
        user_data: at,
        submitted_ns: at,
        pid: PID,
        res: 1,
        ways,
        ..UringDone::default()
    };
    items.push(event(at + after, Kind::UringDone, Body::UringDone(done)));
    items.push(mark(
        at + 30,
        "reaped",
        json!({ "user_data": at, "res": 1 }),
    ));
}

fn cases(change: impl FnOnce(&mut Vec<Item>)) -> Cases {
    let mut items = vec![mark(
        1,
        CASE,
        json!({ "label": "uring", "netns": 9, "sysctls": {} }),
    )];
    request(&mut items, 100, Some("inline"), WAY_INLINE, 5);
    request(&mut items, 200, Some("inline"), WAY_INLINE, 5);
    request(&mut items, 350, Some("worker"), WAY_WORKER, 20);
    request(&mut items, 400, Some("polled"), WAY_POLLED, 20);
    request(&mut items, 550, None, WAY_POLLED, 20);
    items.push(mark(900, CASE_END, json!({})));
    change(&mut items);
    items.sort_by_key(Item::ktime);
    let mut cases = Cases::default();
    items.iter().for_each(|item| cases.item(item));
    cases
}

fn result(cases: &Cases, claim: &str) -> (ClaimResult, String) {
    let attached = ["io_uring_submit_req".to_owned()];
    let options = LabOptions {
        variants: vec!["uring".to_owned()],
        ..LabOptions::default()
    };
    let findings = judge(cases, &attached, &options, &Ending::default());
    let found = findings.into_iter().find(|its| its.id.ends_with(claim));
    let found = found.expect("a finding");
    (found.result, found.because)
}

#[test]
fn a_worker_counts_before_a_poll_and_nothing_is_the_files_own() {
    for (ways, expected) in [
        (WAY_INLINE, Way::Inline),
        (WAY_POLLED, Way::Polled),
        (WAY_POLLED | WAY_WORKER, Way::Worker),
        (0, Way::File),
    ] {
        let done = UringDone {
            ways,
            ..UringDone::default()
        };
        assert_eq!(way(&done), expected);
    }
}

#[test]
fn requests_that_are_complete_after_the_return_are_early_and_polled_ones_refute() {
    let cases = cases(|_| {});
    let (early, why) = result(&cases, "/returns-early");
    assert_eq!(early, ClaimResult::Holds, "{why}");
    let (ways, why) = result(&cases, "/inline-or-worker");
    assert_eq!(ways, ClaimResult::Refuted, "{why}");
    assert!(
        why.contains("2 inline") || why.contains("2 were done inline"),
        "{why}"
    );
}

#[test]
fn a_completion_that_nobody_told_makes_both_inconclusive() {
    let cases = cases(|items| {
        items.retain(
            |item| !matches!(item, Item::Event(e) if matches!(e.body, Body::UringDone(d) if d.user_data == 400)),
        );
    });
    for claim in ["/returns-early", "/inline-or-worker"] {
        assert_eq!(result(&cases, claim).0, ClaimResult::Inconclusive);
    }
}

#[test]
fn a_control_that_went_another_way_makes_it_inconclusive() {
    let cases = cases(|items| {
        for item in items {
            if let Item::Event(event) = item
                && let Body::UringDone(done) = &mut event.body
                && done.user_data == 100
            {
                done.ways = WAY_WORKER;
            }
        }
    });
    assert_eq!(
        result(&cases, "/inline-or-worker").0,
        ClaimResult::Inconclusive
    );
}

#[test]
fn a_read_that_is_complete_before_it_was_served_refutes() {
    let cases = cases(|items| {
        for item in items {
            if let Item::Event(event) = item
                && matches!(event.body, Body::UringDone(done) if done.user_data == 550)
            {
                event.header.ktime = 552;
            }
        }
    });
    assert_eq!(result(&cases, "/returns-early").0, ClaimResult::Refuted);
}

#[test]
fn without_a_hook_for_submissions_nothing_is_supported() {
    let findings = judge(
        &cases(|_| {}),
        &[],
        &LabOptions::default(),
        &Ending::default(),
    );
    assert_eq!(findings.len(), CLAIMS.len());
    let ways = findings
        .iter()
        .find(|its| its.id.ends_with("/inline-or-worker"));
    assert_eq!(ways.expect("it").result, ClaimResult::Unsupported);
}

#[test]
fn a_kernel_that_gives_no_context_for_aio_leaves_its_claim_unsupported_and_no_other() {
    let cases = cases(|items| {
        let begin = json!({ "label": "aio", "netns": 10, "sysctls": {} });
        let refused = json!({ "why": "no asynchronous I/O (io_setup): EAGAIN" });
        items.push(mark(910, CASE, begin));
        items.push(mark(920, "no-aio", refused));
        items.push(mark(930, CASE_END, json!({})));
    });
    let attached = ["io_uring_submit_req".to_owned()];
    let findings = judge(
        &cases,
        &attached,
        &LabOptions::default(),
        &Ending::default(),
    );
    let unsupported: Vec<&str> = findings
        .iter()
        .filter(|its| its.result == ClaimResult::Unsupported)
        .map(|its| its.id.as_str())
        .collect();
    assert_eq!(unsupported, ["async-io/aio-returns-early"]);
}
