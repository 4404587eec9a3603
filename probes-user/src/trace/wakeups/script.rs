//! The scripts: two tasks that hand something to and fro on one CPU, one that sleeps, three in a row.
//!
//! The tasks are parked, followed and asleep before the first turn, and parked again when the kernel's own
//! counts of them are read, so that counts and events speak of the same span.

use std::io::{PipeReader, PipeWriter, pipe};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use probes_common::Task;
use rustix::thread::{CpuSet, sched_getaffinity};
use serde_json::json;

use super::marks::{ONE_CPU, TOLD, TaskTold, Told};
use super::roles::{Board, DONE, FAILED, Link, OPEN, PARKED, Role, TASKS, TURNS, play, stay_on};
use crate::lab::account::{self, Account};
use crate::lab::child::{Child, set_name};
use crate::lab::script::{Case, Stage};
use crate::lab::shared::{open, park};

pub const PIPE: &str = "pipe";
pub const FUTEX: &str = "futex";
pub const ORDINARY: &str = "ordinary";
pub const SLEEP: &str = "sleep";
pub const APART: &str = "chain-apart";
pub const BUSY: &str = "chain-busy";
pub const MOVED: &str = "chain-moved";

const BUDGET: Duration = Duration::from_secs(60);
const ORDINARY_TURNS: usize = 50;
const CHAIN_TURNS: usize = 30;
const NAPS: usize = 20;
const NAP: Duration = Duration::from_millis(1);
/// What each of a chain works before it hands on, and keeps the CPU afterwards.
pub const WORK: Duration = Duration::from_micros(200);
pub const HOLD: Duration = Duration::from_micros(300);

const NAMES: [&std::ffi::CStr; TASKS] = [c"wake-a", c"wake-b", c"wake-c"];

pub fn cases(wanted: impl Fn(&str) -> bool) -> Vec<Case> {
    let all = [
        Case::new(PIPE, BUDGET, |stage| {
            to_and_fro(stage, true, libc::SCHED_FIFO, TURNS)
        }),
        Case::new(FUTEX, BUDGET, |stage| {
            to_and_fro(stage, false, libc::SCHED_FIFO, TURNS)
        }),
        Case::new(ORDINARY, BUDGET, |stage| {
            to_and_fro(stage, true, libc::SCHED_OTHER, ORDINARY_TURNS)
        }),
        Case::new(SLEEP, BUDGET, sleeper),
        Case::new(APART, BUDGET, |stage| chain(stage, Placing::Apart)),
        Case::new(BUSY, BUDGET, |stage| chain(stage, Placing::Together)),
        Case::new(MOVED, BUDGET, |stage| chain(stage, Placing::Moved)),
    ];
    all.into_iter().filter(|case| wanted(&case.label)).collect()
}

/// The first and the last CPU that is allowed; one and the same where there is but one.
fn cpus() -> Result<[usize; 2]> {
    let allowed = sched_getaffinity(None).context("could not ask for the allowed CPUs")?;
    let mut all = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    let first = all.next().context("no CPU is allowed")?;
    Ok([first, all.last().unwrap_or(first)])
}

/// Pipes, open as long as the tasks live.
struct Pipes(Vec<(PipeReader, PipeWriter)>);

impl Pipes {
    fn new(count: usize) -> Result<Pipes> {
        let pipes = (0..count).map(|_| pipe()).collect::<std::io::Result<_>>();
        Ok(Pipes(pipes.context("could not make a pipe")?))
    }

    fn link(&self, index: usize) -> Link {
        let (read, write) = &self.0[index];
        Link::Pipe {
            read: read.as_raw_fd(),
            write: write.as_raw_fd(),
        }
    }
}

fn to_and_fro(stage: &mut Stage, by_pipe: bool, policy: i32, turns: usize) -> Result<()> {
    let pipes = Pipes::new(2)?;
    let link = |index: usize| match by_pipe {
        true => pipes.link(index),
        false => Link::Futex(index),
    };
    let (there, back) = (link(1), link(0));
    let cpu = cpus()?[1];
    let first = Role {
        turns,
        gives: Some(there),
        answer: Some(back),
        awaits: &[1],
        ..Role::default()
    };
    let second = Role {
        task: 1,
        turns,
        takes: Some(there),
        gives: Some(back),
        ..Role::default()
    };
    run(stage, policy, &[(first, cpu), (second, cpu)])
}

