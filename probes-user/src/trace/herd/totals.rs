//! Sums over connections: what a scene's or a listener's numbers are made of.

use std::collections::BTreeMap;

use super::connection::Connection;
use crate::evidence::statistics::ratio;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    pub connections: u64,
    pub accepted: u64,
    pub sleepers: u64,
    pub registered: u64,
    pub woken: u64,
    pub max_woken: u64,
    /// Woken waiters → connections that woke so many.
    pub histogram: BTreeMap<u64, u64>,
    pub cascades: u64,
    pub silent: u64,
    pub eagain: u64,
    pub useless: u64,
    pub switches: u64,
    pub on_cpu_ns: u64,
    pub wasted_switches: u64,
    pub wasted_ns: u64,
    /// Connections that met two or more sleeping waiters, and the sums over those alone.
    pub crowded: u64,
    pub crowded_woken: u64,
    pub crowded_sleepers: u64,
}

impl Totals {
    pub fn of<'a>(connections: impl Iterator<Item = &'a Connection>) -> Totals {
        let mut totals = Totals::default();
        connections.for_each(|connection| totals.add(connection));
        totals
    }

    pub fn add(&mut self, connection: &Connection) {
        let woken = connection.woken.len() as u64;
        let sleepers = connection.sleepers.len() as u64;
        self.connections += 1;
        self.accepted += u64::from(connection.winner.is_some());
        self.sleepers += sleepers;
        self.registered += connection.registered_sleepers() as u64;
        self.woken += woken;
        self.max_woken = self.max_woken.max(woken);
        *self.histogram.entry(woken).or_default() += 1;
        self.cascades += u64::from(connection.cascades);
        self.silent += u64::from(connection.silent);
        self.eagain += u64::from(connection.eagain);
        self.useless += u64::from(connection.useless);
        self.switches += u64::from(connection.switches);
        self.on_cpu_ns = self.on_cpu_ns.saturating_add(connection.on_cpu_ns);
        self.wasted_switches += u64::from(connection.wasted_switches);
        self.wasted_ns = self.wasted_ns.saturating_add(connection.wasted_ns);
        if sleepers >= 2 {
            self.crowded += 1;
            self.crowded_woken += woken;
            self.crowded_sleepers += sleepers;
        }
    }

    /// A sum per connection; None without connections.
    pub fn per_connection(&self, sum: u64) -> Option<f64> {
        ratio(sum, self.connections)
    }

    /// Microseconds per connection from a sum of nanoseconds.
    pub fn us_per_connection(&self, sum_ns: u64) -> Option<f64> {
        self.per_connection(sum_ns).map(|ns| ns / 1000.0)
    }
}
