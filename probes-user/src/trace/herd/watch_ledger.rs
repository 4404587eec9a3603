//! The tables of a watch: per listening port, per worker, and the epoll registrations seen.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::calls;
use super::stack::Cause;
use super::totals::Totals;
use super::wait_queue;
use super::watch_fold::WatchFold;
use super::watch_remarks;
use super::worker::Worker;
use crate::evidence::statistics::{ratio, rounded};
use crate::evidence::{Ledger, Table};

/// Workers listed; a server with more has the rest summed up.
const WORKERS: usize = 64;

pub fn ledger(watch: &WatchFold) -> Ledger {
    let totals = watch.crowd.connections.totals();
    Ledger {
        tables: vec![
            listeners(watch, &totals),
            woken(&totals),
            workers(watch),
            registrations(watch),
            wait_queue::table(std::iter::once(("watch".to_owned(), &watch.crowd.counts))),
        ],
        remarks: watch_remarks::all(watch, &totals),
        timeline: Vec::new(),
    }
}

fn listeners(watch: &WatchFold, totals: &std::collections::BTreeMap<u16, Totals>) -> Table {
    let mut table = Table::new(
        "listeners",
        "Listening ports (means per connection)",
        &[
            ("port", "port"),
            ("sockets_count", "sockets"),
            ("descriptors_count", "fds"),
            ("connections_count", "conns"),
            ("not_accepted_count", "queued"),
            ("sleepers_mean", "asleep"),
            ("woken_mean", "woken"),
            ("woken_max", "max"),
            ("cascades_per_connection", "cascade"),
            ("useless_per_connection", "useless"),
            ("silent_per_connection", "silent"),
            ("eagain_count", "EAGAIN"),
            ("wasted_us_per_connection", "wasted µs"),
        ],
    );
    table.rows = totals
        .iter()
        .map(|(port, totals)| {
            let per = |sum| rounded(totals.per_connection(sum));
            vec![
                json!(port),
                json!(
                    watch
                        .crowd
                        .listeners
                        .get(port)
                        .map(std::collections::BTreeSet::len)
                ),
                json!(watch.listeners.get(port).map(|listener| listener.sockets)),
                json!(totals.connections),
                json!(totals.connections - totals.accepted),
                per(totals.sleepers),
                per(totals.woken),
                json!(totals.max_woken),
                per(totals.cascades),
                per(totals.useless),
                per(totals.silent),
                json!(watch.crowd.eagain_by_port.get(port).copied().unwrap_or(0)),
                rounded(totals.us_per_connection(totals.wasted_ns)),
            ]
        })
        .collect();
    table
}

fn woken(totals: &std::collections::BTreeMap<u16, Totals>) -> Table {
    let columns = [
        ("port", "port"),
        ("woken_count", "woken"),
        ("connections_count", "connections"),
        ("share_ratio", "share"),
    ];
    let mut table = Table::new(
        "woken",
        "Sleeping waiters woken by one connection",
        &columns,
    );
    for (port, totals) in totals {
        table
            .rows
            .extend(totals.histogram.iter().map(|(woken, count)| {
                vec![
                    json!(port),
                    json!(woken),
                    json!(count),
                    rounded(ratio(*count, totals.connections)),
                ]
            }));
    }
    table
}

fn workers(watch: &WatchFold) -> Table {
    let mut table = Table::new(
        "workers",
        "Workers (wakeups out of a waiting call, by cause)",
        &[
            ("pid", "pid"),
            ("comm", "comm"),
            ("won_count", "won"),
            ("by_connection_count", "by conn"),
            ("by_cascade_count", "cascade"),
            ("by_data_count", "data"),
            ("by_timer_count", "timer"),
            ("by_other_count", "other"),
            ("useless_count", "useless"),
            ("eagain_count", "EAGAIN"),
            ("switches_count", "switches"),
            ("on_cpu_us", "cpu µs"),
        ],
    );
    let mut acceptors = acceptors(watch);
    acceptors.sort_by_key(|worker| (std::cmp::Reverse(worker.won), worker.pid));
    table.rows = acceptors
        .iter()
        .take(WORKERS)
        .map(|worker| worker_row(worker))
        .collect();
    table
}

fn worker_row(worker: &Worker) -> Vec<Value> {
    let shown = [Cause::Connection, Cause::Cascade, Cause::Data, Cause::Timer];
    let other: u64 = worker
        .wakeups
        .iter()
        .filter(|(cause, _)| !shown.contains(cause))
        .map(|w| w.1)
        .sum();
    let mut row = vec![json!(worker.pid), json!(worker.comm), json!(worker.won)];
    row.extend(shown.iter().map(|cause| json!(worker.wakeups_by(*cause))));
    let switches = worker.task.voluntary + worker.task.involuntary;
    row.extend(
        [
            other,
            worker.useless,
            worker.eagain,
            switches,
            worker.task.on_cpu_ns / 1000,
        ]
        .map(Value::from),
    );
    row
}

/// Tasks that have to do with a listener: accepted or tried to, were woken by a connection, or registered
/// it; and those of the same name that wait as they do, for under an accept mutex most workers wait for
/// their turn with no listener registered, and only their timers show.
pub fn acceptors(watch: &WatchFold) -> Vec<&Worker> {
    let registered: BTreeSet<u32> = watch
        .crowd
        .registrations
        .iter()
        .map(|(tgid, _, _)| tgid)
        .collect();
    let workers = || watch.crowd.workers.values().chain(&watch.crowd.departed);
    let direct = |worker: &Worker| worker.met_a_listener() || registered.contains(&worker.pid);
    let names: BTreeSet<&str> = workers()
        .filter(|worker| direct(worker))
        .map(|worker| worker.comm.as_str())
        .filter(|name| !name.is_empty())
        .collect();
    workers()
        .filter(|worker| {
            direct(worker) || (names.contains(worker.comm.as_str()) && worker.has_waited())
        })
        .collect()
}

fn registrations(watch: &WatchFold) -> Table {
    let columns = [
        ("pid", "pid"),
        ("comm", "comm"),
        ("port", "port"),
        ("events", "events"),
        ("set_count", "set"),
        ("removed_count", "removed"),
    ];
    let mut table = Table::new("registrations", "Listeners in epoll instances", &columns);
    table.rows = watch
        .crowd
        .registrations
        .iter()
        .map(|(tgid, port, registration)| {
            let departed = || {
                watch
                    .crowd
                    .departed
                    .iter()
                    .find(|worker| worker.pid == tgid)
            };
            let worker = watch.crowd.workers.get(&tgid).or_else(departed);
            let comm = worker.map(|worker| worker.comm.clone());
            vec![
                json!(tgid),
                json!(comm),
                json!(port),
                json!(calls::epoll_words(registration.events)),
                json!(registration.set),
                json!(registration.removed),
            ]
        })
        .collect();
    table
}
