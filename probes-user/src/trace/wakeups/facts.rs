//! What a case shows: hand-offs with their switches, chains with their hops, beside the tasks' own stamps.

use std::collections::BTreeMap;

use probes_common::event::{SWITCH_NEXT_WATCHED, SWITCH_PREV_WATCHED, Switch};

use super::hops::{self, Hop};
use super::judge::enough;
use super::marks::{self, TaskTold, Told, Turn};
use crate::stream::{Body, Event};
use crate::trace::herd::stack::Classifier;
use crate::trace::scripted::CaseLog;

/// One hand-off to and fro: from just before the first task gives until it has the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HandOff {
    /// Of the first and of the second task: switched out asleep.
    pub sleeps: [u64; 2],
    /// Switches straight from one of the two to the other.
    pub direct: u64,
    /// Switches in which somebody else has a part.
    pub foreign: u64,
    pub took: u64,
}

impl HandOff {
    /// Nobody came between.
    pub fn clean(&self) -> bool {
        self.foreign == 0
    }
}

fn switches(events: &[Event]) -> impl Iterator<Item = (u64, u32, &Switch)> {
    events.iter().filter_map(|event| match &event.body {
        Body::Switch(switch) => Some((event.header.ktime, event.header.cpu, switch)),
        _ => None,
    })
}

/// None = not two tasks, or a turn without its stamps.
pub fn hand_offs(events: &[Event], told: &Told) -> Option<Vec<HandOff>> {
    let [first, second] = told.tasks.as_slice() else {
        return None;
    };
    let mut all = Vec::with_capacity(told.turns);
    let mut rest = switches(events).peekable();
    for turn in &first.turns {
        if turn.before == 0 || turn.got < turn.before {
            return None;
        }
        let mut one = HandOff {
            took: turn.got - turn.before,
            ..HandOff::default()
        };
        while rest.next_if(|(at, ..)| *at < turn.before).is_some() {}
        while let Some((_, _, switch)) = rest.next_if(|(at, ..)| *at <= turn.got) {
            count(&mut one, switch, first.pid, second.pid);
        }
        all.push(one);
    }
    Some(all)
}

fn count(one: &mut HandOff, switch: &Switch, first: u32, second: u32) {
    let pair = [first, second];
    match (pair.contains(&switch.prev), pair.contains(&switch.next)) {
        (true, true) => one.direct += 1,
        (false, false) => return,
        _ => one.foreign += 1,
    }
    if hops::sleeps(switch) {
        one.sleeps[0] += u64::from(switch.prev == first);
        one.sleeps[1] += u64::from(switch.prev == second);
    }
}

/// What the events show of a task in the span between its two accounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    pub voluntary: u64,
    pub involuntary: u64,
    /// Runnable and not running: from being queued, or from being preempted.
    pub run_delay_ns: u64,
    pub runs: u64,
}

pub fn seen(events: &[Event], task: &TaskTold) -> Seen {
    let mut seen = Seen::default();
    let mut since = None;
    for event in events {
        let at = event.header.ktime;
        if at < task.from.0 || at > task.to.0 {
            continue;
        }
        match &event.body {
            Body::Wakeup(wakeup) if wakeup.target == task.pid => since = since.or(Some(at)),
            Body::Switch(switch) => {
                let is = |flag: u32, pid: u32| switch.flags & flag != 0 && pid == task.pid;
                if is(SWITCH_PREV_WATCHED, switch.prev) {
                    let sleeps = hops::sleeps(switch);
                    seen.voluntary += u64::from(sleeps);
                    seen.involuntary += u64::from(!sleeps);
                    since = (!sleeps).then_some(at);
                }
                if is(SWITCH_NEXT_WATCHED, switch.next) {
                    seen.runs += 1;
                    seen.run_delay_ns += since.take().map_or(0, |since| at.saturating_sub(since));
                }
            }
            _ => {}
        }
    }
    seen
}

impl TaskTold {
    /// What the kernel itself has counted in between; None of times that it does not keep.
    pub fn counted(&self) -> (u64, u64, Option<u64>) {
        let (from, to) = (&self.from.1, &self.to.1);
        let delay = from.times.zip(to.times);
        (
            to.voluntary.saturating_sub(from.voluntary),
            to.involuntary.saturating_sub(from.involuntary),
            delay.map(|(from, to)| to.run_delay_ns.saturating_sub(from.run_delay_ns)),
        )
    }
}

