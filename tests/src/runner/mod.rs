//! Runs the tests one after the other, each in a child of its own, and tells people and `xtask`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::context::{Ctx, Test};
use crate::harness::tracefs;
use expected::{Skip, Verdict, judge};
use report::Report;

mod child;
pub mod expected;
mod leftovers;
mod report;
#[cfg(test)]
mod tests;

#[derive(Debug, Parser)]
#[command(about = "Live tests of probes: run as root")]
struct Args {
    /// Only print the names of the tests
    #[arg(long)]
    list: bool,
    /// Only tests whose name contains this (repeatable)
    #[arg(long, value_name = "S")]
    filter: Vec<String>,
    /// Run each test so many times in a row; it passes when every run does
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Which kernel this is: host, or a guest's label
    #[arg(long, value_name = "LABEL", default_value = "host")]
    kernel: String,
    /// Where result lines (JSON) go
    #[arg(long, value_name = "PATH", env = "PROBES_RESULTS")]
    results: Option<PathBuf>,
    /// The program under test; default: beside this one
    #[arg(long, value_name = "PATH", env = "PROBES_BIN")]
    probes: Option<PathBuf>,
}

pub fn main(tests: &[Test], skips: &[Skip]) -> ExitCode {
    let args = Args::parse();
    let here = tests.iter().filter(|test| test.runs_on(&args.kernel));
    let (chosen, left_out): (Vec<Test>, Vec<Test>) = here.copied().partition(|test| {
        args.filter.is_empty()
            || args
                .filter
                .iter()
                .any(|part| test.name.contains(part.as_str()))
    });
    if args.list {
        let names: Vec<&str> = chosen.iter().map(|test| test.name).collect();
        let _written = writeln!(std::io::stdout(), "{}", names.join("\n"));
        return ExitCode::SUCCESS;
    }
    match run(&args, &chosen, left_out.len(), skips) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(101),
        Err(why) => {
            eprintln!("probes-tests: {why}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args, chosen: &[Test], left_out: usize, skips: &[Skip]) -> Result<bool, String> {
    let ctx = Ctx {
        kernel: args.kernel.clone(),
        probes: find_probes(args)?,
    };
    if !rustix::process::geteuid().is_root() {
        return Err("the tests need root".to_owned());
    }
    leftovers::adopt_orphans();
    let mut report = Report::open(args.results.as_deref())?;
    // One instance for the whole run: making and removing one per test locked up 5.10.
    let _instance = tracefs::Instance::make();
    report.plan(chosen);
    for test in chosen {
        report.started(test.name);
        let begun = Instant::now();
        let (verdict, output) = repeated(args.repeat, || one(test, &ctx, skips));
        report.finished(test.name, &verdict, &output, begun.elapsed());
    }
    Ok(report.summary(left_out))
}

fn find_probes(args: &Args) -> Result<PathBuf, String> {
    let beside = || {
        std::env::current_exe()
            .ok()
            .map(|exe| exe.with_file_name("probes"))
    };
    let probes = args
        .probes
        .clone()
        .or_else(beside)
        .ok_or("could not find this program's own folder")?;
    probes.canonicalize().map_err(|error| {
        format!(
            "could not find the program under test {}: {error}; try --probes",
            probes.display()
        )
    })
}

/// What one test came to, with the output of its child.
pub fn one(test: &Test, ctx: &Ctx, skips: &[Skip]) -> (Verdict, String) {
    let mut ended = child::run(test, ctx);
    let left = leftovers::end(Duration::from_secs(5));
    if !left.is_empty() && ended.raw == expected::Raw::Passed {
        ended.raw = expected::Raw::Failed(format!("it left processes behind: {}", left.join(", ")));
    }
    (
        judge(skips, &ctx.kernel, test.name, ended.raw),
        ended.output,
    )
}

/// Stops at the first run that fails.
fn repeated(times: u32, mut run: impl FnMut() -> (Verdict, String)) -> (Verdict, String) {
    let mut last = run();
    for number in 2..=times {
        if last.0 != Verdict::Pass {
            break;
        }
        last = run();
        if let Verdict::Fail(why) = &last.0 {
            last.0 = Verdict::Fail(format!("run {number} of {times}: {why}"));
        }
    }
    last
}
