//! async-io: each request's way told once, by event as by the ring; and the same requests seen by a watch.

use crate::context::{Ctx, Outcome};
use crate::harness::dir::Dir;
use crate::harness::noise::Noise;
use crate::harness::report::{Report, Row};

const RESULTS: [(&str, &str); 4] = [
    ("async-io/returns-early", "holds"),
    ("async-io/aio-returns-early", "refuted"),
    ("async-io/eagain", "holds"),
    ("async-io/inline-or-worker", "refuted"),
];
/// Requests of the lab by opcode.
const REQUESTS: [(&str, u64); 4] = [("NOP", 1), ("READ", 7), ("FSYNC", 1), ("RECV", 1)];
const EAGAIN: i64 = -11;

pub fn every_request_is_told_with_its_way_and_every_read_with_its_sleeps(ctx: &Ctx) -> Outcome {
    settled(ctx);
    Outcome::Pass
}

pub fn every_request_is_told_the_same_beside_noise(ctx: &Ctx) -> Outcome {
    let mut noise = Noise::start();
    settled(ctx);
    noise.assert_alive();
    Outcome::Pass
}

fn settled(ctx: &Ctx) {
    let report = ctx.settle(["async-io"]);
    report.show();
    assert_eq!(report.assert_settled().code, 0);
    for (claim, result) in RESULTS {
        let found = report.claim(claim);
        assert_eq!(found["result"], result, "{found}");
    }
    let requests = report.rows("requests");
    for (opcode, count) in REQUESTS {
        let its = requests.iter().filter(|row| row.text("opcode") == opcode);
        assert_eq!(its.count() as u64, count, "{opcode}");
    }
    for row in &requests {
        assert_eq!(row.count("completions_count"), 1, "{row:?}");
        // What is done inline is done before the return, all else but a worker's after it.
        match row.text("way") {
            "inline" => assert!(!row.flag("after_return"), "{row:?}"),
            "by poll" => assert!(row.flag("after_return"), "{row:?}"),
            _ => {}
        }
    }
    reads_answer(&report);
}

fn reads_answer(report: &Report) {
    let calls = report.rows("calls");
    let call = |name: &str| -> Row {
        let found = calls.iter().find(|row| row.text("name") == name);
        found.cloned().unwrap_or_else(|| panic!("no call {name}"))
    };
    for row in &calls {
        assert!(row.flag("agrees"), "{row:?}");
    }
    let ret = |name: &str| call(name).number("ret") as i64;
    assert_eq!(ret("empty pipe, O_NONBLOCK"), EAGAIN);
    assert_eq!(ret("empty socket, O_NONBLOCK"), EAGAIN);
    assert_eq!(ret("cold file, O_NONBLOCK"), 4096);
    // It begins read-ahead and looks again: what a fast disk has brought by then is read, without a sleep.
    let cold = "cold file, RWF_NOWAIT";
    assert!([EAGAIN, 4096].contains(&ret(cold)), "{}", ret(cold));
    assert_eq!(call(cold).count("sleeps_count"), 0);
    assert_eq!(ret("warm file, RWF_NOWAIT"), 4096);
    assert!(call("empty pipe, blocking").count("sleeps_count") > 0);
    assert_eq!(call("aio: empty pipe").count("complete_count"), 1);
}

/// A watch of the lab itself, and the lab's own report.
fn watch_the_lab(ctx: &Ctx) -> (Report, Report) {
    let dir = Dir::new();
    let inner = dir.join("inner.json");
    let report = ctx
        .probes(["async-io", "--json", "--"])
        .arg(&ctx.probes)
        .arg("async-io")
        .arg("--variant=uring")
        .arg("--json")
        .arg("-o")
        .arg(&inner)
        .run()
        .expect(0)
        .report();
    let text = std::fs::read_to_string(&inner).expect("the lab's own report");
    let lab = Report {
        document: serde_json::from_str(&text).expect("a document"),
        code: 0,
    };
    (report, lab)
}

/// The lab may have to run a case again; a watch of that sees both.
const TRIES: usize = 5;

pub fn a_watch_counts_the_requests_of_a_process_by_opcode(ctx: &Ctx) -> Outcome {
    let tries = std::iter::repeat_with(|| watch_the_lab(ctx)).take(TRIES);
    let again = |lab: &Report| {
        let remarks = lab.remarks();
        remarks.iter().any(|remark| remark.starts_with("run again"))
    };
    let whole = tries.into_iter().find(|(_, lab)| !again(lab));
    let (report, lab) = whole.expect("a lab that runs each case once");
    report.show();
    report.assert_nothing_lost();
    for (opcode, count) in REQUESTS {
        let rows = report.rows("requests");
        let row = rows.iter().find(|row| row.text("opcode") == opcode);
        let row = row.unwrap_or_else(|| panic!("no {opcode} in {rows:?}"));
        assert_eq!(row.count("requests_count"), count, "{row:?}");
        for (way, key) in [
            ("inline", "inline_count"),
            ("by poll", "polled_count"),
            ("by a worker", "worker_count"),
            ("by the file", "file_count"),
        ] {
            let told = lab.rows("requests");
            let same = told
                .iter()
                .filter(|its| its.text("opcode") == opcode && its.text("way") == way);
            assert_eq!(row.count(key), same.count() as u64, "{opcode} {way}");
        }
    }
    Outcome::Pass
}
