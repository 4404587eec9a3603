//! Follows somebody else's work: attach first, then find what is there, then listen until told to stop.
//!
//! What is looked for is the subject's matter: `tasks` (and what they listen on) or `sockets`. The loop, the
//! ends by Ctrl-C, -d or the command's own, and the intervals are the same for both.

mod disks;
mod operation;
mod sched;
mod sockets;
mod tasks;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use self::operation::Operation;
use super::RunOptions;
use super::interrupt::Interrupt;
use super::lab::{Run, rest};
use super::start::start;
use crate::cli::args::{OutputArgs, TargetArgs, TraceArgs};
use crate::exit::Usage;
use crate::kernel::{Kernel, monotonic_ns};
use crate::lab::command::TracedCommand;
use crate::render::Report;
use crate::stream::Item;
use crate::trace::{Context, Mode, Trace, Watching};
use crate::watch::{Target, TargetError};

/// How often the ring is drained: often after a tick that brought much, seldom when nothing comes.
const BUSY: Duration = Duration::from_millis(1);
const IDLE: Duration = Duration::from_millis(20);
const MUCH: u64 = 64;
/// How often it is asked whether the target still lives, and what is new about it.
const LIFE: Duration = Duration::from_millis(200);
/// How long a command may take to end after Ctrl-C or -d.
const GRACE: Duration = Duration::from_secs(2);

/// What a watch is about.
trait Subject {
    /// Before attaching: what cannot be is said at once.
    ///
    /// # Errors
    /// No such target.
    fn check(&mut self) -> Result<()>;
    /// For [`Context::options`].
    fn described(&self) -> Value;
    /// Must tasks be followed, whatever the trace's own hooks?
    fn follows_tasks(&self) -> bool;
    /// Opens the window and watches what is there now.
    ///
    /// # Errors
    /// The target is gone, or cannot be looked at.
    fn begin(&mut self, run: &mut Run<'_>) -> Result<()>;
    /// Sees every item before it is folded.
    fn item(&mut self, item: &Item);
    /// Nothing after this time may be folded yet.
    fn hold(&self) -> Option<u64> {
        None
    }
    /// After every tick; cheap.
    ///
    /// # Errors
    /// What was looked for could not be looked at.
    fn tick(&mut self, run: &mut Run<'_>) -> Result<()> {
        let _ = run;
        Ok(())
    }
    /// Now and then: what is new?
    ///
    /// # Errors
    /// As `tick`.
    fn look(&mut self, run: &mut Run<'_>) -> Result<()>;
    /// Is there nobody left to be watched?
    fn ended(&self) -> bool;
    /// The window is about to be cut.
    ///
    /// # Errors
    /// As `tick`.
    fn end(&mut self, run: &mut Run<'_>) -> Result<()> {
        let _ = run;
        Ok(())
    }
}

/// # Errors
/// The run cannot start: no such process, no privilege, a command that cannot be run.
pub fn run(
    kernel: &Kernel,
    trace: &dyn Trace,
    args: &TraceArgs,
    options: &RunOptions,
    interrupt: &Interrupt,
) -> Result<Report> {
    let operation = Operation::of(trace, args)?;
    let mut command = match args.target.command.is_empty() {
        true => None,
        false => {
            let netns = operation.as_ref().map(Operation::netns);
            Some(TracedCommand::park(&args.target.command, netns)?)
        }
    };
    let wanted = match &command {
        Some(command) => Some(Target::Pids(vec![command.pid()])),
        None => wanted(&args.target),
    };
    let mut subject: Box<dyn Subject> = match (trace.watching(), wanted) {
        (Watching::Sockets, wanted) => {
            let queues = trace.lists_queues();
            let place = operation.as_ref().map(Operation::place).transpose()?;
            Box::new(sockets::Sockets::new(wanted, &args.sockets, queues, place))
        }
        (Watching::Disks, wanted) => Box::new(disks::Disks::new(wanted, &args.disks)),
        (Watching::Scheduler, wanted) => Box::new(sched::Scheduler::new(wanted, &args.sched)),
        (_, Some(wanted)) => Box::new(tasks::Tasks::new(wanted)),
        (_, None) => return crate::exit::usage("nobody to watch"),
    };
    subject.check()?;
    let started = start(kernel, trace, Mode::Watch, subject.follows_tasks(), options)?;
    let mut described = described(&args.target);
    if let (Value::Object(all), Value::Object(own)) = (&mut described, subject.described()) {
        all.extend(own);
    }
    let context = Context {
        trace: trace.name().to_owned(),
        mode: Mode::Watch,
        options: described,
        symbols: started.symbols.clone(),
        attached: started.attached_programs(),
        enums: started.enums.clone(),
        timeline: options.timeline,
    };
    let mut run = Run::new(kernel, trace, started, context, options)?;
    subject.begin(&mut run)?;
    if let Some(operation) = &operation {
        operation.begin(&run.started.shared)?;
    }
    if let Some(command) = &mut command {
        command
            .release()
            .map_err(|error| Usage(format!("{error:#}")))?;
    }
    options.announce_ready()?;
    let subject = subject.as_mut();
    follow(&mut run, subject, command.as_mut(), &args.output, interrupt)?;
    subject.end(&mut run)?;
    let report = run.finish()?;
    if let Some(command) = command {
        command.end(GRACE);
    }
    Ok(report)
}

/// None = nobody in particular.
fn wanted(target: &TargetArgs) -> Option<Target> {
    if let Some(cgroup) = &target.cgroup {
        Some(Target::Cgroup(cgroup.clone()))
    } else if let Some(comm) = &target.comm {
        Some(Target::Comm(comm.clone()))
    } else {
        (!target.pid.is_empty()).then(|| Target::Pids(target.pid.clone()))
    }
}

fn target_error(error: TargetError) -> anyhow::Error {
    if error.is_usage() {
        Usage(error.to_string()).into()
    } else {
        error.into()
    }
}

fn described(target: &TargetArgs) -> Value {
    let command: Vec<String> = target
        .command
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    json!({ "pid": target.pid, "cgroup": target.cgroup, "comm": target.comm, "command": command })
}

fn follow(
    run: &mut Run<'_>,
    subject: &mut dyn Subject,
    mut command: Option<&mut TracedCommand>,
    output: &OutputArgs,
    interrupt: &Interrupt,
) -> Result<()> {
    let begun = Instant::now();
    let mut next_interval = run.options.interval.map(|interval| begun + interval);
    let mut next_life = begun + LIFE;
    loop {
        let records = run.started.pump.drain();
        subject.tick(run)?;
        let now = monotonic_ns();
        let until = subject.hold().map_or(now, |hold| hold.min(now));
        run.take_ready(until, |item| subject.item(item));
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
            run.take_counts()?;
            crate::cli::output::interim(&run.sink.fold.interim(), output)?;
            next_interval = Some(at + interval);
        }
        if now >= next_life {
            next_life = now + LIFE;
            let ended = match &mut command {
                Some(command) => command.try_wait().is_some(),
                None => subject.ended(),
            };
            if ended {
                return Ok(());
            }
            subject.look(run).context("could not look for sockets")?;
        }
        rest(if records >= MUCH { BUSY } else { IDLE });
    }
}
