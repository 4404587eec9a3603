//! `probes <trace>`: the lab, or with a target the watch.

use anyhow::{Result, anyhow};

use super::args::TraceArgs;
use super::output;
use crate::exit::Exit;
use crate::kernel::{Kernel, preflight};
use crate::render::Report;
use crate::session::interrupt::Interrupt;
use crate::session::{lab, watch};
use crate::trace::{Mode, Trace};

pub fn examples(name: &str) -> String {
    format!(
        "Examples:
  sudo probes {name}                       the lab, with verdicts
  sudo probes {name} --workers 8 --timeline
  sudo probes {name} --json -o report.json
  sudo probes {name} -p PID -d 10s         watch a running server
  sudo probes {name} -n nginx -i 1s        every process of that name
  sudo probes {name} -- ./server --port 80 watch a command from its first instruction"
    )
}

/// # Errors
/// The run could not be done; see `exit`.
pub fn run(trace: &dyn Trace, args: &TraceArgs) -> Result<Exit> {
    args.check()?;
    let options = args.run_options()?;
    let kernel = Kernel::running()?;
    preflight::ready(
        &kernel,
        if args.target.any() {
            Mode::Watch
        } else {
            Mode::Lab
        },
    )?;
    let interrupt = Interrupt::install()?;
    let report = if args.target.any() {
        watch::run(
            &kernel,
            trace,
            &args.target,
            &args.output,
            &options,
            &interrupt,
        )?
    } else {
        lab::run(&kernel, trace, &args.lab.options(), &options, &interrupt)?
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
