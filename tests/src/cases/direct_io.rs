//! direct-io: its claims, the counts of the disk against the script's own, and a watch of the lab itself.

use crate::context::{Ctx, Outcome};
use crate::harness::dir::Dir;
use crate::harness::noise::Noise;
use crate::harness::report::{Report, Row};

const RESULTS: [(&str, &str); 3] = [
    ("direct-io/bypasses-cache", "holds"),
    ("direct-io/no-read-ahead", "holds"),
    ("direct-io/no-silent-fallback", "refuted"),
];
const SIZE: u64 = 16 << 20;

pub fn its_claims_are_settled_and_the_disk_agrees(ctx: &Ctx) -> Outcome {
    settled(ctx);
    Outcome::Pass
}

pub fn its_claims_are_settled_the_same_beside_noise(ctx: &Ctx) -> Outcome {
    let mut noise = Noise::start();
    settled(ctx);
    noise.assert_alive();
    Outcome::Pass
}

fn settled(ctx: &Ctx) {
    let report = ctx.settle(["direct-io", "--size", "16"]);
    report.show();
    assert_eq!(report.assert_settled().code, 0);
    for (claim, result) in RESULTS {
        let found = report.claim(claim);
        assert_eq!(found["result"], result, "{found}");
    }
    // MGLRU on 7.2 keeps most of the files that were read once beside a buffered stream too.
    let hot = if ctx.kernel == "7.2" {
        "refuted"
    } else {
        "holds"
    };
    let found = report.claim("direct-io/protects-hot-pages");
    assert_eq!(found["result"], hot, "{found}");
    for fs in ["ext4", "xfs"] {
        let step = |name: &str| step(&report, &format!("{fs}/{name}"));
        let (buffered, direct) = (step("buffered stream"), step("direct stream"));
        assert_eq!(buffered.count("inserted_count"), SIZE / 4096);
        assert_eq!(direct.count("inserted_count"), 0);
        for row in [&buffered, &direct] {
            let read = row.count("read_bytes");
            assert!(read >= SIZE && read - SIZE <= SIZE / 50, "{row:?}");
        }
        let queued = step("direct, queued");
        let all = queued.count("requests_count") + queued.count("merged_count");
        assert_eq!(
            all, 32,
            "each read is a request or merged into one: {queued:?}"
        );
    }
    // What is queued at once is merged, unless the disk is told not to.
    let merged = ["ext4", "xfs"]
        .iter()
        .any(|fs| step(&report, &format!("{fs}/direct, queued")).count("merged_count") > 0);
    let result = if merged { "refuted" } else { "holds" };
    assert_eq!(report.claim("direct-io/no-merge")["result"], result);
    let hole = tried(&report, "ext4-indirect/write into a hole");
    assert_eq!(hole.text("way"), "through the cache", "{hole:?}");
}

fn step(report: &Report, name: &str) -> Row {
    named(report, "steps", name)
}

fn tried(report: &Report, name: &str) -> Row {
    named(report, "tries", name)
}

fn named(report: &Report, table: &str, name: &str) -> Row {
    let rows = report.rows(table);
    let found = rows.into_iter().find(|row| row.text("step") == name);
    found.unwrap_or_else(|| panic!("no {name} in {table}"))
}

pub fn sizes_that_make_no_sense_and_missing_rights_are_told(ctx: &Ctx) -> Outcome {
    for size in ["0", "3", "999999"] {
        ctx.probes(["direct-io", "--size", size])
            .run()
            .expect(2)
            .says(&["--size", size]);
    }
    ctx.probes(["direct-io", "--variant", "btrfs"])
        .run()
        .expect(2)
        .says(&["no case is called btrfs"]);
    ctx.probes(["direct-io"]).by_nobody().run().expect(3);
    Outcome::Pass
}

/// The lab is the command that is watched: its write into a hole is what the watch must find.
pub fn a_watch_names_the_file_that_went_through_the_cache_after_all(ctx: &Ctx) -> Outcome {
    let dir = Dir::new();
    let report = ctx
        .probes(["direct-io", "--json", "--"])
        .arg(&ctx.probes)
        .arg("direct-io")
        .arg("--variant=ext4-indirect")
        .arg("--json")
        .arg("-o")
        .arg(dir.join("inner.json"))
        .run()
        .expect(0)
        .report();
    report.show();
    let rows = report.rows("files");
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0].text("file"), "data");
    assert_eq!(rows[0].text("way"), "through the cache");
    assert_eq!(rows[0].count("inserted_count"), 1);
    // One page before each of two steps, overwritten, and into the hole; refused ones have no bytes.
    assert_eq!(rows[0].count("direct_bytes"), 4 * 4096);
    Outcome::Pass
}
