//! From wakings, wakeups, migrations and switches to hops: who was woken by whom, and where the time went.
//!
//! A hop begins with the `sched_waking` of a task that sleeps and ends when it has a CPU. A task's later wakings
//! follow from the hop that woke itself: so hops link into chains. What could fool it: a waking in an interrupt,
//! whose current task is a bystander; the kernel's stack tells it.

use std::collections::BTreeMap;

use probes_common::event::{SWITCH_NEXT_WATCHED, SWITCH_PREEMPT, SWITCH_PREV_WATCHED, Switch};

use crate::stream::{Body, Event};
use crate::trace::herd::stack::{Cause, Classifier};

const RUNNABLE: [u32; 2] = [0, 256];

/// Why a woken task did not run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delay {
    /// It was given to another CPU than it had last run on.
    Migration,
    /// Its CPU was idle and had to leave that.
    IdleExit,
    /// Its CPU was its waker's, who went on.
    Waker,
    /// Its CPU was somebody else's.
    Busy,
}

impl Delay {
    pub const ALL: [Delay; 4] = [Delay::Migration, Delay::IdleExit, Delay::Waker, Delay::Busy];

    pub fn words(self) -> &'static str {
        match self {
            Delay::Migration => "migration",
            Delay::IdleExit => "idle exit",
            Delay::Waker => "busy with the waker",
            Delay::Busy => "busy with another",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    pub target: u32,
    /// Who was current; a bystander when `by` is a timer or another interrupt.
    pub waker: u32,
    pub by: Cause,
    /// `sched_waking`
    pub waking: u64,
    /// `sched_wakeup`: on the run queue.
    pub queued: Option<u64>,
    /// `sched_switch` to it.
    pub running: Option<u64>,
    /// Who had the CPU before; 0 = idle.
    pub from: u32,
    /// CPUs it was given to in between, by `sched_migrate_task`.
    pub moved_to: Vec<u32>,
    /// Where it ran last, and where it runs now, by `sched_switch`.
    pub last_cpu: Option<u32>,
    pub cpu: u32,
    /// The hop that its waker's run came from: its index.
    pub parent: Option<usize>,
}

impl Hop {
    pub fn delay(&self) -> Option<u64> {
        Some(self.running?.saturating_sub(self.waking))
    }

    pub fn to_queue(&self) -> Option<u64> {
        Some(self.queued?.saturating_sub(self.waking))
    }

    pub fn in_queue(&self) -> Option<u64> {
        Some(self.running?.saturating_sub(self.queued?))
    }

    pub fn cause(&self) -> Delay {
        if !self.moved_to.is_empty() {
            Delay::Migration
        } else if self.from == 0 {
            Delay::IdleExit
        } else if self.from == self.waker && self.by_task() {
            Delay::Waker
        } else {
            Delay::Busy
        }
    }

    /// Was it the current task that woke it?
    pub fn by_task(&self) -> bool {
        !matches!(self.by, Cause::Timer | Cause::Other | Cause::Unknown)
    }

    /// Do migration and place agree?
    pub fn place_agrees(&self) -> bool {
        match (self.moved_to.last(), self.last_cpu) {
            (Some(to), Some(last)) => {
                *to == self.cpu && (self.moved_to.len() > 1 || last != self.cpu)
            }
            (None, Some(last)) => last == self.cpu,
            (_, None) => true,
        }
    }
}

#[derive(Default)]
struct State {
    asleep: Option<bool>,
    last_cpu: Option<u32>,
    open: Option<usize>,
    /// The hop by which it runs.
    run: Option<usize>,
}

/// Did it leave the CPU to sleep?
pub fn sleeps(switch: &Switch) -> bool {
    switch.flags & SWITCH_PREEMPT == 0 && !RUNNABLE.contains(&switch.prev_state)
}

/// In order of their wakings. Events come in order of time.
pub fn hops(events: &[Event], classifier: &Classifier) -> Vec<Hop> {
    let mut found: Vec<Hop> = Vec::new();
    let mut tasks: BTreeMap<u32, State> = BTreeMap::new();
    for event in events {
        let (at, cpu) = (event.header.ktime, event.header.cpu);
        match &event.body {
            Body::Waking(waking) => {
                let parent = tasks.get(&event.header.pid).and_then(|waker| waker.run);
                let state = tasks.entry(waking.target).or_default();
                // A task that has not left its CPU yet is told to stay; one that is being woken is woken once.
                if state.asleep == Some(false) || state.open.is_some() {
                    continue;
                }
                let by = classifier.classify(waking);
                let mut hop = Hop {
                    target: waking.target,
                    waker: event.header.pid,
                    by,
                    waking: at,
                    queued: None,
                    running: None,
                    from: 0,
                    moved_to: Vec::new(),
                    last_cpu: state.last_cpu,
                    cpu,
                    parent: None,
                };
                hop.parent = parent.filter(|_| hop.by_task());
                state.open = Some(found.len());
                found.push(hop);
            }
            Body::Wakeup(wakeup) => {
                if let Some(hop) = open(&mut found, &tasks, wakeup.target) {
                    hop.queued.get_or_insert(at);
                }
            }
            Body::Migrate(migrate) => {
                if let Some(hop) = open(&mut found, &tasks, migrate.target) {
                    hop.moved_to.push(migrate.to);
                }
            }
            Body::Switch(switch) => {
                if switch.flags & SWITCH_PREV_WATCHED != 0 {
                    let state = tasks.entry(switch.prev).or_default();
                    state.last_cpu = Some(cpu);
                    state.asleep = Some(sleeps(switch));
                    if sleeps(switch) {
                        state.run = None;
                    }
                }
                if switch.flags & SWITCH_NEXT_WATCHED != 0 {
                    comes_on(
                        &mut found,
                        tasks.entry(switch.next).or_default(),
                        switch,
                        at,
                        cpu,
                    );
                }
            }
            _ => {}
        }
    }
    found
}

fn open<'a>(
    found: &'a mut [Hop],
    tasks: &BTreeMap<u32, State>,
    target: u32,
) -> Option<&'a mut Hop> {
    found.get_mut(tasks.get(&target)?.open?)
}

fn comes_on(found: &mut [Hop], state: &mut State, switch: &Switch, at: u64, cpu: u32) {
    state.asleep = Some(false);
    if let Some(index) = state.open.take() {
        state.run = Some(index);
        if let Some(hop) = found.get_mut(index) {
            hop.running = Some(at);
            hop.from = switch.prev;
            hop.cpu = cpu;
        }
    }
}

/// From its root on: the hops that led to this one, itself included.
pub fn chain(hops: &[Hop], last: usize) -> Vec<usize> {
    let mut links = vec![last];
    while let Some(parent) = links.last().and_then(|link| hops.get(*link)?.parent) {
        links.push(parent);
    }
    links.reverse();
    links
}
