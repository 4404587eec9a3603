//! Who is woken first: the longest asleep, the last to sleep, always the same, the first registered?
//!
//! Only connections that met two or more sleeping waiters say anything. Rules can coincide (a worker
//! that always wins is also the last that went to sleep): all that fit are named.

use std::collections::BTreeMap;

use super::connection::{Connection, Sleeper};
use super::marks::Variant;
use super::scene::SceneResult;
use crate::evidence::statistics::ratio;

/// Share of connections from which on a rule counts as the rule.
const RULE: f64 = 0.9;

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Order {
    pub judged: u64,
    pub longest_asleep: Option<f64>,
    pub last_asleep: Option<f64>,
    pub first_registered: Option<f64>,
    pub last_registered: Option<f64>,
    pub same: Option<f64>,
}

impl Order {
    pub fn of(scene: &SceneResult) -> Order {
        let picks: Vec<(&Connection, u32)> = scene
            .connections
            .iter()
            .filter(|connection| connection.sleepers.len() >= 2)
            .filter_map(|connection| Some((connection, connection.pick()?)))
            .filter(|(connection, pick)| {
                connection
                    .sleepers
                    .iter()
                    .any(|sleeper| sleeper.pid == *pick)
            })
            .collect();
        let judged = picks.len() as u64;
        let share = |rule: fn(&[Sleeper]) -> Option<&Sleeper>| {
            let fits = picks.iter().filter(|(connection, pick)| {
                rule(&connection.sleepers).is_some_and(|sleeper| sleeper.pid == *pick)
            });
            ratio(fits.count() as u64, judged)
        };
        let mut by_pid: BTreeMap<u32, u64> = BTreeMap::new();
        for (_, pick) in &picks {
            *by_pid.entry(*pick).or_default() += 1;
        }
        Order {
            judged,
            longest_asleep: share(|sleepers| sleepers.iter().min_by_key(|sleeper| sleeper.since)),
            last_asleep: share(|sleepers| sleepers.iter().max_by_key(|sleeper| sleeper.since)),
            first_registered: share(|sleepers| sleepers.iter().min_by_key(|sleeper| sleeper.index)),
            last_registered: share(|sleepers| sleepers.iter().max_by_key(|sleeper| sleeper.index)),
            same: ratio(by_pid.values().copied().max().unwrap_or(0), judged),
        }
    }

    /// The rules that fit: FIFO = the longest asleep, LIFO = the last to sleep, first and last = the
    /// first and the last forked, same = always the same one.
    pub fn told(&self, variant: Variant) -> String {
        if self.judged < 2 {
            return "-".to_owned();
        }
        let rules = [
            (self.longest_asleep, "FIFO"),
            (self.last_asleep, "LIFO"),
            (self.first_registered, "first"),
            (self.last_registered, "last"),
            (self.same, "same"),
        ];
        let fits: Vec<&str> = rules
            .iter()
            .filter(|(share, _)| share.is_some_and(|share| share >= RULE))
            .map(|(_, name)| *name)
            .collect();
        match (fits.is_empty(), variant) {
            (false, _) => fits.join(", "),
            (true, Variant::Reuseport) => "hash".to_owned(),
            (true, _) => "mixed".to_owned(),
        }
    }
}
