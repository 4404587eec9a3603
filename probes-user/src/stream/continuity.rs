//! Finds what is missing: a task's system calls and switches alternate, so a lost record leaves a gap.
//!
//! This is how a loss that no counter shows comes to light (a program that the kernel skipped, twice).
//! Judged only between two records of one task in one window: what came before the first is not known.

use std::collections::HashMap;

use probes_common::event::{SWITCH_NEXT_WATCHED, SWITCH_PREV_WATCHED};

use super::item::{Body, Item};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gaps {
    /// An entry after an entry, a return after a return, or a return from another call.
    pub calls: u64,
    /// On the CPU twice, or off it twice.
    pub switches: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Task {
    call: Option<Call>,
    running: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Inside(u32),
    Outside,
}

#[derive(Debug, Default)]
pub struct Continuity {
    tasks: HashMap<u32, Task>,
    gaps: Gaps,
}

impl Continuity {
    /// Items in order of time.
    pub fn item(&mut self, item: &Item) {
        let Item::Event(event) = item else { return };
        let pid = event.header.pid;
        match &event.body {
            Body::SysEnter(enter) => {
                self.call(pid, Call::Inside(enter.nr), |was| was == Call::Outside)
            }
            Body::SysExit(exit) => {
                self.call(pid, Call::Outside, |was| was == Call::Inside(exit.nr))
            }
            Body::Switch(switch) => {
                if switch.flags & SWITCH_PREV_WATCHED != 0 {
                    self.switch(switch.prev, false);
                }
                if switch.flags & SWITCH_NEXT_WATCHED != 0 {
                    self.switch(switch.next, true);
                }
            }
            // Its number may be another task's from now on.
            Body::Exit(exit) => drop(self.tasks.remove(&exit.pid)),
            Body::Fork(fork) => drop(self.tasks.remove(&fork.child)),
            _ => {}
        }
    }

    /// The window is cut: nothing follows on what was seen in it.
    pub fn cut(&mut self) {
        self.tasks.clear();
    }

    pub fn found(&self) -> Gaps {
        self.gaps
    }

    fn call(&mut self, pid: u32, now: Call, follows: impl FnOnce(Call) -> bool) {
        let task = self.tasks.entry(pid).or_default();
        if task.call.is_some_and(|was| !follows(was)) {
            self.gaps.calls += 1;
        }
        task.call = Some(now);
    }

    fn switch(&mut self, pid: u32, running: bool) {
        let task = self.tasks.entry(pid).or_default();
        if task.running == Some(running) {
            self.gaps.switches += 1;
        }
        task.running = Some(running);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Event;
    use probes_common::event::{Exit, Header, Switch, SysEnter, SysExit};

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

    fn switch(prev: u32, next: u32, flags: u32) -> Item {
        event(
            0,
            Body::Switch(Switch {
                prev,
                next,
                prev_state: 1,
                flags,
            }),
        )
    }

    fn gaps(items: &[Item]) -> Gaps {
        let mut continuity = Continuity::default();
        items.iter().for_each(|item| continuity.item(item));
        continuity.found()
    }

    #[test]
    fn whole_streams_have_no_gaps() {
        let items = [
            exit(232),
            enter(288),
            exit(288),
            enter(232),
            switch(7, 0, 2),
            switch(0, 7, 4),
            exit(232),
        ];
        assert_eq!(gaps(&items), Gaps::default());
    }

    #[test]
    fn a_lost_entry_or_return_is_a_gap() {
        assert_eq!(gaps(&[enter(232), enter(288)]).calls, 1);
        assert_eq!(gaps(&[enter(232), exit(232), exit(288)]).calls, 1);
        assert_eq!(gaps(&[enter(232), exit(288)]).calls, 1);
    }

    #[test]
    fn a_lost_switch_is_a_gap() {
        assert_eq!(gaps(&[switch(7, 0, 2), switch(7, 0, 2)]).switches, 1);
        assert_eq!(gaps(&[switch(0, 7, 4), switch(0, 7, 4)]).switches, 1);
    }

    #[test]
    fn a_number_that_is_used_again_is_another_task() {
        let items = [
            enter(288),
            event(7, Body::Exit(Exit { pid: 7, tgid: 7 })),
            enter(232),
        ];
        assert_eq!(gaps(&items), Gaps::default());
    }
}
