//! zero-copy: every claim settled as known, and its numbers are the file's, the sender's and the kernel's own.

use std::path::Path;

use crate::context::{Ctx, Outcome};
use crate::harness::noise::Noise;
use crate::harness::report::{Report, Row};
use crate::harness::sandbox::{self, Tmpfs};

const RESULTS: [(&str, &str); 6] = [
    ("read-write-copies-twice", "holds"),
    ("sendfile-copies-nothing-to-user", "holds"),
    ("sendfile-halves-switches", "holds"),
    ("in-fd-must-be-file", "refuted"),
    ("out-fd-must-be-socket", "refuted"),
    ("zerocopy-falls-back", "holds"),
];
/// MiB; an emulated guest has less.
const HERE: u64 = 16;
const IN_GUEST: u64 = 2;

/// What the claims need and no more.
const SHORT: [&str; 11] = [
    "zero-copy",
    "--size",
    "1",
    "--variant",
    "warm/read",
    "--variant",
    "warm/sendfile",
    "--variant",
    "warm/msg",
    "--variant",
    "kinds/",
];

pub fn each_way_to_send_a_file_is_copied_as_often_as_it_says(ctx: &Ctx) -> Outcome {
    let size = if ctx.on_host() { HERE } else { IN_GUEST };
    let words = size.to_string();
    let report = ctx.settle(["zero-copy", "--size", &words]);
    settled(&report);
    numbers(&report, size);
    Outcome::Pass
}

pub fn zero_copy_is_told_the_same_beside_noise(ctx: &Ctx) -> Outcome {
    let mut noise = Noise::start();
    let report = ctx.settle(SHORT);
    settled(&report);
    noise.assert_alive();
    Outcome::Pass
}

pub fn without_pages_counted_and_function_probes_zero_copy_is_told_the_same(ctx: &Ctx) -> Outcome {
    let mut words = SHORT.to_vec();
    for hook in [
        "mm_page_alloc",
        "tcp_sendmsg_locked",
        "tcp_sendmsg_turn",
        "do_tcp_sendpages",
    ] {
        words.extend(["--without", hook]);
    }
    settled(&ctx.settle(words));
    Outcome::Pass
}

pub fn a_file_of_no_bytes_or_too_many_is_a_usage_error(ctx: &Ctx) -> Outcome {
    for size in ["0", "1048576", "much"] {
        let run = ctx.probes(["zero-copy", "--size", size]).run();
        run.expect(2).says(&["--size"]);
    }
    Outcome::Pass
}

/// Where a disk of the lab's own may lie.
const FOLDERS: [&str; 4] = ["/dev/shm", "/run", "/var/tmp", "/tmp"];

pub fn a_file_that_finds_no_room_is_said_so_and_leaves_nothing(ctx: &Ctx) -> Outcome {
    sandbox::own_mounts();
    let folders = FOLDERS.map(Path::new);
    let there = folders.into_iter().filter(|folder| folder.is_dir());
    let _small: Vec<Tmpfs> = there.map(|at| Tmpfs::mount(at, "size=1m")).collect();
    let words = [
        "zero-copy",
        "--size",
        "64",
        "--variant",
        "warm/sendfile",
        "--variant",
        "warm/read",
    ];
    let report = ctx.probes(words).report();
    for claim in report.claims() {
        assert_eq!(claim["result"], "inconclusive", "{claim}");
        let because = claim["because"].as_str().unwrap_or_default();
        assert!(because.contains("no room for a disk"), "{because}");
    }
    assert_eq!(report.code, 4);
    Outcome::Pass
}

fn settled(report: &Report) {
    report.show();
    assert_eq!(report.assert_settled().code, 0);
    for (slug, result) in RESULTS {
        let claim = report.claim(&format!("zero-copy/{slug}"));
        assert_eq!(claim["result"], result, "{claim}");
    }
    for check in report.rows("checks") {
        assert!(check.flag("agrees"), "{check:?}");
    }
}

/// How often each byte was copied: to user, to the kernel, on delivery.
const COPIES: [(&str, [u64; 3]); 7] = [
    ("read-write", [1, 1, 0]),
    ("mmap-write", [0, 1, 0]),
    ("sendfile", [0, 0, 0]),
    ("sendfile-whole", [0, 0, 0]),
    ("splice", [0, 0, 0]),
    ("msg-zerocopy", [0, 0, 1]),
    ("uring-send", [1, 1, 0]),
];

fn numbers(report: &Report, size: u64) {
    let methods = report.rows("methods");
    let costs = report.rows("costs");
    let pages = size << 8;
    let pieces = size << 4;
    let cost = |label: &str| -> Row {
        let mut rows = costs.iter();
        let found = rows.find(|row| row.text("method") == label);
        found
            .unwrap_or_else(|| panic!("no costs of {label}"))
            .clone()
    };
    for (method, copies) in COPIES {
        for state in ["warm", "cold", "tmpfs"] {
            let label = format!("{state}/{method}");
            let Some(row) = methods.iter().find(|row| row.text("method") == label) else {
                assert_ne!(state, "warm", "no {label}");
                continue;
            };
            let keys = ["to_user_ratio", "to_kernel_ratio", "on_delivery_ratio"];
            for (key, expected) in keys.into_iter().zip(copies) {
                let off = (row.number(key) - expected as f64).abs();
                // A packet or two may be copied on the way to a receiver that is slow to read.
                let allowed = if key == "on_delivery_ratio" {
                    0.05
                } else {
                    0.0
                };
                assert!(off <= allowed, "{key}: {row:?}");
            }
            let lent = if copies[1] == 0 { pages } else { 0 };
            assert_eq!(row.count("lent_pages_count"), lent, "{row:?}");
        }
    }
    // Copies take new pages, and cold ones come in as new pages.
    let fresh = |label: &str| {
        let row = methods.iter().find(|row| row.text("method") == label);
        row.unwrap_or_else(|| panic!("no {label}"))
            .count("new_pages_count")
    };
    assert!(fresh("warm/read-write") > pages / 4);
    assert!(fresh("warm/sendfile") < pages / 10);
    assert_eq!(cost("warm/read-write").count("syscalls_count"), 2 * pieces);
    assert_eq!(cost("warm/sendfile").count("syscalls_count"), pieces);
    assert_eq!(cost("warm/sendfile-whole").count("syscalls_count"), 1);
    let from_disk = |label: &str| cost(label).known("storage_bytes");
    if let Some(bytes) = from_disk("cold/read-write") {
        assert!(bytes >= size << 20, "{bytes} bytes from disk");
        assert_eq!(from_disk("warm/read-write"), Some(0));
    }
    for row in report.rows("read_ahead") {
        assert!(
            row.count("resident_pages_count") >= row.count("asked_pages_count"),
            "{row:?}"
        );
    }
}
