//! The command line. One subcommand per trace, all with the same letters; the rest looks things up.

pub mod args;
pub mod check;
pub mod disks;
pub mod docs;
pub mod look;
pub mod output;
pub mod replay;
pub mod sched;
pub mod sockets;
pub mod trace;

use std::ffi::OsString;

use anyhow::Result;
use clap::{Args, Command, FromArgMatches};

use crate::exit::{Exit, Usage};
use crate::trace::TRACES;

const AFTER: &str = "Examples:
  sudo probes epoll-herd                 provoke, watch, judge
  sudo probes epoll-herd -p $(pgrep -o nginx) -d 10s
                                         the same watch on a running server
  probes explain epoll-herd              what it proves and how

Exit codes: 0 every claim settled; 1 differs from the expectation (check); 2 usage; 3 cannot run;
4 inconclusive; 130 interrupted, with what was known printed.";

/// The whole command, built from the registry of traces.
pub fn command() -> Command {
    let mut command = Command::new("probes")
        .version(env!("CARGO_PKG_VERSION"))
        .about(
            "Settles what the Linux kernel really does: provokes it, watches it with eBPF, judges",
        )
        .after_help(AFTER)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true);
    for (order, trace) in TRACES.iter().enumerate() {
        let sub = Command::new(trace.name())
            .about(trace.summary())
            .display_order(order)
            .after_help(trace::examples(*trace));
        command = command.subcommand(args::augment(sub, *trace));
    }
    command
        .subcommand(check::CheckArgs::augment_args(
            Command::new("check")
                .about("Run every lab and compare with what is known of this kernel")
                .after_help(check::EXAMPLES)
                .display_order(100),
        ))
        .subcommands(look::commands())
        .subcommand(replay::ReplayArgs::augment_args(
            Command::new("replay")
                .about("Run a recording through the same pipeline, without root")
                .display_order(106),
        ))
}

/// # Errors
/// What stops a run: see `exit`.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<Exit> {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            let code = error.exit_code();
            // Help and version go to standard output, errors to standard error.
            error.print()?;
            return Ok(if code == 0 {
                Exit::Settled
            } else {
                Exit::Usage
            });
        }
    };
    let Some((name, sub)) = matches.subcommand() else {
        return Err(Usage("no command".to_owned()).into());
    };
    if let Some(trace) = crate::trace::find(name) {
        let lab = args::lab_options(trace, sub);
        return trace::run(trace, &args::trace_args(trace, sub)?, &lab);
    }
    match name {
        "check" => check::run(&check::CheckArgs::from_arg_matches(sub)?),
        "replay" => replay::run(&replay::ReplayArgs::from_arg_matches(sub)?),
        _ => look::run(name, sub),
    }
}
