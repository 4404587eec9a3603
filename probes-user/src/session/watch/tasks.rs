//! The watch of tasks: somebody's processes, their descendants, and what they listen on.
//!
//! Tasks are watched as soon as they are found, so whatever they fork from then on is watched in the kernel
//! before it runs. What the tasks and their sockets were before the start comes as marks.

use std::collections::BTreeSet;

use anyhow::Result;
use probes_common::Task;
use serde_json::{Value, json};

use super::{Subject, target_error};
use crate::exit::usage;
use crate::kernel::{monotonic_ns, process_lives};
use crate::session::lab::Run;
use crate::stream::{Body, Item};
use crate::trace::herd::marks::{HerdMark, TaskMark};
use crate::watch::{self, Listening, Target};

/// The processes of a target, those that they fork included.
pub(super) struct Followed {
    target: Target,
    /// Thread groups of the watched tasks.
    pub groups: BTreeSet<u32>,
}

impl Followed {
    pub fn new(target: Target) -> Followed {
        Followed {
            target,
            groups: BTreeSet::new(),
        }
    }

    /// # Errors
    /// No such target, as a usage error.
    pub fn check(&self) -> Result<()> {
        watch::discover(&self.target, &mut |_| {})
            .map(drop)
            .map_err(target_error)
    }

    /// The target is a name: processes that bear it may still come.
    fn waits_for_comm(&self) -> bool {
        matches!(self.target, Target::Comm(_))
    }

    /// Watches what is there now; the window is open already, so that what happens between the look and the
    /// watch is not lost.
    ///
    /// # Errors
    /// The target has ended.
    pub fn begin(&mut self, run: &mut Run<'_>) -> Result<()> {
        let shared = &run.started.shared;
        let mut tasks: Vec<(u64, TaskMark)> = Vec::new();
        watch::discover(&self.target, &mut |task| {
            shared.watch(task.pid, Task::WATCHED | Task::FOLLOW);
            shared.set_asleep(task.pid, task.asleep);
            tasks.push((monotonic_ns(), task.clone()));
        })
        .map_err(target_error)?;
        if tasks.is_empty() && !self.waits_for_comm() {
            return usage("the target has ended before it could be watched");
        }
        for (time, task) in tasks {
            self.groups.insert(task.tgid);
            run.started.pump.mark(HerdMark::Task(task).to_mark(time)?);
        }
        Ok(())
    }

    /// Before the window is opened.
    pub fn expect_names(&self, run: &Run<'_>) {
        if let Target::Comm(comm) = &self.target {
            run.started.shared.set_exec_comm(comm);
        }
    }

    pub fn item(&mut self, item: &Item) {
        if let Item::Event(event) = item {
            match &event.body {
                Body::Fork(fork) => drop(self.groups.insert(fork.child_tgid)),
                Body::Exec(_) => drop(self.groups.insert(event.header.tgid)),
                _ => {}
            }
        }
    }

    pub fn ended(&self) -> bool {
        !self.waits_for_comm() && !self.groups.iter().any(|pid| process_lives(*pid))
    }
}

pub(super) struct Tasks {
    followed: Followed,
    /// (address, port, sockets) already told.
    listeners: BTreeSet<(String, u16, u32)>,
    /// Registrations have not been told yet; later ones come as epoll_ctl events.
    first: bool,
}

impl Tasks {
    pub fn new(target: Target) -> Tasks {
        Tasks {
            followed: Followed::new(target),
            listeners: BTreeSet::new(),
            first: true,
        }
    }
}

impl Subject for Tasks {
    fn check(&mut self) -> Result<()> {
        self.followed.check()
    }

    fn described(&self) -> Value {
        json!({})
    }

    fn follows_tasks(&self) -> bool {
        true
    }

    fn begin(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.followed.expect_names(run);
        run.started.shared.set_enabled(true);
        self.followed.begin(run)?;
        self.look(run)
    }

    fn item(&mut self, item: &Item) {
        self.followed.item(item);
    }

    /// Looks for the sockets the watched processes listen on; says what is new.
    fn look(&mut self, run: &mut Run<'_>) -> Result<()> {
        let found = Listening::of(&self.followed.groups);
        let now = monotonic_ns();
        let shared = &run.started.shared;
        // One namespace can be filtered in the kernel; with several, ports alone decide.
        shared.set_netns(match found.netns.first() {
            Some(only) if found.netns.len() == 1 => *only,
            _ => 0,
        });
        for listener in found.listeners {
            shared.follow_port(listener.port);
            if self
                .listeners
                .insert((listener.address.clone(), listener.port, listener.sockets))
            {
                run.started
                    .pump
                    .mark(HerdMark::Listener(listener).to_mark(now)?);
            }
        }
        if self.first {
            for registration in found.registrations {
                run.started
                    .pump
                    .mark(HerdMark::Registration(registration).to_mark(now)?);
            }
            self.first = false;
        }
        Ok(())
    }

    fn ended(&self) -> bool {
        self.followed.ended()
    }
}
