//! The options every trace has.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches as _};

use super::disks::DiskArgs;
use super::sched::SchedArgs;
use super::sockets::SocketArgs;
use crate::exit::usage;
use crate::instrument::Without;
use crate::session::RunOptions;
use crate::trace::{LabOption, LabOptions, Trace, Watching};

// No doc comment: it would become the subcommand's description.
#[derive(Debug, Clone, Args)]
pub struct TraceArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// Of traces that watch sockets.
    #[arg(skip)]
    pub sockets: SocketArgs,
    /// Of traces that watch disks.
    #[arg(skip)]
    pub disks: DiskArgs,
    /// Of traces that watch the scheduler.
    #[arg(skip)]
    pub sched: SchedArgs,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Watch somebody's own process, its threads and descendants included")]
pub struct TargetArgs {
    /// These processes
    #[arg(
        short,
        long,
        value_name = "PID",
        value_delimiter = ',',
        group = "target"
    )]
    pub pid: Vec<u32>,
    /// The processes of this cgroup (a path, or a name below the mount)
    #[arg(short, long, value_name = "CGROUP", group = "target")]
    pub cgroup: Option<PathBuf>,
    /// Processes of this name, present and future
    #[arg(short = 'n', long, value_name = "COMM", group = "target")]
    pub comm: Option<String>,
    /// Run this command and watch it
    #[arg(last = true, value_name = "CMD", group = "target")]
    pub command: Vec<std::ffi::OsString>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Stop after this long (10s, 500ms, 2m)
    #[arg(short, long, value_name = "D", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Print the ledger this often while watching
    #[arg(short, long, value_name = "D", value_parser = duration)]
    pub interval: Option<Duration>,
    /// Draw one connection as a swim lane: its number in the run, from 0
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "0")]
    pub timeline: Option<u64>,
    /// Show start-up time by part, memory, events per second and ns per event
    #[arg(long)]
    pub stats: bool,
    /// Keep the stream in a file for `probes replay`
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Size of the event ring, KiB (rounded up to a power of two)
    #[arg(long, value_name = "KIB", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(4..=1 << 20))]
    pub ring: u32,
    /// Create this file when everything is attached
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Do without a hook, or one rung of its ladder: HOOK or HOOK:tp_btf|raw_tp|fentry|fexit (repeatable)
    #[arg(long, value_name = "HOOK")]
    pub without: Vec<String>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// One JSON document (schema probes.report/1)
    #[arg(short, long)]
    pub json: bool,
    /// Write the report to a file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// A line with the time of day before each interval's ledger
    #[arg(short = 'T', long)]
    pub timestamp: bool,
    /// All tables and every hook
    #[arg(short, long)]
    pub verbose: bool,
}

const LAB: &str = "Lab (no target given)";

/// A trace's subcommand: its lab's options, then what all traces have.
pub fn augment(command: Command, trace: &dyn Trace) -> Command {
    let own = trace.options().iter().map(|option| {
        let arg = Arg::new(option.name)
            .long(option.name)
            .help(option.help)
            .help_heading(LAB);
        match option.value {
            "" => arg.action(ArgAction::SetTrue),
            "N" => arg.value_name("N").value_parser(clap::value_parser!(u32)),
            "D" => arg.value_name("D").value_parser(duration),
            other => arg.value_name(other),
        }
    });
    let variant = Arg::new("variant")
        .long("variant")
        .value_name("NAME")
        .action(ArgAction::Append)
        .help("Only scenes whose name contains this (repeatable)")
        .help_heading(LAB);
    let command = TraceArgs::augment_args(command.args(own).arg(variant));
    let command = match trace.watching() {
        Watching::Sockets => SocketArgs::augment_args(command),
        Watching::Disks => DiskArgs::augment_args(command),
        Watching::Scheduler => SchedArgs::augment_args(command),
        Watching::Tasks | Watching::Nothing => command,
    };
    if trace.draws_timelines() {
        command
    } else {
        command.mut_arg("timeline", no_timeline)
    }
}

