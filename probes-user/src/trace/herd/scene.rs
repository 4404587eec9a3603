//! One scene of the lab: its marks and its crowd, from SceneMark to SceneEndMark.
//!
//! Events after the end belong to dying workers, who wake each other: they are not looked at.

use std::rc::Rc;

use super::audit::Audit;
use super::checks::{self, Check};
use super::connection::Connection;
use super::crowd::{Counts, Crowd};
use super::marks::{AccountMark, Arrival, ConnectMark, SceneEndMark, SceneMark, Variant};
use super::stack::{Cause, Classifier};
use super::timeline::{Lane, Timeline};
use super::totals::Totals;
use super::worker::{Call, Worker};
use crate::evidence::Histogram;
use crate::evidence::statistics::{gini, ratio};
use crate::stream::Event;
use crate::stream::continuity::Gap;

/// A scene under way.
#[derive(Debug)]
pub struct Scene {
    mark: SceneMark,
    crowd: Crowd,
    connects: Vec<ConnectMark>,
    /// Times in which an event of a worker is missing.
    gaps: Vec<(u64, u64)>,
    audits: Vec<Audit>,
    /// Connections of the run before this scene.
    first_index: u64,
}

/// A scene that is over, or was cut off (`end` = None).
#[derive(Debug, Clone)]
pub struct SceneResult {
    pub mark: SceneMark,
    pub end: Option<SceneEndMark>,
    pub connects: Vec<ConnectMark>,
    pub connections: Vec<Connection>,
    /// By index.
    pub workers: Vec<Worker>,
    pub counts: Counts,
    pub latency: Histogram,
    pub totals: Totals,
    /// Of the workers whose account the kernel keeps.
    pub audits: Vec<Audit>,
    /// An event of a worker is missing somewhere.
    pub gapped: bool,
    pub checks: Vec<Check>,
}

impl Scene {
    /// `lobby` knows what the workers did before the mark.
    pub fn new(
        mark: SceneMark,
        lobby: Crowd,
        classifier: Rc<Classifier>,
        first_index: u64,
    ) -> Scene {
        let workers = mark
            .workers
            .iter()
            .map(|id| {
                let seen = lobby.workers.get(&id.pid);
                let tgid = seen.map(|worker| worker.tgid).filter(|tgid| *tgid != 0);
                let mut worker = Worker::new(id.pid, tgid.unwrap_or(id.pid));
                worker.index = Some(id.index);
                // Parked, or waiting for its turn to register: in no followed call until one is seen.
                worker.call = Call::None;
                if let Some(seen) = seen {
                    worker.task.state = seen.task.state;
                    if seen.call != Call::Unknown {
                        worker.call = seen.call;
                    }
                }
                worker
            })
            .collect();
        let mut crowd = Crowd::closed(classifier, mark.port, workers);
        crowd.registrations = lobby.registrations;
        Scene {
            mark,
            crowd,
            connects: Vec::new(),
            gaps: Vec::new(),
            audits: Vec::new(),
            first_index,
        }
    }

    pub fn event(&mut self, event: &Event, timeline: &mut Timeline) {
        self.crowd.event(event, timeline);
    }

    pub fn connect(&mut self, ktime: u64, mark: ConnectMark, timeline: &mut Timeline) {
        if mark.scene != self.mark.scene {
            return;
        }
        timeline.begin(ktime, self.first_index + u64::from(mark.index), mark.phase);
        timeline.note(ktime, Lane::Client, || "connect()".to_owned());
        timeline.note(mark.connected_at, Lane::Client, || "connect → 0".to_owned());
        self.connects.push(mark);
    }

    /// What has been seen of the worker up to here, beside what the kernel has counted.
    pub fn account(&mut self, mark: &AccountMark) {
        let at = |id: &&super::marks::WorkerId| id.index == mark.index;
        let Some(id) = self.mark.workers.iter().find(at) else {
            return;
        };
        if mark.scene == self.mark.scene
            && let Some(before) = &id.account
            && let Some(worker) = self.crowd.workers.get(&id.pid)
        {
            let kernel = mark.account.since(before);
            self.audits.push(Audit::new(id.pid, &worker.task, kernel));
        }
    }

