//! From a case's stream to requests and calls: what the script said of each beside what the kernel told.

use probes_common::event::{SWITCH_PREEMPT, Switch};
use probes_common::uring::{UringDone, WAY_INLINE, WAY_POLLED, WAY_WORKER};

use super::marks::{self, Call, Reaped, Request, Returned, Submitted, Way};
use crate::stream::Body;
use crate::trace::scripted::CaseLog;

const IO_URING_ENTER: u32 = 426;
const RUNNABLE: [u32; 2] = [0, 256];

/// A worker counts before a poll: a request may have been armed in between.
pub fn way(done: &UringDone) -> Way {
    if done.ways & WAY_WORKER != 0 {
        Way::Worker
    } else if done.ways & WAY_POLLED != 0 {
        Way::Polled
    } else if done.ways & WAY_INLINE != 0 {
        Way::Inline
    } else {
        Way::File
    }
}

pub fn words(way: Way) -> &'static str {
    match way {
        Way::Inline => "inline",
        Way::Polled => "by poll",
        Way::Worker => "by a worker",
        Way::File => "by the file",
    }
}

/// A request with all that is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub request: Request,
    /// Completions in the ring when `io_uring_enter` had returned.
    pub shown: Option<usize>,
    pub served_at: Option<u64>,
    pub reaped: Option<Reaped>,
    /// When it was complete, and how; one for each event.
    pub done: Vec<(u64, UringDone)>,
    /// When the submitting call returned.
    pub returned_at: Option<u64>,
}

impl Seen {
    /// Its one completion, if the events and the ring agree on it.
    pub fn completion(&self) -> Option<(u64, &UringDone)> {
        let [(at, done)] = self.done.as_slice() else {
            return None;
        };
        let reaped = self.reaped.as_ref()?;
        (reaped.user_data == done.user_data && reaped.res == done.res).then_some((*at, done))
    }

    pub fn way(&self) -> Option<Way> {
        self.completion().map(|(_, done)| way(done))
    }

    pub fn early(&self) -> Option<bool> {
        let (at, _) = self.completion()?;
        Some(at > self.returned_at?)
    }

    pub fn latency(&self) -> Option<u64> {
        let (at, done) = self.completion()?;
        Some(at.saturating_sub(done.submitted_ns))
    }
}

pub fn requests(log: &CaseLog) -> Vec<Seen> {
    let submitted = marks::all::<Submitted>(log, marks::SUBMITTED);
    let served = marks::all::<serde_json::Value>(log, marks::SERVED);
    let reaped = marks::all::<Reaped>(log, marks::REAPED);
    let mut all = Vec::new();
    for (_, request) in marks::all::<Request>(log, marks::REQUEST) {
        let its = request.user_data;
        let done: Vec<(u64, UringDone)> = log
            .events
            .iter()
            .filter_map(|event| match &event.body {
                Body::UringDone(done) if done.user_data == its => Some((event.header.ktime, *done)),
                _ => None,
            })
            .collect();
        let returned_at = done.first().and_then(|(_, done)| {
            let mut exits = log.events.iter().filter_map(|event| match &event.body {
                Body::SysExit(exit)
                    if exit.nr == IO_URING_ENTER && event.header.pid == done.pid =>
                {
                    Some(event.header.ktime)
                }
                _ => None,
            });
            exits.find(|at| *at >= done.submitted_ns)
        });
        all.push(Seen {
            shown: submitted
                .iter()
                .find(|(_, mark)| mark.user_data == its)
                .map(|(_, mark)| mark.shown),
            served_at: served
                .iter()
                .find(|(_, mark)| mark["user_data"] == its)
                .map(|(at, _)| *at),
            reaped: reaped
                .iter()
                .find(|(_, mark)| mark.user_data == its)
                .map(|(_, mark)| mark.clone()),
            request,
            done,
            returned_at,
        });
    }
    all
}

/// A system call with all that is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    pub call: Call,
    pub returned: Option<Returned>,
    /// Entry, return, and what it returned, by events.
    pub seen: Option<(u64, u64, i64)>,
    /// How often its task was switched out asleep in between.
    pub sleeps: u64,
}

impl Made {
    /// Do the script and the events say the same?
    pub fn agrees(&self) -> bool {
        match (&self.returned, self.seen) {
            (Some(returned), Some((_, _, ret))) => returned.ret == ret,
            _ => false,
        }
    }

    pub fn took(&self) -> Option<u64> {
        self.seen
            .map(|(begun, ended, _)| ended.saturating_sub(begun))
    }
}

pub fn calls(log: &CaseLog) -> Vec<Made> {
    let returned = marks::all::<Returned>(log, marks::RETURNED);
    let all = marks::all::<Call>(log, marks::CALL).into_iter();
    all.map(|(_, call)| {
        let of_phase = || {
            let events = log.events.iter();
            events.filter(|event| Some(event.header.phase) == call.phase)
        };
        let entry = of_phase().find_map(|event| match &event.body {
            Body::SysEnter(enter) if enter.nr == call.nr => {
                Some((event.header.ktime, event.header.pid))
            }
            _ => None,
        });
        let seen = entry.and_then(|(begun, pid)| {
            of_phase().find_map(|event| match &event.body {
                Body::SysExit(exit)
                    if exit.nr == call.nr
                        && event.header.pid == pid
                        && event.header.ktime >= begun =>
                {
                    Some((begun, event.header.ktime, exit.ret))
                }
                _ => None,
            })
        });
        let slept = |switch: &Switch, pid: u32| {
            switch.prev == pid
                && switch.flags & SWITCH_PREEMPT == 0
                && !RUNNABLE.contains(&switch.prev_state)
        };
        let sleeps = match (seen, entry) {
            (Some((begun, ended, _)), Some((_, pid))) => log
                .events
                .iter()
                .filter(|event| (begun..=ended).contains(&event.header.ktime))
                .filter(|event| matches!(&event.body, Body::Switch(its) if slept(its, pid)))
                .count() as u64,
            _ => 0,
        };
        let returned = returned.iter().find(|(_, mark)| mark.name == call.name);
        Made {
            returned: returned.map(|(_, mark)| mark.clone()),
            call,
            seen,
            sleeps,
        }
    })
    .collect()
}

/// Is something missing that the script says happened?
pub fn whole(log: &CaseLog) -> bool {
    let requests = requests(log);
    let complete = |seen: &Seen| seen.completion().is_some() && seen.returned_at.is_some();
    requests.iter().all(complete) && calls(log).iter().all(Made::agrees)
}
