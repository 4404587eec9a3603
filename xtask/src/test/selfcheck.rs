//! Proves the runner before it is believed: a guest that panics, one that hangs and one whose job
//! never ends must be told apart, and show red in the grid.

use super::Collected;
use crate::cli::{self, TestArgs};
use crate::job::{BUILTIN_HANG, BUILTIN_PANIC, BUILTIN_SLEEP, BUILTIN_TRUE, Job};
use crate::kernels::{fetch, lock::Lock};
use crate::report::grid::{self, Totals};
use crate::report::{protocol, run::Column};
use crate::vm::guest::{self, Guest};
use crate::{build, image, sh};
use anyhow::Result;
use std::collections::BTreeMap;

/// Each job with the exit code that it must come to.
const CASES: &[(&str, &str, u8)] = &[
    ("a_job_that_ends_well_gives_0", BUILTIN_TRUE, cli::OK),
    ("a_panic_gives_70", BUILTIN_PANIC, cli::GUEST_PANICKED),
    ("a_stuck_guest_gives_71", BUILTIN_HANG, cli::GUEST_HUNG),
    (
        "a_job_that_never_ends_gives_71",
        BUILTIN_SLEEP,
        cli::GUEST_HUNG,
    ),
];

pub fn run(args: &TestArgs) -> Result<Collected> {
    let names: Vec<String> = CASES
        .iter()
        .map(|(name, ..)| format!("vm_runner::{name}"))
        .collect();
    let wanted = |name: &str| {
        let mut filters = args.filter.iter();
        args.filter.is_empty() || filters.any(|filter| name.contains(filter.as_str()))
    };
    if !names.iter().any(|name| wanted(name)) {
        return Ok(Collected::default());
    }
    let Some(kernel) = any_kernel(args)? else {
        return Ok(Collected::default());
    };
    let init = build::init()?.init;
    let _step = sh::step(format!("the guest runner itself, on {}", kernel.label));
    let guests: Vec<Guest> = CASES
        .iter()
        .map(|(name, job, _)| {
            let mut kernel = kernel.clone();
            kernel.label = format!("runner-{name}");
            Guest {
                kernel,
                contents: image::Contents {
                    init: init.clone(),
                    programs: Vec::new(),
                    packages: Vec::new(),
                },
                job: Job {
                    argv: vec![(*job).to_owned()],
                    env: BTreeMap::new(),
                    timeout_s: 2,
                },
                args: args.guest.clone(),
            }
        })
        .collect();
    let outcomes = guest::run_all(&guests, |_, _| {});
    let mut totals = Totals::default();
    for ((name, _, wanted), outcome) in CASES.iter().zip(outcomes) {
        let found = outcome.map(|outcome| outcome.end);
        let red = found
            .as_ref()
            .is_ok_and(|end| *wanted == cli::OK || shows_red(end));
        let right = red && found.as_ref().is_ok_and(|end| end.code() == *wanted);
        println!(
            "test vm_runner::{name} ... {}",
            if right { "ok" } else { "FAILED" }
        );
        if right {
            totals.passed += 1;
        } else {
            totals.failed += 1;
            println!("    wanted exit code {wanted}, found {found:?}");
        }
    }
    Ok(Collected {
        others: totals,
        code: if totals.failed > 0 {
            cli::TEST_FAILED
        } else {
            cli::OK
        },
        ..Collected::default()
    })
}

/// A test that had started when the guest ended like this is lost, and the grid says so.
fn shows_red(end: &crate::vm::end::End) -> bool {
    let mut column = Column::new("x");
    let started = protocol::parse(r#"{"event":"started","test":"t"}"#);
    started.into_iter().for_each(|event| column.take(event));
    column.problems.push((end.code(), end.to_string()));
    column.close(None, false);
    let text = grid::render(&[column], false);
    text.contains("LOST x t") && text.contains("FAILED x: the guest ")
}

/// The first of the chosen kernels that can be had.
fn any_kernel(args: &TestArgs) -> Result<Option<crate::kernels::Kernel>> {
    for pin in Lock::read()?.select(&args.kernel)? {
        if let Some(kernel) = fetch::kernel(&pin)? {
            return Ok(Some(kernel));
        }
    }
    Ok(None)
}
