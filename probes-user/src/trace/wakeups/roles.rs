//! What the lab's tasks do: take something, work, hand it on, keep the CPU for a while; and stamp each step.
//!
//! They are forked children: after the fork they make system calls and write atomics, nothing else. All run
//! under SCHED_FIFO at the lowest priority, so that no ordinary task comes between two of them on their CPU.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::thread::futex;
use rustix::thread::{ClockId, clock_nanosleep_absolute};
use rustix::time::Timespec;

use super::marks::Turn;
use crate::lab::KernelView;
use crate::lab::shared::{Shared, now, park, pause};

pub const TASKS: usize = 3;
pub const TURNS: usize = 200;
const STAMPS: usize = 4;
/// How long the first task waits for the others to be asleep.
const ASLEEP_BUDGET: u64 = 10_000_000_000;
/// Longer than a chain takes, so that who looks does not come between the others.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// The memory between the script and its tasks: a gate, then per task a state, a pid and a word to wait at,
/// then the stamps.
pub struct Board(Shared);

/// States of a task.
pub const PARKED: u32 = 1;
pub const DONE: u32 = 2;
pub const FAILED: u32 = 3;
/// Of the gate.
pub const OPEN: u32 = 1;

const STAMPS_AT: usize = 256;

impl Board {
    pub fn new() -> std::io::Result<Board> {
        let board = Board(Shared::new(STAMPS_AT + 8 * TASKS * TURNS * STAMPS)?);
        // Touched before the fork, so that no page fault falls into what is measured.
        for cell in board
            .0
            .cells::<AtomicU64>(0, STAMPS_AT / 8 + TASKS * TURNS * STAMPS)
        {
            cell.store(0, Ordering::Relaxed);
        }
        Ok(board)
    }

    fn words(&self) -> &[AtomicU32] {
        self.0.cells(0, 1 + 3 * TASKS)
    }

    pub fn gate(&self) -> &AtomicU32 {
        &self.words()[0]
    }

    pub fn state(&self, task: usize) -> &AtomicU32 {
        &self.words()[1 + task]
    }

    pub fn pid(&self, task: usize) -> &AtomicU32 {
        &self.words()[1 + TASKS + task]
    }

    fn word(&self, task: usize) -> &AtomicU32 {
        &self.words()[1 + 2 * TASKS + task]
    }

    fn stamps(&self, task: usize, turn: usize) -> &[AtomicU64] {
        let at = STAMPS_AT + 8 * STAMPS * (task * TURNS + turn);
        self.0.cells(at, STAMPS)
    }

    pub fn turn(&self, task: usize, turn: usize) -> Turn {
        let stamps = self.stamps(task, turn);
        let at = |index: usize| stamps[index].load(Ordering::Acquire);
        Turn {
            got: at(0),
            before: at(1),
            after: at(2),
            until: at(3),
        }
    }
}

/// A way to hand something to the next task.
#[derive(Debug, Clone, Copy)]
pub enum Link {
    Pipe {
        read: RawFd,
        write: RawFd,
    },
    /// The word of this task.
    Futex(usize),
}

impl Link {
    fn give(self, board: &Board) -> bool {
        match self {
            Link::Pipe { write, .. } => {
                // SAFETY: writes one byte of ours to a descriptor that the script keeps open.
                unsafe { libc::write(write, [0_u8].as_ptr().cast(), 1) == 1 }
            }
            Link::Futex(task) => {
                board.word(task).fetch_add(1, Ordering::AcqRel);
                futex::wake(board.word(task), futex::Flags::empty(), 1).is_ok()
            }
        }
    }

    /// Sleeps until it has been given more than `turn` times.
    fn take(self, board: &Board, turn: usize) -> bool {
        match self {
            Link::Pipe { read, .. } => {
                let mut byte = [0_u8];
                // SAFETY: reads one byte into our own.
                unsafe { libc::read(read, byte.as_mut_ptr().cast(), 1) == 1 }
            }
            Link::Futex(task) => {
                let turn = u32::try_from(turn).unwrap_or(u32::MAX);
                park(board.word(task), turn) > turn
            }
        }
    }
}

