//! `probes <trace>`: the lab, or with a target the watch.

use anyhow::{Result, anyhow};

use super::args::TraceArgs;
use super::output;
use crate::exit::{Exit, usage};
use crate::kernel::{Kernel, preflight};
use crate::render::Report;
use crate::session::interrupt::Interrupt;
use crate::session::{self, watch};
use crate::trace::{LabOptions, Mode, Trace, Watching};

pub fn examples(trace: &dyn Trace) -> String {
    let watch: &[(&str, &str)] = match trace.watching() {
        Watching::Nothing => &[],
        Watching::Tasks => &[("-p PID -d 10s", "watch a running server")],
        Watching::Sockets => &[
            ("-p PID -d 10s", "watch a running server"),
            ("-a --local-port 443", "whosever sockets have that port"),
        ],
        Watching::Disks => &[
            ("-p PID -d 10s", "watch a running server"),
            (
                "--disk vda --slower 10ms -d 10s",
                "a disk, and the lives of its slow requests",
            ),
        ],
        Watching::Scheduler => &[
            ("-p PID -d 10s", "watch a running server"),
            ("-a --by cpu -d 10s", "every task of this machine, by CPU"),
            ("-p PID --slower 10ms", "and each delay that long"),
        ],
    };
    let mut text = "Examples:".to_owned();
    let common = [
        ("", "the lab, with verdicts"),
        ("--json -o report.json", "the same as one document"),
    ];
    for (words, what) in common.iter().chain(watch).chain(trace.examples()) {
        let command = format!("sudo probes {} {words}", trace.name());
        text.push_str(&format!("\n  {command:<44}  {what}"));
    }
    text
}

/// # Errors
/// The run could not be done; see `exit`.
pub fn run(trace: &dyn Trace, args: &TraceArgs, lab: &LabOptions) -> Result<Exit> {
    args.check(lab)?;
    if args.target.any() && trace.watching() == Watching::Nothing {
        return usage(format!(
            "{} has a lab and nothing to watch: leave out the target",
            trace.name()
        ));
    }
    let options = args.run_options()?;
    let kernel = Kernel::running()?;
    preflight::ready(
        &kernel,
        if args.watches() {
            Mode::Watch
        } else {
            Mode::Lab
        },
    )?;
    let interrupt = Interrupt::install()?;
    let report = if args.watches() {
        watch::run(&kernel, trace, args, &options, &interrupt)?
    } else {
        session::lab::run(&kernel, trace, lab, &options, &interrupt)?
    };
    output::report(&report, &args.output)?;
    outcome(&report)
}

/// # Errors
/// A recording that could not be finished, after the report has been printed.
pub fn outcome(report: &Report) -> Result<Exit> {
    if let Some(error) = &report.record_error {
        return Err(anyhow!(
            "the recording is incomplete: {error}; the report above is whole"
        ));
    }
    if report.ending.interrupted {
        return Ok(Exit::Interrupted);
    }
    if report.mode == Mode::Watch && !report.ending.missing.is_empty() {
        let hooks: Vec<&str> = report
            .ending
            .missing
            .iter()
            .map(|(hook, _)| hook.as_str())
            .collect();
        return Err(anyhow!(
            "needed hooks did not attach: {}; see `probes doctor`",
            hooks.join(", ")
        ));
    }
    Ok(Exit::of_findings(&report.findings))
}
