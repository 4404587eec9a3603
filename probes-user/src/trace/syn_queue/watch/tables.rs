//! The tables of the watch, and what binds each queue.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Namespace;
use super::listeners::Listener;
use crate::evidence::Table;
use crate::trace::Context;
use crate::trace::tcp::ends::Ends;
use crate::trace::tcp::flow::Flow;
use crate::trace::tcp::queues::{
    COOKIES_SENT, COOKIES_VALID, COUNTERS, KNOBS, MAX_SYN_BACKLOG, SOMAXCONN, SYNCOOKIES,
};

pub type Row<'a> = (&'a Listener, &'a Flow);

/// What the tables are made from beside the listeners.
pub struct View<'a> {
    pub begun: u64,
    pub namespaces: BTreeMap<u32, &'a Namespace>,
    /// Which evidence there is: `tcp_conn_request`, the cookie functions, requests' timers.
    pub functions: bool,
    pub cookies: bool,
    pub timers: bool,
    pub context: &'a Context,
}

/// The limit of a queue and the knob that sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub length: u64,
    pub knob: &'static str,
}

impl View<'_> {
    fn knob(&self, its: &Listener, name: &str) -> Option<u64> {
        self.namespaces.get(&its.ends.netns)?.last.knob(name)
    }

    pub fn accept_limit(&self, its: &Listener) -> Limit {
        let length = u64::from(its.limit);
        let somaxconn = self.knob(its, SOMAXCONN);
        let knob = match somaxconn {
            Some(most) if length >= most => "somaxconn",
            _ => "backlog",
        };
        Limit { length, knob }
    }

    /// A SYN queue holds as many as the accept queue may. Without cookies, only three quarters of
    /// tcp_max_syn_backlog are for peers that the kernel does not know (tcp_conn_request). None = no entries.
    pub fn half_open_limit(&self, its: &Listener) -> Option<Limit> {
        let own = self.accept_limit(its);
        match (self.knob(its, SYNCOOKIES), self.knob(its, MAX_SYN_BACKLOG)) {
            (Some(2), _) => None,
            (Some(0), Some(most)) if most - most / 4 < own.length => Some(Limit {
                length: most - most / 4,
                knob: "tcp_max_syn_backlog",
            }),
            _ => Some(own),
        }
    }

    /// Cookies sent and found valid; none = not known by listener.
    pub fn cookies_of(&self, its: &Listener) -> Option<(u64, u64)> {
        if self.cookies {
            return Some((its.cookies_sent, its.cookies_valid));
        }
        let namespace = self.namespaces.get(&its.ends.netns)?;
        namespace.of_one().then(|| {
            (
                namespace.grown(COOKIES_SENT),
                namespace.grown(COOKIES_VALID),
            )
        })
    }

    pub fn tables(
        &self,
        rows: &[Row<'_>],
        dropped: &BTreeMap<(Ends, Option<u32>), u64>,
    ) -> Vec<Table> {
        vec![
            self.syn_queues(rows),
            self.accept_queues(rows),
            self.listeners(rows),
            self.namespaces(),
            self.counters(),
            self.dropped(dropped),
        ]
    }

    fn syn_queues(&self, rows: &[Row<'_>]) -> Table {
        let columns = [
            ("local", "listener"),
            ("half_open_count", "half-open"),
            ("most_count", "most"),
            ("limit_count", "limit"),
            ("knob", "set by"),
            ("requests_count", "requests"),
            ("cookies_sent_count", "cookies"),
            ("cookies_valid_count", "valid"),
        ];
        let mut table = Table::new("syn_queues", "SYN queues: half-open connections", &columns);
        for (its, _) in rows {
            let limit = self.half_open_limit(its);
            let cookies = self.cookies_of(its);
            table.rows.push(vec![
                json!(its.ends.local.to_string()),
                json!(its.half_open),
                json!(its.half_open_most),
                json!(limit.map_or(0, |limit| limit.length)),
                json!(limit.map_or("tcp_syncookies 2", |limit| limit.knob)),
                json!(self.timers.then_some(its.requests)),
                json!(cookies.map(|(sent, _)| sent)),
                json!(cookies.map(|(_, valid)| valid)),
            ]);
        }
        table
    }

    fn accept_queues(&self, rows: &[Row<'_>]) -> Table {
        let columns = [
            ("local", "listener"),
            ("waiting_count", "waiting"),
            ("most_count", "most"),
            ("limit_count", "limit"),
            ("knob", "set by"),
            ("connections_count", "connections"),
            ("drops_count", "dropped"),
        ];
        let title = "Accept queues: connections that wait for accept()";
        let mut table = Table::new("accept_queues", title, &columns);
        for (its, _) in rows {
            let limit = self.accept_limit(its);
            table.rows.push(vec![
                json!(its.ends.local.to_string()),
                json!(its.waiting),
                json!(its.waiting_most),
                json!(limit.length),
                json!(limit.knob),
                json!(its.connections),
                json!(its.drops()),
            ]);
        }
        table
    }

    fn listeners(&self, rows: &[Row<'_>]) -> Table {
        let columns = [
            ("pid", "pid"),
            ("process", "process"),
            ("local", "listener"),
            ("asked", "backlog asked"),
            ("limit_count", "effective"),
            ("opened_ms", "opened at ms"),
            ("closed_ms", "closed at ms"),
            ("netns", "netns"),
        ];
        let mut table = Table::new("listeners", "Who listens", &columns);
        let at = |time: Option<u64>| {
            time.map(|time| time.saturating_sub(self.begun) as f64 / 1e6)
                .map(|ms| (ms * 10.0).round() / 10.0)
        };
        for (its, flow) in rows {
            let owner = flow.owner.as_ref();
            table.rows.push(vec![
                json!(owner.map(|owner| owner.pid)),
                json!(owner.map(|owner| &owner.comm)),
                json!(its.ends.local.to_string()),
                json!(self.asked(its)),
                json!(its.limit),
                json!(at(its.opened)),
                json!(at(its.closed)),
                json!(its.ends.netns),
            ]);
        }
        table
    }

    /// listen() takes what was asked for, or somaxconn if that is less.
    fn asked(&self, its: &Listener) -> String {
        match self.knob(its, SOMAXCONN) {
            Some(most) if u64::from(its.limit) >= most => format!("{} or more", its.limit),
            _ => its.limit.to_string(),
        }
    }

    fn namespaces(&self) -> Table {
        let columns = [
            ("netns", "netns"),
            ("somaxconn", "somaxconn"),
            ("tcp_max_syn_backlog", "tcp_max_syn_backlog"),
            ("tcp_syncookies", "tcp_syncookies"),
            ("tcp_abort_on_overflow", "tcp_abort_on_overflow"),
        ];
        let mut table = Table::new("knobs", "The knobs of each network namespace", &columns);
        for (netns, its) in &self.namespaces {
            let mut row: Vec<Value> = vec![json!(netns)];
            row.extend(KNOBS.iter().map(|name| json!(its.last.knob(name))));
            table.rows.push(row);
        }
        table
    }

    fn counters(&self) -> Table {
        let columns = [
            ("netns", "netns"),
            ("counter", "counter"),
            ("count", "while watched"),
        ];
        let mut table = Table::new("counters", "What each namespace counted", &columns);
        for (netns, its) in &self.namespaces {
            for name in COUNTERS.iter().filter(|name| its.grown(name) > 0) {
                table
                    .rows
                    .push(vec![json!(netns), json!(name), json!(its.grown(name))]);
            }
        }
        table
    }

    fn dropped(&self, dropped: &BTreeMap<(Ends, Option<u32>), u64>) -> Table {
        let columns = [
            ("local", "to"),
            ("reason", "kernel's reason"),
            ("count", "packets"),
        ];
        let title = "Packets to listeners that the kernel dropped, as it says why";
        let mut table = Table::new("packet_drops", title, &columns);
        for ((ends, reason), count) in dropped {
            let name = |reason| self.context.reason_name("skb_drop_reason", reason);
            let name = reason.and_then(name);
            table.rows.push(vec![
                json!(ends.local.to_string()),
                json!(name),
                json!(count),
            ]);
        }
        table
    }
}