    pub fn gap(&mut self, gap: Gap, until: u64) {
        if self.crowd.workers.contains_key(&gap.pid) {
            self.gaps.push((gap.since, until));
        }
    }

    pub fn connections_so_far(&self) -> u64 {
        self.first_index + self.connects.len() as u64
    }

    pub fn number(&self) -> u32 {
        self.mark.scene
    }

    pub fn close(self, end: Option<SceneEndMark>) -> SceneResult {
        let mut connections: Vec<Connection> = self.crowd.connections.iter().cloned().collect();
        mark_gapped(&mut connections, &self.gaps);
        let mut workers: Vec<Worker> = self.crowd.workers.into_values().collect();
        workers.sort_by_key(|worker| worker.index);
        let mut result = SceneResult {
            totals: Totals::of(connections.iter()),
            mark: self.mark,
            end,
            connects: self.connects,
            connections,
            workers,
            counts: self.crowd.counts,
            latency: self.crowd.latency,
            audits: self.audits,
            gapped: !self.gaps.is_empty(),
            checks: Vec::new(),
        };
        result.checks = checks::all(&result);
        result
    }
}

/// A connection is under way until the next one is established.
fn mark_gapped(connections: &mut [Connection], gaps: &[(u64, u64)]) {
    let mut until = u64::MAX;
    for connection in connections.iter_mut().rev() {
        let from = connection.established_at;
        connection.gapped = gaps
            .iter()
            .any(|(since, end)| *since < until && *end >= from);
        until = from;
    }
}

impl SceneResult {
    pub fn label(&self) -> String {
        label(self.mark.variant, self.mark.arrival)
    }

    pub fn is(&self, variant: Variant, arrival: Arrival) -> bool {
        self.mark.variant == variant && self.mark.arrival == arrival
    }

    pub fn shares(&self) -> Vec<u64> {
        self.workers.iter().map(|worker| worker.won).collect()
    }

    pub fn gini(&self) -> Option<f64> {
        gini(&self.shares())
    }

    pub fn busiest(&self) -> Option<f64> {
        let shares = self.shares();
        ratio(shares.iter().copied().max()?, shares.iter().sum())
    }

    pub fn wakeups_by(&self, cause: Cause) -> u64 {
        self.workers
            .iter()
            .map(|worker| worker.wakeups_by(cause))
            .sum()
    }
}

/// `per-process-instance/sequential`, the name of a scene for `--variant` and in tables.
pub fn label(variant: Variant, arrival: Arrival) -> String {
    format!("{}/{}", variant_name(variant), arrival_name(arrival))
}

pub fn variant_name(variant: Variant) -> &'static str {
    match variant {
        Variant::Accept => "accept",
        Variant::PollAccept => "poll-accept",
        Variant::SharedInstance => "shared-instance",
        Variant::PerProcessInstance => "per-process-instance",
        Variant::EdgePerProcess => "edge-per-process",
        Variant::EdgeShared => "edge-shared",
        Variant::Exclusive => "exclusive",
        Variant::OneshotPerProcess => "oneshot-per-process",
        Variant::OneshotShared => "oneshot-shared",
        Variant::Reuseport => "reuseport",
        Variant::AcceptMutex => "accept-mutex",
        Variant::Poll => "poll",
        Variant::Select => "select",
    }
}

pub fn arrival_name(arrival: Arrival) -> &'static str {
    match arrival {
        Arrival::Sequential => "sequential",
        Arrival::Burst => "burst",
        Arrival::LateAccept => "late-accept",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_marks() {
        let as_mark = |variant: Variant| serde_json::to_value(variant).unwrap();
        for variant in super::super::scenes::EPOLL_VARIANTS
            .iter()
            .chain(super::super::scenes::ACCEPT_VARIANTS)
        {
            assert_eq!(as_mark(*variant), variant_name(*variant));
        }
        for arrival in [Arrival::Sequential, Arrival::Burst, Arrival::LateAccept] {
            assert_eq!(
                serde_json::to_value(arrival).unwrap(),
                arrival_name(arrival)
            );
        }
    }
}