/// What one task does in each turn.
#[derive(Debug, Clone, Copy, Default)]
pub struct Role {
    pub task: usize,
    pub turns: usize,
    /// None = it begins the turn.
    pub takes: Option<Link>,
    pub gives: Option<Link>,
    /// Taken after giving: the answer.
    pub answer: Option<Link>,
    /// Keeps the CPU between taking and giving, and after giving.
    pub work: Duration,
    pub hold: Duration,
    /// Before each turn it waits until these are asleep, and puts them onto these CPUs in turn.
    pub awaits: &'static [usize],
    pub moves: Option<[usize; 2]>,
    /// Sleeps so long in each turn, instead of all that.
    pub naps: Option<Duration>,
}

fn spin(duration: Duration) -> u64 {
    let until = now() + u64::try_from(duration.as_nanos()).unwrap_or(0);
    loop {
        let at = now();
        if at >= until {
            return at;
        }
        std::hint::spin_loop();
    }
}

/// The body of the child, after its scheduling has been set.
pub fn play(role: &Role, board: &Board, view: &dyn KernelView) -> bool {
    (0..role.turns).all(|turn| match role.naps {
        Some(nap) => sleep(role, board, turn, nap),
        None => take_turn(role, board, view, turn),
    })
}

fn take_turn(role: &Role, board: &Board, view: &dyn KernelView, turn: usize) -> bool {
    let stamps = board.stamps(role.task, turn);
    let stamp = |index: usize, at: u64| stamps[index].store(at, Ordering::Release);
    let ready = match role.takes {
        Some(link) => link.take(board, turn),
        None => all_asleep(role, board, view) && moved(role, board, turn),
    };
    if !ready {
        return false;
    }
    if role.takes.is_some() {
        stamp(0, now());
    }
    spin(role.work);
    if let Some(link) = role.gives {
        stamp(1, now());
        if !link.give(board) {
            return false;
        }
        stamp(2, now());
    }
    if !role.hold.is_zero() {
        stamp(3, spin(role.hold));
    }
    if let Some(link) = role.answer {
        if !link.take(board, turn) {
            return false;
        }
        stamp(0, now());
    }
    true
}

/// By `sched_switch`, not by /proc.
fn all_asleep(role: &Role, board: &Board, view: &dyn KernelView) -> bool {
    let end = now() + ASLEEP_BUDGET;
    let asleep = |task: &usize| view.asleep(board.pid(*task).load(Ordering::Acquire));
    while !role.awaits.iter().all(asleep) {
        if now() >= end {
            return false;
        }
        pause(LOOK_AGAIN);
    }
    true
}

/// A sleeper is not moved at once: the kernel moves it when it is woken.
fn moved(role: &Role, board: &Board, turn: usize) -> bool {
    let Some(cpus) = role.moves else {
        return true;
    };
    role.awaits.iter().all(|task| {
        let pid = board.pid(*task).load(Ordering::Acquire);
        // Neighbours are on different CPUs, and each on another one than the turn before.
        stay_on(pid, cpus[(turn + task + 1) % 2])
    })
}

/// 0 = the caller.
pub fn stay_on(pid: u32, cpu: usize) -> bool {
    let mut only = rustix::thread::CpuSet::new();
    only.set(cpu);
    rustix::thread::sched_setaffinity(rustix::thread::Pid::from_raw(pid.cast_signed()), &only)
        .is_ok()
}

fn sleep(role: &Role, board: &Board, turn: usize, nap: Duration) -> bool {
    let stamps = board.stamps(role.task, turn);
    let stamp = |index: usize, at: u64| stamps[index].store(at, Ordering::Release);
    let begun = now();
    let until = begun + u64::try_from(nap.as_nanos()).unwrap_or(0);
    stamp(1, begun);
    stamp(3, until);
    let time = Timespec {
        tv_sec: (until / 1_000_000_000).cast_signed(),
        tv_nsec: (until % 1_000_000_000).cast_signed(),
    };
    let slept = clock_nanosleep_absolute(ClockId::Monotonic, &time).is_ok();
    stamp(0, now());
    slept
}
