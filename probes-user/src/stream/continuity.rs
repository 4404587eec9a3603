//! Finds what is missing: a task's system calls and switches alternate, and a sleep ends with a waking, so a
//! lost event leaves a gap.
//!
//! This is how a loss that no counter shows comes to light: a program that the kernel skipped twice, or a
//! kernel that hides what happens while certain tasks are current. Judged only between two events of one task
//! in one window: what came before the first is not known; and only where the trace has both sides sent, a
//! call's entry and return, a sleep and its waking. A gap is put into the stream as a mark where it
//! was found, so that only what it touches is left out of a verdict.

use std::collections::HashMap;

use probes_common::event::{SWITCH_NEXT_WATCHED, SWITCH_PREEMPT, SWITCH_PREV_WATCHED, Switch};
use serde::{Deserialize, Serialize};

use super::item::{Body, Item, Mark};

/// States in which a task that leaves the CPU is still runnable: TASK_RUNNING, and TASK_REPORT_MAX as
/// `sched_switch` tells a preempted task (include/trace/events/sched.h).
const RUNNABLE: [u32; 2] = [0, 256];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// An entry after an entry, a return after a return, or a return from another call.
    Call,
    /// On the CPU twice, or off it twice.
    Switch,
    /// It slept and runs, and nothing woke it.
    Waking,
}

/// Something of this task between `since` and the mark's time was not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub pid: u32,
    /// The last event of the task that was seen before, CLOCK_MONOTONIC ns.
    pub since: u64,
    pub missing: Missing,
}

/// Name of the mark that carries a [`Gap`].
pub const GAP: &str = "gap";

impl Gap {
    /// None = another mark.
    ///
    /// # Errors
    /// A gap mark that cannot be read.
    pub fn from_mark(mark: &Mark) -> Result<Option<Gap>, serde_json::Error> {
        match mark.name.as_str() {
            GAP => serde_json::from_value(mark.data.clone()).map(Some),
            _ => Ok(None),
        }
    }

