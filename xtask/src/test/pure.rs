//! `cargo test --workspace`: logic and replayed streams. Its output goes through as it is; its
//! closing lines are counted.

use super::Collected;
use crate::cli::{self, TestArgs};
use crate::report::grid::Totals;
use crate::{build, sh};
use anyhow::{Context as _, Result};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

pub fn run(args: &TestArgs) -> Result<Collected> {
    build::ebpf()?;
    let _step = sh::step("pure tests: cargo test --workspace");
    let mut cargo = build::cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast"]);
    if !args.filter.is_empty() {
        cargo.arg("--").args(&args.filter);
    }
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .context("could not start cargo test")?;
    let mut totals = Totals::default();
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines() {
            let line = line?;
            println!("{line}");
            totals = totals.plus(closing_line(&line).unwrap_or_default());
        }
    }
    let passed = child.wait()?.success();
    if !passed && totals.failed == 0 {
        // It did not even compile, or a test program died.
        totals.failed = 1;
    }
    Ok(Collected {
        others: totals,
        code: if passed { cli::OK } else { cli::TEST_FAILED },
        ..Collected::default()
    })
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; ...`
fn closing_line(line: &str) -> Option<Totals> {
    let rest = line.trim().strip_prefix("test result: ")?;
    let rest = rest.split_once(". ")?.1;
    let count = |word: &str| {
        let part = rest.split(';').find(|part| part.trim().ends_with(word))?;
        part.split_whitespace().next()?.parse().ok()
    };
    Some(Totals {
        passed: count("passed")?,
        failed: count("failed")?,
        skipped: count("ignored")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closing_line_is_counted() {
        let line = "test result: FAILED. 10 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        let totals = closing_line(line).unwrap();
        assert_eq!(totals.line(), "10 passed, 2 failed, 1 skipped");
        assert_eq!(closing_line("test a ... ok"), None);
    }
}
