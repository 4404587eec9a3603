//! `probes matrix`, and that a red cell is the right one: an altered expectation, a hook left out, a sysctl patched.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::context::{Ctx, Outcome};
use crate::harness::dir::Dir;
use crate::harness::{sandbox, schema};

const SCHEMA: &str = include_str!("../../../docs/matrix.schema.json");
/// Two quick labs that have no needed hook in common but those of following sockets.
const ONLY: &str = "accept-herd/*,tcp-states/*";
/// Of waking, which tcp-states does not ask for.
const HOOK: &str = "sched_waking";

/// The document of a check in a file of this name, and its exit code.
fn check(ctx: &Ctx, dir: &Dir, name: &str, words: &[&str]) -> (PathBuf, i32) {
    let file = dir.join(&format!("{name}.json"));
    let words = ["check", "--json"].iter().chain(words).copied();
    let run = ctx.probes(words).arg("--output").arg(&file).run();
    (file, run.code())
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("a document in a file");
    serde_json::from_str(&text).expect("a document")
}

/// The matrix of these, which must exit so, and what is red in it: labels and claims.
fn matrix(ctx: &Ctx, files: &[&Path], code: i32) -> (Value, Vec<(String, String)>) {
    let mut probes = ctx.probes(["matrix", "--json"]);
    for file in files {
        probes = probes.arg(file);
    }
    let document: Value =
        serde_json::from_str(&probes.run().expect(code).stdout).expect("a matrix");
    schema::fits("a matrix", SCHEMA, &document);
    let mut red = Vec::new();
    for claim in document["claims"].as_array().expect("claims") {
        for (label, cell) in claim["cells"].as_object().expect("cells") {
            if cell["known"] != "as-expected" {
                red.push((
                    label.clone(),
                    claim["id"].as_str().unwrap_or_default().to_owned(),
                ));
            }
        }
    }
    assert_eq!(document["summary"]["red"], red.len());
    red.sort();
    (document, red)
}

fn cells(label: &str, claims: &[&str]) -> Vec<(String, String)> {
    claims
        .iter()
        .map(|claim| (label.to_owned(), (*claim).to_owned()))
        .collect()
}

/// What separates the columns of one claim, by name.
fn separated<'a>(matrix: &'a Value, claim: &str) -> Vec<&'a str> {
    let claims = matrix["claims"].as_array().expect("claims");
    let found = claims
        .iter()
        .find(|its| its["id"] == claim)
        .expect("the claim");
    let facts = found["difference"]["separated_by"]
        .as_array()
        .expect("a difference");
    let names = facts
        .iter()
        .filter_map(|fact| fact["names"].as_array())
        .flatten();
    names.filter_map(Value::as_str).collect()
}

pub fn an_altered_expectation_and_a_hook_left_out_turn_their_own_cells_red(ctx: &Ctx) -> Outcome {
    let dir = Dir::new();
    let mine = dir.join("expected");
    let write = [
        "--only",
        ONLY,
        "--write-expect",
        mine.to_str().expect("a path"),
    ];
    let (right, code) = check(ctx, &dir, "right", &write);
    assert_eq!(code, 0);
    let mut expected = read(&mine);
    let rows = expected["expectations"].as_array_mut().expect("rows");
    let row = rows
        .iter_mut()
        .find(|row| row["claim"] == "tcp-states/time-wait-60s")
        .expect("its row");
    row["result"] = json!("refuted");
    let altered = dir.write("altered-expected", expected.to_string());
    let expect = [
        "--only",
        ONLY,
        "--expect",
        altered.to_str().expect("a path"),
    ];
    let (altered, code) = check(ctx, &dir, "altered", &expect);
    assert_eq!(code, 1);
    let (broken, code) = check(ctx, &dir, "broken", &["--only", ONLY, "--without", HOOK]);
    assert_eq!(code, 1);

    assert_eq!(matrix(ctx, &[&right], 0).1, []);
    let (document, red) = matrix(ctx, &[&right, &altered, &broken], 1);
    let label = document["kernels"][0]["label"].as_str().expect("a label");
    let mut wanted = cells(&format!("{label} (altered)"), &["tcp-states/time-wait-60s"]);
    let herd = ["accept-herd/cost", "accept-herd/one-wakeup"];
    wanted.extend(cells(&format!("{label} (broken)"), &herd));
    assert_eq!(red, wanted);
    assert_eq!(separated(&document, herd[0]), [HOOK]);

    // Held against the page of the right one, the broken one is told where it is not so.
    let page = dir.join("page.md");
    ctx.probes(["matrix", "--markdown", "--output"])
        .arg(&page)
        .arg(&right)
        .run()
        .expect(0);
    let against = |file: &Path| {
        ctx.probes(["matrix", "--against"])
            .arg(&page)
            .arg(file)
            .run()
    };
    against(&right).expect(0);
    let said = against(&broken).expect(1).stderr;
    let differ = said
        .lines()
        .filter(|line| line.contains("found unsupported"))
        .count();
    assert_eq!(differ, herd.len(), "{said}");
    Outcome::Pass
}

/// Linux's own aio asks for room under this limit, and nothing else of the lab does. It belongs to the whole
/// machine: on the host it is only compared.
pub fn what_a_lab_ran_under_is_told_and_a_patched_sysctl_turns_its_own_cell_red(
    ctx: &Ctx,
) -> Outcome {
    const LIMIT: &str = "/proc/sys/fs/aio-max-nr";
    let dir = Dir::new();
    let only = ["--only", "async-io/*,tcp-states/*"];
    let (right, code) = check(ctx, &dir, "right", &only);
    assert_eq!(code, 0);
    let limit = fs::read_to_string(LIMIT).expect("the limit");
    told(
        &read(&right),
        "async-io",
        "fs.aio-max-nr",
        Some(limit.trim()),
    );
    sandbox::own_network();
    for name in ["tcp_fin_timeout", "tcp_max_tw_buckets", "tcp_tw_reuse"] {
        let own = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok();
        let own = own.as_deref().map(str::trim);
        told(
            &read(&right),
            "tcp-states",
            &format!("net.ipv4.{name}"),
            own,
        );
    }
    if ctx.on_host() {
        return Outcome::Pass;
    }
    fs::write(LIMIT, "0").expect("a guest's own limit");
    let (patched, code) = check(ctx, &dir, "patched", &only);
    fs::write(LIMIT, limit).expect("a guest's own limit");
    assert_eq!(code, 1);
    let (document, red) = matrix(ctx, &[&right, &patched], 1);
    let label = document["kernels"][1]["label"].as_str().expect("a label");
    let claim = "async-io/aio-returns-early";
    assert_eq!(red, cells(label, &[claim]));
    assert_eq!(separated(&document, claim), ["fs.aio-max-nr"]);
    Outcome::Pass
}

fn told(document: &Value, trace: &str, setting: &str, value: Option<&str>) {
    let traces = document["traces"].as_array().expect("traces");
    let found = traces
        .iter()
        .find(|its| its["trace"] == trace)
        .expect("the trace");
    assert_eq!(found["settings"][setting].as_str(), value, "{setting}");
}