/// Refused, and not in the help.
fn no_timeline(timeline: Arg) -> Arg {
    timeline
        .hide(true)
        .value_parser(|_: &str| -> Result<u64, String> { Err("this trace draws none".to_owned()) })
}

/// # Errors
/// Never for what clap has checked.
pub fn trace_args(trace: &dyn Trace, matches: &ArgMatches) -> Result<TraceArgs> {
    let mut args = TraceArgs::from_arg_matches(matches)?;
    if trace.watching() == Watching::Sockets {
        args.sockets = SocketArgs::from_arg_matches(matches)?;
    }
    if trace.watching() == Watching::Disks {
        args.disks = DiskArgs::from_arg_matches(matches)?;
    }
    if trace.watching() == Watching::Scheduler {
        args.sched = SchedArgs::from_arg_matches(matches)?;
    }
    Ok(args)
}

/// What was asked of the lab. A flag counts when it was given.
pub fn lab_options(trace: &dyn Trace, matches: &ArgMatches) -> LabOptions {
    let typed = |option: &LabOption| {
        if matches.value_source(option.name) != Some(ValueSource::CommandLine) {
            return None;
        }
        let raw = matches.get_raw(option.name).into_iter().flatten().next();
        let text = raw.map(|raw| raw.to_string_lossy().into_owned());
        Some((option.name.to_owned(), text.unwrap_or_default()))
    };
    let variants = matches.get_many::<String>("variant").into_iter().flatten();
    LabOptions {
        values: trace.options().iter().filter_map(typed).collect(),
        variants: variants.cloned().collect(),
    }
}

impl TargetArgs {
    pub fn any(&self) -> bool {
        !self.pid.is_empty()
            || self.cgroup.is_some()
            || self.comm.is_some()
            || !self.command.is_empty()
    }
}

impl TraceArgs {
    /// A watch, and no lab?
    pub fn watches(&self) -> bool {
        self.target.any() || self.sockets.any() || self.disks.any() || self.sched.any()
    }

    /// Options that contradict each other.
    ///
    /// # Errors
    /// Exit code 2, with what to leave out.
    pub fn check(&self, lab: &LabOptions) -> Result<()> {
        if self.watches() && (!lab.values.is_empty() || !lab.variants.is_empty()) {
            return usage(
                "lab options and a target exclude each other: leave out -p, -c, -n or the command for the lab",
            );
        }
        if !self.watches() && (self.run.duration.is_some() || self.run.interval.is_some()) {
            return usage("-d and -i belong to watching: add -p PID, -c CGROUP, -n COMM or -- CMD");
        }
        Ok(())
    }

    /// # Errors
    /// An unknown hook in `--without`.
    pub fn run_options(&self) -> Result<RunOptions> {
        let run = &self.run;
        Ok(RunOptions {
            duration: run.duration,
            interval: run.interval,
            stats: run.stats,
            record: run.record.clone(),
            timeline: run.timeline,
            ready_file: run.ready_file.clone(),
            ring_bytes: (run.ring << 10).next_power_of_two(),
            without: Without::parse(&run.without)
                .or_else(|error| usage(format!("--without: {error}")))?,
            surgeon: !self.sockets.drop.is_empty(),
            progress: std::io::IsTerminal::is_terminal(&std::io::stderr()),
        })
    }
}

/// `10s`, `500ms`, `250us`, `2m`; a bare number is seconds.
///
/// # Errors
/// Anything else, and zero.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no duration: 10s, 500ms, 2m"))?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(format!("{unit:?} is no unit of time: us, ms, s, m or h")),
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("{text:?} is out of range")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_is_offered_where_one_is_drawn() {
        for trace in crate::trace::TRACES {
            let mut command = augment(Command::new("trace"), *trace);
            let help = command.render_long_help().to_string();
            assert_eq!(help.contains("--timeline"), trace.draws_timelines());
            let given = command.try_get_matches_from(["trace", "--timeline"]);
            assert_eq!(given.is_ok(), trace.draws_timelines(), "{}", trace.name());
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "s", "0", "-1s", "5 parsecs", "1e9h", "10sec"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