fn sleeper(stage: &mut Stage) -> Result<()> {
    let role = Role {
        turns: NAPS,
        naps: Some(NAP),
        ..Role::default()
    };
    run(stage, libc::SCHED_FIFO, &[(role, cpus()?[1])])
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placing {
    /// Neighbours on different CPUs.
    Apart,
    /// All on one, and each keeps it for a while after it has handed on.
    Together,
    /// Each sleeper is put onto another CPU before it is woken.
    Moved,
}

fn chain(stage: &mut Stage, placing: Placing) -> Result<()> {
    let [one, other] = cpus()?;
    if placing == Placing::Moved && one == other {
        stage.note(ONE_CPU, json!({}));
        return Ok(());
    }
    let pipes = Pipes::new(2)?;
    let together = placing == Placing::Together;
    let hold = if together { HOLD } else { Duration::ZERO };
    let role = |task: usize| Role {
        task,
        turns: CHAIN_TURNS,
        takes: task.checked_sub(1).map(|before| pipes.link(before)),
        gives: (task + 1 < TASKS).then(|| pipes.link(task)),
        work: WORK,
        hold,
        awaits: if task == 0 { &[1, 2] } else { &[] },
        moves: (placing == Placing::Moved).then_some([one, other]),
        ..Role::default()
    };
    let place = |task: usize| {
        if together || task % 2 == 1 {
            other
        } else {
            one
        }
    };
    let roles: Vec<(Role, usize)> = (0..TASKS).map(|task| (role(task), place(task))).collect();
    run(stage, libc::SCHED_FIFO, &roles)
}

/// One task before the gate and, once it has played, before the next.
fn body(role: &Role, cpu: usize, policy: i32, board: &Board, stage: &Stage) -> i32 {
    set_name(NAMES[role.task]);
    let ready = stay_on(0, cpu) && scheduled(policy);
    board
        .state(role.task)
        .store(if ready { PARKED } else { FAILED }, Ordering::Release);
    park(board.gate(), 0);
    let played = play(role, board, stage.view());
    board
        .state(role.task)
        .store(if played { DONE } else { FAILED }, Ordering::Release);
    park(board.gate(), OPEN).cast_signed()
}

fn scheduled(policy: i32) -> bool {
    let param = libc::sched_param {
        sched_priority: i32::from(policy == libc::SCHED_FIFO),
    };
    // SAFETY: reads one parameter of ours.
    unsafe { libc::sched_setscheduler(0, policy, &raw const param) == 0 }
}

/// Where real-time scheduling is not granted (a control group without any), SCHED_BATCH: a task of it preempts
/// nobody on being woken.
fn granted(policy: i32) -> (i32, &'static str) {
    if policy == libc::SCHED_OTHER {
        return (policy, "SCHED_OTHER");
    }
    let tried = std::thread::spawn(move || scheduled(policy)).join();
    match tried {
        Ok(true) => (policy, "SCHED_FIFO"),
        _ => (libc::SCHED_BATCH, "SCHED_BATCH"),
    }
}

fn run(stage: &Stage, policy: i32, roles: &[(Role, usize)]) -> Result<()> {
    let board = Board::new().context("no memory to share")?;
    let (policy, name) = granted(policy);
    let mut children = Vec::new();
    for (role, cpu) in roles {
        // SAFETY: the body makes system calls and writes to shared memory.
        let child = unsafe { Child::fork(|| body(role, *cpu, policy, &board, stage)) };
        let child = child.context("could not fork")?;
        board.pid(role.task).store(child.pid(), Ordering::Release);
        children.push(child);
    }
    await_state(stage, &board, &children, PARKED)?;
    for child in &children {
        stage.view().follow(child.pid(), Task::WATCHED)?;
    }
    let from = accounts(&children)?;
    open(board.gate(), OPEN);
    let played = await_state(stage, &board, &children, DONE);
    let to = accounts(&children)?;
    for child in &children {
        stage.view().follow(child.pid(), 0)?;
    }
    played?;
    let tasks = roles.iter().zip(&children).zip(from.into_iter().zip(to));
    let told = Told {
        tasks: tasks
            .map(|(((role, _), child), (from, to))| TaskTold {
                name: NAMES[role.task].to_string_lossy().into_owned(),
                pid: child.pid(),
                turns: (0..role.turns)
                    .map(|turn| board.turn(role.task, turn))
                    .collect(),
                from,
                to,
            })
            .collect(),
        turns: roles.first().map_or(0, |(role, _)| role.turns),
        policy: name.to_owned(),
    };
    stage.note(TOLD, serde_json::to_value(told)?);
    Ok(())
}

fn await_state(stage: &Stage, board: &Board, children: &[Child], wanted: u32) -> Result<()> {
    stage.wait("the tasks have come so far", || {
        let states = (0..children.len()).map(|task| board.state(task).load(Ordering::Acquire));
        let states: Vec<u32> = states.collect();
        if states.contains(&FAILED) || children.iter().any(Child::ended) {
            bail!("a task failed");
        }
        Ok(states.iter().all(|state| *state == wanted).then_some(()))
    })
}

/// All are about to park.
fn accounts(children: &[Child]) -> Result<Vec<(u64, Account)>> {
    let account = |child: &Child| {
        let found = account::settled(child.pid(), BUDGET);
        found.context("what the kernel counts of a task could not be read")
    };
    children.iter().map(account).collect()
}
