//! Real reports fit the published schema, in each mode and however the run ended.

use rustix::process::Signal;
use serde_json::Value;

use crate::context::{Ctx, Outcome};
use crate::harness::server::{PORT, Server, all_asleep};
use crate::harness::watch::Watch;
use crate::harness::{client, sandbox, schema};

const SCHEMA: &str = include_str!("../../../docs/report.schema.json");

fn fits(what: &str, document: &Value) {
    let validator = schema::fits(what, SCHEMA, document);
    assert_eq!(document["schema"], "probes.report/1");
    let mut without = document.clone();
    if let Some(map) = without.as_object_mut() {
        map.remove("claims");
    }
    assert!(
        !validator.is_valid(&without),
        "{what}: a report without claims fits"
    );
}

pub fn reports_of_both_labs_fit_the_schema(ctx: &Ctx) -> Outcome {
    for words in [
        vec!["accept-herd"],
        vec!["epoll-herd", "--stats", "--timeline"],
        vec!["epoll-herd", "--without", "sched_waking"],
    ] {
        fits(&words.join(" "), &ctx.probes(words).report().document);
    }
    Outcome::Pass
}

pub fn an_interrupted_report_fits_the_schema(ctx: &Ctx) -> Outcome {
    let mut running = ctx
        .probes(["epoll-herd", "--connections", "5000", "--json"])
        .start();
    running.await_worker_at_work();
    running.signal(Signal::INT);
    fits("interrupted", &running.wait().expect(130).report().document);
    Outcome::Pass
}

pub fn the_report_of_a_watch_fits_the_schema(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let server = Server::start(2, false);
    let watch = Watch::start(ctx, &["--stats", "-p", &server.pid().to_string()]);
    client::sequential(PORT, 5, || all_asleep(&server.workers));
    fits("watch", &watch.finish().document);
    Outcome::Pass
}
