//! The fold of a watch: the same crowd without scenes, over somebody else's processes.
//!
//! Nothing is judged. Waiters are watched tasks asleep in a call that can wait for a connection; when
//! epoll registrations of the port are known, only processes that have one.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::crowd::Crowd;
use super::marks::{HerdMark, ListenerMark, TaskMark};
use super::stack::Classifier;
use super::tasks::State;
use super::timeline::Timeline;
use super::watch_ledger;
use super::worker::{Call, Worker};
use crate::evidence::Ledger;
use crate::stream::Item;
use crate::trace::{Context, Ending, Fold, Outcome};

/// Connections kept in detail; older ones are kept as sums.
const KEEP: usize = 1024;
/// Ports whose listener is described.
const LISTENERS: usize = 1024;

pub struct WatchFold {
    pub crowd: Crowd,
    pub listeners: BTreeMap<u16, ListenerMark>,
    timeline: Timeline,
    first: Option<u64>,
    last: u64,
}

impl WatchFold {
    pub fn new(context: &Context) -> WatchFold {
        WatchFold {
            crowd: Crowd::open(Rc::new(Classifier::new(&context.symbols)), KEEP),
            listeners: BTreeMap::new(),
            timeline: Timeline::new(context.timeline),
            first: None,
            last: 0,
        }
    }

    /// From the first item to the last.
    pub fn seconds(&self) -> Option<f64> {
        let ns = self.last.saturating_sub(self.first?);
        (ns > 0).then(|| std::time::Duration::from_nanos(ns).as_secs_f64())
    }

    fn task(&mut self, ktime: u64, mark: TaskMark) {
        let workers = &mut self.crowd.workers;
        let worker = workers
            .entry(mark.pid)
            .or_insert_with(|| Worker::new(mark.pid, mark.tgid));
        worker.tgid = mark.tgid;
        worker.comm = mark.comm;
        // What the events say is newer than what /proc said.
        if worker.task.state == State::Unknown && mark.asleep {
            worker.task.state = State::Asleep {
                since: ktime,
                interruptible: true,
            };
        }
        if worker.call == Call::Unknown
            && let Some(nr) = mark.syscall
        {
            worker.call = Call::In(nr);
        }
    }

    fn mark(&mut self, ktime: u64, mark: HerdMark) {
        match mark {
            HerdMark::Task(task) => self.task(ktime, task),
            HerdMark::Listener(listener) if self.listeners.len() < LISTENERS => {
                self.listeners.insert(listener.port, listener);
            }
            HerdMark::Registration(registration) => {
                let pid = registration.pid;
                let tgid = self
                    .crowd
                    .workers
                    .get(&pid)
                    .map_or(pid, |worker| worker.tgid);
                self.crowd
                    .registrations
                    .set(tgid, registration.port, registration.events);
            }
            _ => {}
        }
    }
}

impl Fold for WatchFold {
    fn item(&mut self, item: &Item) {
        self.first.get_or_insert(item.ktime());
        self.last = self.last.max(item.ktime());
        match item {
            Item::Event(event) => self.crowd.event(event, &mut self.timeline),
            Item::Mark(mark) => {
                if let Ok(Some(herd)) = HerdMark::from_mark(mark) {
                    self.mark(mark.ktime, herd);
                }
            }
        }
    }

    fn interim(&self) -> Ledger {
        watch_ledger::ledger(self)
    }

    fn finish(self: Box<Self>, ending: &Ending) -> Outcome {
        let mut ledger = watch_ledger::ledger(&self);
        let lost: u64 = ending.lost.values().sum();
        if lost > 0 {
            ledger.remarks.insert(
                0,
                format!("records lost, so that all numbers are too low: {lost}"),
            );
        }
        for (hook, why) in &ending.missing {
            ledger.remarks.insert(
                0,
                format!("{hook} did not attach ({why}): what rests on it is missing"),
            );
        }
        ledger.timeline = self
            .timeline
            .draw(|pid| match self.crowd.workers.get(&pid) {
                Some(worker) if !worker.comm.is_empty() => format!("{} {pid}", worker.comm),
                _ => pid.to_string(),
            });
        Outcome {
            findings: Vec::new(),
            ledger,
        }
    }
}
