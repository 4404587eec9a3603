//! `cargo xtask test`: three tiers, all failures collected, one grid at the end.

mod guests;
mod live;
mod pure;
mod selfcheck;

use crate::cli::{self, TestArgs, Tier, VmArgs};
use crate::report::grid::{self, Totals};
use crate::report::run::Column;
use crate::{matrix, setup};
use anyhow::Result;
use std::io::IsTerminal as _;

/// What all tiers came to.
#[derive(Debug, Default)]
struct Collected {
    columns: Vec<Column>,
    others: Totals,
    code: u8,
}

impl Collected {
    /// A broken tier is a failure like any other; the next one still runs.
    fn add(&mut self, name: &str, part: Result<Self>) {
        match part {
            Ok(part) => {
                self.columns.extend(part.columns);
                self.others = self.others.plus(part.others);
                self.code = self.code.max(part.code);
            }
            Err(error) => {
                eprintln!("error: tier {name}: {error:#}");
                self.others.failed += 1;
                self.code = self.code.max(cli::INFRASTRUCTURE);
            }
        }
    }

    /// A failed test says more than how a guest ended, so it decides the exit code.
    fn finish(self) -> u8 {
        let unicode = std::io::stdout().is_terminal();
        if !self.columns.is_empty() {
            print!("\n{}", grid::render(&self.columns, unicode));
        }
        let matrix = matrix::of_tests(&self.columns).unwrap_or_else(|error| {
            eprintln!("error: the matrix: {error:#}");
            cli::INFRASTRUCTURE
        });
        let mut totals = grid::totals(&self.columns).plus(self.others);
        // What no test of its own has seen: a page that is out of date.
        totals.failed += usize::from(matrix != cli::OK);
        println!("\n{}", totals.line());
        let codes = self.columns.iter().map(Column::code);
        let codes: Vec<u8> = codes
            .chain([self.code, matrix])
            .filter(|code| *code != cli::OK)
            .collect();
        codes.iter().copied().min().unwrap_or(cli::OK)
    }
}

pub fn main(args: &TestArgs) -> Result<u8> {
    let wants = |tier| args.tier.is_empty() || args.tier.contains(&tier);
    setup::ensure(if wants(Tier::Live) || wants(Tier::Vm) {
        setup::Need::Tests
    } else {
        setup::Need::Build
    })?;
    let mut all = Collected::default();
    if wants(Tier::Pure) {
        all.add("pure", pure::run(args));
    }
    if wants(Tier::Live) {
        all.add("live", live::run(args));
    }
    if wants(Tier::Vm) {
        all.add("vm, the runner itself", selfcheck::run(args));
        all.add("vm", guests::run(args));
    }
    Ok(all.finish())
}

/// The tests in guests, for `cargo xtask vm` without a command.
pub fn guests_only(args: &VmArgs) -> Result<u8> {
    let mut all = Collected::default();
    let kernels = crate::vm::kernels(args)?;
    let test_args = TestArgs {
        guest: args.guest.clone(),
        ..TestArgs::default()
    };
    all.add("vm", guests::run_in(kernels, Vec::new(), &test_args));
    Ok(all.finish())
}