/// Do events and the kernel's own count of switches agree, for every task?
pub fn counts_agree(events: &[Event], told: &Told) -> bool {
    told.tasks.iter().all(|task| {
        let (voluntary, involuntary, _) = task.counted();
        let seen = seen(events, task);
        (seen.voluntary, seen.involuntary) == (voluntary, involuntary)
    })
}

/// One turn of A→B→C as it was found, and whether it fits what the tasks say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The hop to B, and the hop to C.
    pub hops: [Hop; 2],
    /// The second follows from the first, by the events alone.
    pub linked: bool,
    /// Each waking lies inside the call that its waker stamped, and each run begins before its task has it.
    pub inside: bool,
    /// From the waking of B to the waking of C.
    pub took: u64,
    /// What A and B did after they had woken: until when they kept the CPU.
    pub kept: [u64; 2],
}

fn is_inside(hop: &Hop, waker: &Turn, woken: &Turn) -> bool {
    let within = (waker.before..=waker.after).contains(&hop.waking);
    within
        && hop
            .running
            .is_some_and(|at| hop.waking <= at && at <= woken.got)
}

/// None = hops are missing or too many: then nothing is said of any.
pub fn links(events: &[Event], told: &Told, classifier: &Classifier) -> Option<Vec<Link>> {
    let [a, b, c] = told.tasks.as_slice() else {
        return None;
    };
    let hops = hops::hops(events, classifier);
    let between = |waker: &TaskTold, woken: &TaskTold| -> Vec<usize> {
        let is = |hop: &Hop| hop.by_task() && (hop.waker, hop.target) == (waker.pid, woken.pid);
        (0..hops.len()).filter(|index| is(&hops[*index])).collect()
    };
    let (to_b, to_c) = (between(a, b), between(b, c));
    if to_b.len() != told.turns || to_c.len() != told.turns {
        return None;
    }
    let turn = |turn: usize| -> Option<Link> {
        let (first, second) = (&hops[to_b[turn]], &hops[to_c[turn]]);
        let stamps = [a.turns.get(turn)?, b.turns.get(turn)?, c.turns.get(turn)?];
        let linked = hops::chain(&hops, to_c[turn]).contains(&to_b[turn]);
        Some(Link {
            inside: is_inside(first, stamps[0], stamps[1])
                && is_inside(second, stamps[1], stamps[2]),
            linked,
            took: second.waking.saturating_sub(first.waking),
            kept: [stamps[0].until, stamps[1].until],
            hops: [first.clone(), second.clone()],
        })
    };
    (0..told.turns).map(turn).collect()
}

impl Link {
    /// The whole of a hop's time lies between the stamps of those who took part.
    pub fn time_fits(&self, a: &Turn, b: &Turn) -> bool {
        let (least, most) = (
            b.before.saturating_sub(a.after),
            b.after.saturating_sub(a.before),
        );
        (least..=most).contains(&self.took)
    }
}

/// The sleeper's naps, each with the hop that ended it; naps whose waking was not seen are left out.
pub fn naps<'a>(hops: &'a [Hop], told: &'a Told) -> Vec<(&'a Turn, &'a Hop)> {
    let Some(task) = told.tasks.first() else {
        return Vec::new();
    };
    let found = |turn: &'a Turn| {
        let is =
            |hop: &&Hop| hop.target == task.pid && (turn.before..=turn.got).contains(&hop.waking);
        Some((turn, hops.iter().find(is)?))
    };
    task.turns.iter().filter_map(found).collect()
}

/// How often each cause of a delay was found, with the time lost to it.
pub fn causes<'a>(hops: impl Iterator<Item = &'a Hop>) -> BTreeMap<hops::Delay, (u64, u64)> {
    let mut all = BTreeMap::new();
    for hop in hops {
        let entry: &mut (u64, u64) = all.entry(hop.cause()).or_default();
        entry.0 += 1;
        entry.1 += hop.delay().unwrap_or(0);
    }
    all
}

/// Is nothing missing of a case that came to its end? What came between is no matter of this.
pub fn whole(log: &CaseLog, classifier: &Classifier) -> bool {
    let Some(told) = marks::told(log) else {
        return true;
    };
    match told.tasks.len() {
        1 => enough(
            naps(&hops::hops(&log.events, classifier), &told).len(),
            told.turns,
        ),
        2 => counts_agree(&log.events, &told),
        _ => links(&log.events, &told, classifier).is_some(),
    }
}
