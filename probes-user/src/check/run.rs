//! Runs the labs, each as a process of its own: what one leaves open or slow touches no other.
//!
//! Two run side by side, except those whose numbers are times and costs (`Trace::alone`). A process ends with the
//! thread that started it, so a killed check leaves nothing behind.

use std::collections::VecDeque;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use super::Run;
use crate::evidence::Finding;
use crate::render::report::HookReport;
use crate::session::interrupt::Interrupt;
use crate::trace::Trace;

/// Between two looks at a running lab.
const TICK: Duration = Duration::from_millis(20);

/// How often a lab is run before what it leaves inconclusive stays so.
const TRIES: usize = 3;

/// What is read of a report.
#[derive(Deserialize)]
struct Told {
    claims: Vec<Finding>,
    hooks: Vec<HookReport>,
    interrupted: bool,
}

/// How the labs are to be run.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    pub rounds: usize,
    /// At once.
    pub jobs: usize,
    /// MiB, for labs that take `--size`.
    pub size: Option<u32>,
    /// Hooks that every lab does without.
    pub without: &'a [String],
}

/// Runs each of these as often and as many at once as `how` says; `done` hears of each run as it ends, with how many
/// there will be. After an interrupt the runs that had ended are what there is.
///
/// # Errors
/// A thread could not be started.
pub fn all(
    traces: &[&'static dyn Trace],
    how: How<'_>,
    interrupt: &Interrupt,
    mut done: impl FnMut(&Run, usize, usize),
) -> Result<Vec<Run>> {
    let (alone, beside): (Vec<_>, Vec<_>) = traces.iter().copied().partition(|its| its.alone());
    let of = traces.len() * how.rounds;
    let mut runs: Vec<Run> = Vec::with_capacity(of);
    let mut ended = 0;
    for _ in 0..how.rounds {
        for (traces, jobs) in [(&alone, 1), (&beside, how.jobs)] {
            side_by_side(traces, How { jobs, ..how }, interrupt, |run| {
                ended += usize::from(!run.again);
                done(&run, ended, of);
                runs.push(run);
            })?;
        }
    }
    // Interrupted before the next try: what there is, is what it said.
    for trace in traces {
        let last = runs.iter_mut().rfind(|run| run.trace == trace.name());
        if let Some(run) = last {
            run.again = false;
        }
    }
    Ok(runs)
}

fn side_by_side(
    traces: &[&'static dyn Trace],
    how: How<'_>,
    interrupt: &Interrupt,
    mut done: impl FnMut(Run),
) -> Result<()> {
    let left: Mutex<VecDeque<&'static dyn Trace>> = Mutex::new(traces.iter().copied().collect());
    std::thread::scope(|scope| {
        let (tell, told): (Sender<Run>, Receiver<Run>) = channel();
        for number in 0..how.jobs.min(traces.len()) {
            let (tell, left) = (tell.clone(), &left);
            std::thread::Builder::new()
                .name(format!("check-{number}"))
                .spawn_scoped(scope, move || {
                    while let Some(trace) = next(left, interrupt) {
                        tries(trace, how, interrupt, &tell);
                    }
                })
                .context("could not start a thread")?;
        }
        drop(tell);
        told.iter().for_each(&mut done);
        Ok(())
    })
}

/// Runs a lab until it leaves nothing open, or often enough.
fn tries(trace: &'static dyn Trace, how: How<'_>, interrupt: &Interrupt, tell: &Sender<Run>) {
    for number in 1..=TRIES {
        let begun = Instant::now();
        let (findings, hooks) = match one(trace, how, interrupt) {
            Ok(None) => return,
            Ok(Some(told)) => (Ok(told.claims), told.hooks),
            Err(why) => (Err(format!("{why:#}")), Vec::new()),
        };
        let mut run = Run {
            trace: trace.name(),
            findings,
            hooks,
            took: begun.elapsed(),
            again: false,
        };
        run.again = number < TRIES && run.left_open().next().is_some() && !interrupt.requested();
        let again = run.again;
        if tell.send(run).is_err() || !again {
            return;
        }
    }
}

fn next(
    left: &Mutex<VecDeque<&'static dyn Trace>>,
    interrupt: &Interrupt,
) -> Option<&'static dyn Trace> {
    let trace = left.lock().ok()?.pop_front();
    trace.filter(|_| !interrupt.requested())
}

/// None = interrupted.
fn one(trace: &dyn Trace, how: How<'_>, interrupt: &Interrupt) -> Result<Option<Told>> {
    let mut child = start(trace, how)?;
    let (Some(mut out), Some(mut errors)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(anyhow!("no pipe to {}", trace.name()));
    };
    // Read while it runs: a full pipe would stop it.
    let read = |pipe: &mut dyn std::io::Read| {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).map(|_| bytes)
    };
    let (report, said) = std::thread::scope(|scope| {
        let report = scope.spawn(move || read(&mut out));
        let said = scope.spawn(move || read(&mut errors));
        let ended = wait(&mut child, interrupt);
        let joined = |bytes: std::thread::Result<std::io::Result<Vec<u8>>>| {
            bytes
                .map_err(|_| anyhow!("a reader panicked"))?
                .context("could not read its output")
        };
        ended.and(Ok((joined(report.join())?, joined(said.join())?)))
    })?;
    if interrupt.requested() {
        return Ok(None);
    }
    match serde_json::from_slice::<Told>(&report) {
        Ok(told) if !told.interrupted => Ok(Some(told)),
        Ok(_) => Err(anyhow!("it was interrupted")),
        Err(_) => {
            let said = String::from_utf8_lossy(&said);
            let last = said.lines().rfind(|line| !line.trim().is_empty());
            let plain = last.map(|line| line.trim_start_matches("probes: ").to_owned());
            Err(anyhow!(
                plain.unwrap_or_else(|| "it ended without a report".to_owned())
            ))
        }
    }
}

fn start(trace: &dyn Trace, how: How<'_>) -> Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.arg(trace.name());
    let takes_size = trace.options().iter().any(|option| option.name == "size");
    if let Some(size) = how.size.filter(|_| takes_size) {
        command.args(["--size", &size.to_string()]);
    }
    for hook in how.without {
        command.args(["--without", hook]);
    }
    command
        .arg("--json")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C is passed on once; a second one would end it without a report.
        .process_group(0);
    // SAFETY: prctl is one system call, which may be made between fork and exec.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            Ok(())
        });
    }
    command
        .spawn()
        .with_context(|| format!("could not start the lab of {}", trace.name()))
}

fn wait(child: &mut Child, interrupt: &Interrupt) -> Result<()> {
    let mut passed_on = false;
    while child.try_wait()?.is_none() {
        if interrupt.requested() && !passed_on {
            passed_on = true;
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                // It may have ended just now.
                let _ended = kill_process(pid, Signal::INT);
            }
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}
