//! Follows somebody else's process: attach first, then find its tasks, then listen until told to stop.
//!
//! Tasks are watched as soon as they are found, so whatever they fork from then on is watched in the kernel
//! before it runs. What the tasks and their sockets were before the start comes as marks.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use probes_common::Task;
use serde_json::json;

use super::interrupt::Interrupt;
use super::lab::{Run, rest};
use super::start::start;
use super::{RunOptions, Sightings};
use crate::cli::args::{OutputArgs, TargetArgs};
use crate::exit::{Usage, usage};
use crate::kernel::{Kernel, monotonic_ns, process_lives};
use crate::lab::command::TracedCommand;
use crate::render::Report;
use crate::trace::herd::marks::{HerdMark, TaskMark};
use crate::trace::{Context, Mode, Trace};
use crate::watch::{self, Listening, Target, TargetError};

/// How often the ring is drained: often after a tick that brought much, seldom when nothing comes.
const BUSY: Duration = Duration::from_millis(1);
const IDLE: Duration = Duration::from_millis(20);
const MUCH: u64 = 64;
/// How often it is asked whether the target still lives.
const LIFE: Duration = Duration::from_millis(200);
/// How long a command may take to end after Ctrl-C or -d.
const GRACE: Duration = Duration::from_secs(2);

/// # Errors
/// The run cannot start: no such process, no privilege, a command that cannot be run.
pub fn run(
    kernel: &Kernel,
    trace: &dyn Trace,
    target: &TargetArgs,
    output: &OutputArgs,
    options: &RunOptions,
    interrupt: &Interrupt,
) -> Result<Report> {
    let mut command = match target.command.is_empty() {
        true => None,
        false => Some(TracedCommand::park(&target.command)?),
    };
    let wanted = match &command {
        Some(command) => Target::Pids(vec![command.pid()]),
        None => wanted(target),
    };
    // Before attaching: a bad pid is said at once.
    watch::discover(&wanted, &mut |_| {}).map_err(target_error)?;
    let started = start(kernel, trace, options)?;
    let context = Context {
        trace: trace.name().to_owned(),
        mode: Mode::Watch,
        options: described(target),
        symbols: started.symbols.clone(),
        attached: started.attached_programs(),
        enums: started.enums.clone(),
        timeline: options.timeline,
    };
    let mut run = Run::new(kernel, trace, started, context, options)?;
    let mut sightings = Sightings::default();
    begin(&mut run, &wanted, &mut sightings)?;
    if let Some(command) = &mut command {
        command
            .release()
            .map_err(|error| Usage(format!("{error:#}")))?;
    }
    options.announce_ready()?;
    follow(
        &mut run,
        &mut sightings,
        command.as_mut(),
        output,
        interrupt,
    )?;
    let report = run.finish()?;
    if let Some(command) = command {
        command.end(GRACE);
    }
    Ok(report)
}

fn wanted(target: &TargetArgs) -> Target {
    if let Some(cgroup) = &target.cgroup {
        Target::Cgroup(cgroup.clone())
    } else if let Some(comm) = &target.comm {
        Target::Comm(comm.clone())
    } else {
        Target::Pids(target.pid.clone())
    }
}

fn target_error(error: TargetError) -> anyhow::Error {
    if error.is_usage() {
        Usage(error.to_string()).into()
    } else {
        error.into()
    }
}

fn described(target: &TargetArgs) -> serde_json::Value {
    let command: Vec<String> = target
        .command
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    json!({ "pid": target.pid, "cgroup": target.cgroup, "comm": target.comm, "command": command })
}

/// Watches what is there now and opens the window.
fn begin(run: &mut Run<'_>, wanted: &Target, sightings: &mut Sightings) -> Result<()> {
    let shared = &run.started.shared;
    if let Target::Comm(comm) = wanted {
        shared.set_exec_comm(comm);
    }
    // Open first: what happens between the look and the watch must not be lost.
    shared.set_enabled(true);
    let mut tasks: Vec<(u64, TaskMark)> = Vec::new();
    watch::discover(wanted, &mut |task| {
        shared.watch(task.pid, Task::WATCHED | Task::FOLLOW);
        shared.set_asleep(task.pid, task.asleep);
        tasks.push((monotonic_ns(), task.clone()));
    })
    .map_err(target_error)?;
    if tasks.is_empty() && !matches!(wanted, Target::Comm(_)) {
        return usage("the target has ended before it could be watched");
    }
    for (time, task) in tasks {
        sightings.groups.insert(task.tgid);
        run.started.pump.mark(HerdMark::Task(task).to_mark(time)?);
    }
    sightings.first = true;
    sightings.waits_for_comm = matches!(wanted, Target::Comm(_));
    listen(run, sightings)
}

/// Looks for the sockets the watched processes listen on; says what is new.
fn listen(run: &mut Run<'_>, sightings: &mut Sightings) -> Result<()> {
    let found = Listening::of(&sightings.groups);
    let now = monotonic_ns();
    let shared = &run.started.shared;
    // One namespace can be filtered in the kernel; with several, ports alone decide.
    shared.set_netns(match found.netns.first() {
        Some(only) if found.netns.len() == 1 => *only,
        _ => 0,
    });
    for listener in found.listeners {
        shared.follow_port(listener.port);
        if sightings
            .listeners
            .insert((listener.address.clone(), listener.port, listener.sockets))
        {
            run.started
                .pump
                .mark(HerdMark::Listener(listener).to_mark(now)?);
        }
    }
    if sightings.first {
        for registration in found.registrations {
            run.started
                .pump
                .mark(HerdMark::Registration(registration).to_mark(now)?);
        }
        sightings.first = false;
    }
    Ok(())
}

fn follow(
    run: &mut Run<'_>,
    sightings: &mut Sightings,
    mut command: Option<&mut TracedCommand>,
    output: &OutputArgs,
    interrupt: &Interrupt,
) -> Result<()> {
    let begun = Instant::now();
    let mut next_interval = run.options.interval.map(|interval| begun + interval);
    let mut next_life = begun + LIFE;
    loop {
        let records = run.started.pump.drain();
        run.take_ready(monotonic_ns(), &mut sightings.groups);
        if interrupt.requested() {
            run.ending.interrupted = true;
            return Ok(());
        }
        let now = Instant::now();
        if run
            .options
            .duration
            .is_some_and(|limit| now - begun >= limit)
        {
            return Ok(());
        }
        if let (Some(at), Some(interval)) = (next_interval, run.options.interval)
            && now >= at
        {
            crate::cli::output::interim(&run.sink.fold.interim(), output)?;
            next_interval = Some(at + interval);
        }
        if now >= next_life {
            next_life = now + LIFE;
            let ended = match &mut command {
                Some(command) => command.try_wait().is_some(),
                None => {
                    !sightings.waits_for_comm
                        && !sightings.groups.iter().any(|pid| process_lives(*pid))
                }
            };
            if ended {
                return Ok(());
            }
            listen(run, sightings).context("could not look for listening sockets")?;
        }
        rest(if records >= MUCH { BUSY } else { IDLE });
    }
}
