//! `probes check`: every lab on this kernel, compared with what is known of it.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;

use super::output::print;
use crate::check::circumstances::Circumstances;
use crate::check::{self, Row, Run, Tally, render};
use crate::evidence::expect::Expectations;
use crate::exit::{Exit, usage};
use crate::instrument::Without;
use crate::kernel::{Kernel, preflight};
use crate::session::interrupt::Interrupt;
use crate::trace::{Mode, TRACES, Trace};

#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Only claims whose id or trace matches (`*` stands for anything), several by commas: tcp-close,*/exclusive
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Leave out claims whose id or trace matches
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Compare with this file instead of the built-in knowledge
    #[arg(long, value_name = "FILE")]
    pub expect: Option<PathBuf>,
    /// Write what this run found as a file for --expect
    #[arg(long, value_name = "FILE")]
    pub write_expect: Option<PathBuf>,
    /// Run every lab N times; a claim whose result changes is flaky, and not settled
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub repeat: u16,
    /// Labs at once; those that measure costs run alone in any case
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=2))]
    pub jobs: u16,
    /// MiB that the labs of files and disks move (default: theirs, 64)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=1024))]
    pub size: Option<u32>,
    /// Do without a hook, or one rung of its ladder, as the traces' own option (repeatable)
    #[arg(long, value_name = "HOOK")]
    pub without: Vec<String>,
    /// Write the results as JUnit XML too
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// One JSON document (schema probes.check/1); several make a matrix: `probes matrix`
    #[arg(short, long)]
    pub json: bool,
    /// Write the results to a file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

pub const EXAMPLES: &str = "Examples:
  sudo probes check                              every claim, beside what is known of this kernel
  sudo probes check --only 'tcp-*/*' --repeat 5  five times over: a claim that changes is flaky
  sudo probes check --write-expect mine.json     what this kernel does, as your own expectation
  sudo probes check --expect mine.json --junit probes.xml
                                                 in a CI: has the new kernel changed any of it?

A lab that lacks evidence is run again, twice at most, and that is said.

Exit codes: 0 as expected; 1 a claim differs; 3 a lab could not run; 4 not settled, or flaky.";

impl CheckArgs {
    fn asks_for(&self, claim: &str) -> bool {
        let trace = claim.split('/').next().unwrap_or(claim);
        let any = |globs: &[String]| {
            let mut globs = globs.iter();
            globs.any(|pattern| glob(pattern, claim) || glob(pattern, trace))
        };
        (self.only.is_empty() || any(&self.only)) && !any(&self.skip)
    }

    fn expectations(&self) -> Result<Expectations> {
        let Some(path) = &self.expect else {
            return Expectations::built_in();
        };
        let text = std::fs::read_to_string(path).map_err(Into::into);
        match text.and_then(|text| Expectations::parse(&text)) {
            Ok(expectations) => Ok(expectations),
            Err(error) => usage(format!(
                "could not read the expectations {}: {error:#}",
                path.display()
            )),
        }
    }

    fn traces(&self) -> Result<Vec<&'static dyn Trace>> {
        let asked = |trace: &&dyn Trace| trace.claims().iter().any(|claim| self.asks_for(claim.id));
        let traces: Vec<&'static dyn Trace> = TRACES.iter().copied().filter(asked).collect();
        if traces.is_empty() {
            return usage(format!(
                "no claim matches --only {:?} --skip {:?}: `probes claims` lists them",
                self.only.join(","),
                self.skip.join(",")
            ));
        }
        Ok(traces)
    }
}

/// # Errors
/// An expectation file that cannot be read; a run that cannot start; a file that cannot be written, after the
/// results have been printed.
pub fn run(args: &CheckArgs) -> Result<Exit> {
    let expectations = args.expectations()?;
    let traces = args.traces()?;
    Without::parse(&args.without).or_else(|error| usage(format!("--without: {error}")))?;
    let kernel = Kernel::running()?;
    preflight::ready(&kernel, Mode::Lab)?;
    let interrupt = Interrupt::install()?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let how = check::run::How {
        rounds: usize::from(args.repeat),
        jobs: usize::from(args.jobs).min(processors),
        size: args.size,
        without: &args.without,
    };
    // Before the labs: what they found, they ran under.
    let circumstances = Circumstances::read(&traces);
    let begun = Instant::now();
    let runs = check::run::all(&traces, how, &interrupt, |run, number, of| {
        progress(run, number, of, begun.elapsed());
    })?;
    let asked = |claim: &str| args.asks_for(claim);
    let rows = check::rows(&traces, &runs, &asked, &expectations, &kernel.release);
    let whole = !interrupt.requested();
    let text = if args.json {
        let around = render::Around {
            release: &kernel.release,
            runs: &runs,
            circumstances: &circumstances,
            rounds: how.rounds,
            size: how.size,
            took: begun.elapsed(),
            whole,
        };
        format!("{:#}\n", render::document(&rows, &traces, &around))
    } else {
        render::text(&rows, &runs)
    };
    match &args.output {
        Some(path) => write(path, &text)?,
        None => print(text.as_bytes())?,
    }
    write_files(args, &rows, &kernel.release)?;
    Ok(if whole {
        Tally::of(&rows).exit()
    } else {
        Exit::Interrupted
    })
}

/// A line for each lab that has ended, on standard error.
fn progress(run: &Run, number: usize, of: usize, since: Duration) {
    let what = match &run.findings {
        Ok(_) => format!("{:.1} s", run.took.as_secs_f64()),
        Err(why) => format!("NOT RUN: {why}"),
    };
    if std::io::stderr().is_terminal() || run.findings.is_err() {
        let since = since.as_secs();
        eprintln!("[{number}/{of}, {since} s] {}: {what}", run.trace);
    }
}

fn write_files(args: &CheckArgs, rows: &[Row], release: &str) -> Result<()> {
    if let Some(path) = &args.junit {
        write(path, &render::junit(rows, release)?)?;
    }
    if let Some(path) = &args.write_expect {
        let (known, left_out) = check::expectations(rows, release);
        write(path, &format!("{:#}\n", serde_json::to_value(&known)?))?;
        if !left_out.is_empty() {
            eprintln!(
                "probes: left out of {}, not being settled: {}",
                path.display(),
                left_out.join(", ")
            );
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
}

/// `*` stands for any run of characters.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len())
                .filter(|at| rest.is_char_boundary(*at))
                .any(|at| glob(tail, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{CheckArgs, glob};

    #[derive(clap::Parser)]
    struct Parsed {
        #[command(flatten)]
        check: CheckArgs,
    }

    #[test]
    fn stars_stand_for_anything() {
        assert!(glob("*", "epoll-herd/edge"));
        assert!(glob("epoll-herd/*", "epoll-herd/edge"));
        assert!(glob("*/edge", "epoll-herd/edge"));
        assert!(glob("*herd*", "epoll-herd/edge"));
        assert!(!glob("accept-herd/*", "epoll-herd/edge"));
        assert!(!glob("epoll-herd", "epoll-herd/edge"));
    }

    #[test]
    fn a_trace_s_name_asks_for_all_its_claims() {
        let asks = |only: &str, skip: &str, claim| {
            let args = Parsed::try_parse_from(["check", "--only", only, "--skip", skip]).unwrap();
            args.check.asks_for(claim)
        };
        assert!(asks("epoll-herd", "none", "epoll-herd/edge"));
        assert!(!asks("epoll-herd", "*/edge", "epoll-herd/edge"));
        assert!(!asks("epoll-herd", "none", "accept-herd/cost"));
        assert!(!asks("*", "epoll-*", "epoll-herd/edge"));
    }
}
