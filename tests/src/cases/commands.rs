//! Commands that only look, and what the README tells people to type.

use crate::context::{Ctx, Outcome};

/// Every trace that `list` names.
fn traces(ctx: &Ctx) -> Vec<String> {
    let list = ctx.probes(["list"]).run().expect(0).stdout;
    let names = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

pub fn every_command_that_only_looks_answers(ctx: &Ctx) -> Outcome {
    let traces = traces(ctx);
    for trace in ["accept-herd", "epoll-herd"] {
        assert!(traces.iter().any(|name| name == trace), "{traces:?}");
    }
    let claims = ctx.probes(["claims"]).run().expect(0).stdout;
    for id in [
        "accept-herd/one-wakeup",
        "accept-herd/cost",
        "epoll-herd/exclusive",
        "epoll-herd/accept-mutex",
    ] {
        assert!(claims.lines().any(|line| line == id), "{id} in {claims}");
    }
    let of_one = ctx.probes(["claims", "accept-herd"]).run().expect(0).stdout;
    assert!(
        of_one.len() < claims.len() && claims.contains(&of_one),
        "{of_one}"
    );
    for words in [
        vec!["--help"],
        vec!["epoll-herd", "--help"],
        vec!["--version"],
    ] {
        let run = ctx.probes(words).run().expect(0);
        assert!(!run.stdout.is_empty() && run.stderr.is_empty());
    }
    Outcome::Pass
}

pub fn looking_needs_no_root(ctx: &Ctx) -> Outcome {
    for words in [vec!["list"], vec!["claims"], vec!["explain", "epoll-herd"]] {
        let copy = super::bad_input::Copy::of(ctx);
        let run = copy.probes(words).by_nobody().run().expect(0);
        assert!(run.stdout.contains("epoll-herd"), "{}", run.stdout);
    }
    Outcome::Pass
}

pub fn explain_has_a_page_for_every_trace(ctx: &Ctx) -> Outcome {
    for trace in &traces(ctx) {
        let page = ctx
            .probes(["explain", trace.as_str()])
            .run()
            .expect(0)
            .stdout;
        assert!(page.lines().count() > 20 && page.contains(trace), "{page}");
    }
    ctx.probes(["explain", "no-such-trace"])
        .run()
        .expect(2)
        .says(&["no-such-trace"]);
    Outcome::Pass
}

pub fn doctor_finds_this_machine_fit(ctx: &Ctx) -> Outcome {
    let run = ctx.probes(["doctor"]).run().expect(0);
    assert!(!run.stdout.contains("FAIL"), "{}", run.stdout);
    for hook in [
        "sched_waking",
        "sched_switch",
        "sys_exit",
        "inet_sock_set_state",
    ] {
        let line = run
            .stdout
            .lines()
            .find(|line| line.split_whitespace().any(|word| word == hook));
        assert!(
            line.is_some_and(|line| line.starts_with("ok")),
            "{hook}: {}",
            run.stdout
        );
    }
    // Whatever is not well has its remedy or its loss in the next line.
    let lines: Vec<&str> = run.stdout.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[0].starts_with("warn")) {
        assert!(pair[1].contains('→'), "{pair:?}");
    }
    Outcome::Pass
}

pub fn a_report_for_people_begins_with_the_verdicts(ctx: &Ctx) -> Outcome {
    let run = ctx.probes(["accept-herd"]).run().expect(0);
    let first = run.stdout.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("holds") && first.contains("accept-herd/one-wakeup"),
        "{first}"
    );
    assert!(
        run.stdout.lines().all(|line| line.chars().count() <= 100),
        "{}",
        run.stdout
    );
    assert!(!run.stdout.contains('\u{1b}'), "colour off a terminal");
    assert!(run.stderr.is_empty(), "{}", run.stderr);
    Outcome::Pass
}

pub fn a_timeline_shows_client_softirq_and_workers(ctx: &Ctx) -> Outcome {
    let words = [
        "epoll-herd",
        "--variant",
        "per-process-instance/sequential",
        "--timeline",
    ];
    let text = ctx.probes(words).run().expect(0).stdout;
    let lower = text.to_lowercase();
    for lane in [
        "client",
        "softirq",
        "worker 0",
        "worker 3",
        "connect()",
        "established",
    ] {
        assert!(lower.contains(lane), "no {lane:?} in {text}");
    }
    let report = ctx.probes(words).report();
    let lines = report.document["ledger"]["timeline"]
        .as_array()
        .map_or(0, Vec::len);
    assert!(lines > 5, "{lines} lines of timeline");
    Outcome::Pass
}