    fn mark(self, ktime: u64) -> Item {
        let data = serde_json::to_value(self).unwrap_or_default();
        Item::Mark(Mark {
            ktime,
            name: GAP.to_owned(),
            data,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Inside(u32),
    Outside(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Running,
    Queued,
    Asleep,
}

#[derive(Debug, Clone, Copy, Default)]
struct Task {
    call: Option<(Call, u64)>,
    place: Option<(Place, u64)>,
    /// A waking or wakeup was seen since it last came onto the CPU.
    woken: bool,
}

#[derive(Debug, Default)]
pub struct Continuity {
    tasks: HashMap<u32, Task>,
    gaps: u64,
    /// What cannot be told here, because one side of it is not sent.
    blind: Vec<Missing>,
}

impl Continuity {
    /// For a stream that comes from these programs.
    pub fn of(programs: &[&str]) -> Continuity {
        let has = |program| programs.contains(&program);
        let mut blind = Vec::new();
        if !(has("sys_enter") && has("sys_exit")) {
            blind.push(Missing::Call);
        }
        if !(has("sched_waking") || has("sched_wakeup")) {
            blind.push(Missing::Waking);
        }
        Continuity {
            blind,
            ..Continuity::default()
        }
    }

    /// Passes on an item, after the gaps that it reveals. Items come in order of time.
    pub fn pass(&mut self, item: Item, mut take: impl FnMut(Item)) {
        for gap in self.look(&item).into_iter().flatten() {
            if self.blind.contains(&gap.missing) {
                continue;
            }
            self.gaps += 1;
            take(gap.mark(item.ktime()));
        }
        take(item);
    }

    /// The window is cut: nothing follows on what was seen in it.
    pub fn cut(&mut self) {
        self.tasks.clear();
    }

    /// Gaps found so far.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    fn look(&mut self, item: &Item) -> [Option<Gap>; 2] {
        let Item::Event(event) = item else {
            return [None; 2];
        };
        let (pid, now) = (event.header.pid, event.header.ktime);
        let one = match &event.body {
            Body::SysEnter(enter) => self.call(pid, now, Call::Inside(enter.nr)),
            Body::SysExit(exit) => self.call(pid, now, Call::Outside(exit.nr)),
            Body::Switch(switch) => return self.switch(switch, now),
            Body::Waking(waking) => self.woken(waking.target),
            Body::Wakeup(wakeup) => self.woken(wakeup.target),
            // Its number may be another task's from now on.
            Body::Exit(exit) => self.forget(exit.pid),
            Body::Fork(fork) => self.forget(fork.child),
            _ => None,
        };
        [one, None]
    }

    fn woken(&mut self, pid: u32) -> Option<Gap> {
        self.tasks.entry(pid).or_default().woken = true;
        None
    }

    fn forget(&mut self, pid: u32) -> Option<Gap> {
        self.tasks.remove(&pid);
        None
    }

    fn call(&mut self, pid: u32, now: u64, call: Call) -> Option<Gap> {
        let task = self.tasks.entry(pid).or_default();
        let (was, since) = task.call.replace((call, now))?;
        let follows = match (was, call) {
            (Call::Inside(entered), Call::Outside(returned)) => entered == returned,
            (Call::Outside(_), Call::Inside(_)) => true,
            _ => false,
        };
        (!follows).then_some(Gap {
            pid,
            since,
            missing: Missing::Call,
        })
    }

    fn switch(&mut self, switch: &Switch, now: u64) -> [Option<Gap>; 2] {
        let runnable = switch.flags & SWITCH_PREEMPT != 0 || RUNNABLE.contains(&switch.prev_state);
        let off = if runnable {
            Place::Queued
        } else {
            Place::Asleep
        };
        let watched = |flag: u32| switch.flags & flag != 0;
        [
            if watched(SWITCH_PREV_WATCHED) {
                self.place(switch.prev, now, off)
            } else {
                None
            },
            if watched(SWITCH_NEXT_WATCHED) {
                self.place(switch.next, now, Place::Running)
            } else {
                None
            },
        ]
    }

    fn place(&mut self, pid: u32, now: u64, place: Place) -> Option<Gap> {
        let task = self.tasks.entry(pid).or_default();
        let (was, since) = task.place.replace((place, now)).unzip();
        let woken = task.woken;
        if place == Place::Running {
            task.woken = false;
        }
        let missing = match (was?, place) {
            (Place::Running, Place::Running) => Missing::Switch,
            (Place::Queued | Place::Asleep, Place::Queued | Place::Asleep) => Missing::Switch,
            (Place::Asleep, Place::Running) if !woken => Missing::Waking,
            _ => return None,
        };
        Some(Gap {
            pid,
            since: since?,
            missing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Event;
    use probes_common::event::{Exit, Header, SysEnter, SysExit, Wakeup};

    fn event(pid: u32, body: Body) -> Item {
        Item::Event(Event {
            header: Header {
                pid,
                ..Header::default()
            },
            body,
        })
    }

    fn enter(nr: u32) -> Item {
        event(
            7,
            Body::SysEnter(SysEnter {
                nr,
                _pad: 0,
                args: [0; 4],
            }),
        )
    }

    fn exit(nr: u32) -> Item {
        let exit = SysExit {
            nr,
            epoll_events: 0,
            ret: 0,
            args: [0; 4],
            fd_sock: 0,
            new_sock: 0,
            fd_port: 0,
            fd_state: 0,
            new_local_port: 0,
            new_remote_port: 0,
        };
        event(7, Body::SysExit(exit))
    }

    fn off(state: u32) -> Item {
        event(
            0,
            Body::Switch(Switch {
                prev: 7,
                next: 0,
                prev_state: state,
                flags: SWITCH_PREV_WATCHED,
            }),
        )
    }

    fn on() -> Item {
        event(
            0,
            Body::Switch(Switch {
                prev: 0,
                next: 7,
                prev_state: 0,
                flags: SWITCH_NEXT_WATCHED,
            }),
        )
    }

    fn woken() -> Item {
        event(0, Body::Wakeup(Wakeup { target: 7, new: 0 }))
    }

    fn gaps(items: Vec<Item>) -> Vec<Missing> {
        gaps_of(Continuity::default(), items)
    }

    fn gaps_of(mut continuity: Continuity, items: Vec<Item>) -> Vec<Missing> {
        let mut found = Vec::new();
        for item in items {
            continuity.pass(item, |item| {
                if let Item::Mark(mark) = item {
                    found.extend(Gap::from_mark(&mark).unwrap().map(|gap| gap.missing));
                }
            });
        }
        assert_eq!(continuity.gaps(), found.len() as u64);
        found
    }

    #[test]
    fn whole_streams_have_no_gaps() {
        let calls = vec![
            exit(232),
            enter(288),
            exit(288),
            enter(232),
            off(1),
            woken(),
            on(),
            exit(232),
        ];
        assert_eq!(gaps(calls), []);
        assert_eq!(gaps(vec![on(), off(0), on(), off(256), on()]), []);
    }

    #[test]
    fn a_lost_entry_or_return_is_a_gap() {
        assert_eq!(gaps(vec![enter(232), enter(288)]), [Missing::Call]);
        assert_eq!(
            gaps(vec![enter(232), exit(232), exit(288)]),
            [Missing::Call]
        );
        assert_eq!(gaps(vec![enter(232), exit(288)]), [Missing::Call]);
    }

    #[test]
    fn a_lost_switch_is_a_gap() {
        assert_eq!(gaps(vec![off(1), off(1)]), [Missing::Switch]);
        assert_eq!(gaps(vec![on(), on()]), [Missing::Switch]);
    }

    #[test]
    fn a_sleeper_that_runs_without_a_waking_is_a_gap() {
        assert_eq!(gaps(vec![on(), off(1), on()]), [Missing::Waking]);
        // The waking reached it before it had left the CPU.
        assert_eq!(gaps(vec![on(), woken(), off(1), on()]), []);
    }

    #[test]
    fn what_is_not_sent_is_not_missed() {
        let returns = Continuity::of(&["sys_exit", "sched_waking"]);
        assert_eq!(gaps_of(returns, vec![exit(232), exit(288)]), []);
        let sleeps = Continuity::of(&["sched_switch"]);
        assert_eq!(
            gaps_of(sleeps, vec![on(), off(1), on(), on()]),
            [Missing::Switch]
        );
    }

    #[test]
    fn a_number_that_is_used_again_is_another_task() {
        let items = vec![
            enter(288),
            event(7, Body::Exit(Exit { pid: 7, tgid: 7 })),
            enter(232),
        ];
        assert_eq!(gaps(items), []);
    }
}
