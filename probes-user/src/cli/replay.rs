//! `probes replay FILE`: a recording through fold, verdict and render; no root, no kernel.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::args::OutputArgs;
use super::{output, trace};
use crate::exit::{Exit, usage};
use crate::render::Report;
use crate::stream::record::{Head, Recording};
use crate::trace::find;

#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// A file made with --record
    pub file: PathBuf,
    /// Draw one connection as a swim lane
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "0")]
    pub timeline: Option<u64>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// # Errors
/// Exit code 2: the file is not there, is no recording, is damaged or was cut short.
pub fn run(args: &ReplayArgs) -> Result<Exit> {
    let name = args.file.display();
    let file = match File::open(&args.file) {
        Ok(file) => file,
        Err(error) => return usage(format!("could not open {name}: {error}")),
    };
    match report(BufReader::new(file), args.timeline) {
        Ok(report) => {
            output::report(&report, &args.output)?;
            trace::outcome(&report)
        }
        Err(error) => usage(format!("could not replay {name}: {error:#}")),
    }
}

/// The report that the recorded run printed.
///
/// # Errors
/// See [`Recording`]; also a trace that this version does not have.
pub fn report(file: impl std::io::Read, timeline: Option<u64>) -> Result<Report> {
    let recording = Recording::open(file)?;
    let Head {
        kernel,
        mut context,
        hooks,
    } = recording.head.clone();
    context.timeline = timeline.or(context.timeline);
    let Some(trace) = find(&context.trace) else {
        bail!("this version has no trace {:?}", context.trace);
    };
    let mut fold = trace.fold(&context);
    let tail = recording.items(|item| fold.item(&item))?;
    let outcome = fold.finish(&tail.ending);
    Ok(Report {
        trace: context.trace,
        mode: context.mode,
        kernel,
        options: context.options,
        findings: outcome.findings,
        ledger: outcome.ledger,
        ending: tail.ending,
        hooks,
        stats: tail.stats,
        record_error: None,
    })
}
