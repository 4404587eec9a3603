//! What a run costs is shown, by part; memory stays below what is promised.

use crate::context::{Ctx, Outcome};

const MEMORY_LIMIT: u64 = 20 << 20;

pub fn start_up_parts_and_memory_are_shown(ctx: &Ctx) -> Outcome {
    let report = ctx.probes(["epoll-herd", "--stats"]).report();
    report.assert_settled();
    let stats = &report.document["stats"];
    let parts = stats["startup_ns"].as_array().cloned().unwrap_or_default();
    assert!(parts.len() >= 4, "parts of the start: {stats}");
    let total: u64 = parts.iter().filter_map(|part| part[1].as_u64()).sum();
    println!("start to attached: {:.1} ms, {parts:?}", total as f64 / 1e6);
    assert!(
        parts
            .iter()
            .all(|part| part[0].is_string() && part[1].as_u64().is_some()),
        "{parts:?}"
    );
    let (memory, maps) = (
        stats["peak_rss_bytes"].as_u64(),
        stats["map_bytes"].as_u64(),
    );
    println!("memory: {memory:?} and {maps:?} in maps");
    assert!(
        memory.is_some_and(|bytes| bytes > 0 && bytes < MEMORY_LIMIT),
        "{memory:?}"
    );
    assert!(maps.is_some_and(|bytes| bytes > 0), "{maps:?}");
    let programs = stats["programs"].as_array().cloned().unwrap_or_default();
    let waking = programs
        .iter()
        .find(|program| program["program"] == "sched_waking");
    assert!(
        waking.is_some_and(|its| its["runs"].as_u64() > Some(0) && its["ns"].as_u64() > Some(0)),
        "{programs:?}"
    );
    let text = ctx
        .probes(["accept-herd", "--stats"])
        .run()
        .expect(0)
        .stdout;
    assert!(
        text.contains("start:") && text.contains("peak memory"),
        "{text}"
    );
    Outcome::Pass
}
