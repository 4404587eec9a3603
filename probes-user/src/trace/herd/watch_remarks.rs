//! What the numbers of a watch mean, one plain sentence each.

use std::collections::BTreeMap;

use super::calls;
use super::stack::Cause;
use super::totals::Totals;
use super::watch_fold::WatchFold;
use super::watch_ledger::acceptors;
use crate::evidence::statistics::{gini, ratio};

/// Woken waiters per connection from which on it is called a herd.
const HERD: f64 = 1.5;
/// Connections from which on the balance between workers says anything.
const BALANCE_MIN: u64 = 20;

pub fn all(watch: &WatchFold, totals: &BTreeMap<u16, Totals>) -> Vec<String> {
    let mut remarks = Vec::new();
    if totals.is_empty() {
        remarks.push("no connection was established on the followed ports".to_owned());
    }
    for (port, totals) in totals {
        remarks.push(herd(watch, *port, totals));
        remarks.extend(beside(*port, totals));
    }
    remarks.extend(removals(watch));
    remarks.extend(timers(watch));
    remarks.extend(balance(watch));
    remarks.extend(doubts(watch));
    remarks
}

fn herd(watch: &WatchFold, port: u16, totals: &Totals) -> String {
    let mean = ratio(totals.crowded_woken, totals.crowded);
    let (Some(woken), Some(asleep)) = (mean, ratio(totals.crowded_sleepers, totals.crowded)) else {
        return format!("port {port}: no connection met two sleeping waiters: a herd cannot show");
    };
    let numbers = format!("one connection wakes {woken:.1} of {asleep:.1} waiting workers");
    if woken < HERD {
        return format!("port {port}: no herd: {numbers}{}", reason(watch, port));
    }
    format!("port {port}: {numbers}: a herd{}", cure(watch, port))
}

/// Registrations of the port, and those of them with EPOLLEXCLUSIVE.
fn exclusive(watch: &WatchFold, port: u16) -> (u64, u64) {
    let of_port = watch
        .crowd
        .registrations
        .iter()
        .filter(|(_, its, _)| *its == port);
    of_port.fold((0, 0), |(all, exclusive), (_, _, registration)| {
        (
            all + 1,
            exclusive + u64::from(registration.events & calls::EXCLUSIVE != 0),
        )
    })
}

fn cure(watch: &WatchFold, port: u16) -> String {
    match exclusive(watch, port) {
        (0, _) => "; no epoll registration of it was seen".to_owned(),
        (_, 0) => "; no EPOLLEXCLUSIVE in its registrations: set it, or SO_REUSEPORT".to_owned(),
        (all, some) => format!("; {some} of its {all} registrations have EPOLLEXCLUSIVE"),
    }
}

fn reason(watch: &WatchFold, port: u16) -> String {
    let sockets = watch
        .crowd
        .listeners
        .get(&port)
        .map_or(0, std::collections::BTreeSet::len);
    match exclusive(watch, port) {
        (all, some) if all > 0 && all == some => " (EPOLLEXCLUSIVE)".to_owned(),
        _ if sockets > 1 => format!(" ({sockets} sockets share the port: SO_REUSEPORT)"),
        _ => String::new(),
    }
}

fn beside(port: u16, totals: &Totals) -> Vec<String> {
    let mut remarks = Vec::new();
    let cascades = totals.per_connection(totals.cascades).unwrap_or(0.0);
    if cascades >= 0.1 {
        remarks.push(format!(
            "port {port}: {cascades:.1} more per connection are woken by one another (cascade)"
        ));
    }
    let queued = totals.connections - totals.accepted;
    if queued > 0 {
        remarks.push(format!(
            "port {port}: connections accepted by nobody so far: {queued}"
        ));
    }
    let wasted = totals.us_per_connection(totals.wasted_ns).unwrap_or(0.0);
    if totals.useless > 0 {
        let useless = totals.per_connection(totals.useless).unwrap_or(0.0);
        remarks.push(format!(
            "port {port}: {useless:.1} useless wakeups per connection cost {wasted:.1} µs of CPU each time"
        ));
    }
    remarks
}

/// Why a worker takes the listener out of its epoll instance: to let others have their turn, or to go
/// to the end of an exclusive queue (nginx does so since 1.21.6, after every 16th accept).
fn removals(watch: &WatchFold) -> Option<String> {
    let registrations = &watch.crowd.registrations;
    let removed: u64 = registrations
        .iter()
        .map(|(_, _, registration)| registration.removed)
        .sum();
    let exclusive = registrations
        .iter()
        .all(|(_, _, registration)| registration.events & calls::EXCLUSIVE != 0);
    let meaning = if exclusive {
        "each time a worker goes to the end of the exclusive queue, which balances"
    } else {
        "the workers take turns (accept mutex)"
    };
    (removed > 0).then(|| format!("listeners were taken out of epoll {removed} times: {meaning}"))
}

fn timers(watch: &WatchFold) -> Option<String> {
    let timers: u64 = acceptors(watch)
        .iter()
        .map(|worker| worker.wakeups_by(Cause::Timer))
        .sum();
    let rate = ratio(timers + watch.crowd.gone.timer, 1)? / watch.seconds()?;
    (rate >= 0.5).then(|| {
        format!("{rate:.1} timer wakeups per s with nothing to do: a time-out in the waiting call (accept_mutex, an event loop's own timers)")
    })
}

fn balance(watch: &WatchFold) -> Option<String> {
    let workers = acceptors(watch);
    let shares: Vec<u64> = workers.iter().map(|worker| worker.won).collect();
    let all: u64 = shares.iter().sum();
    let busiest = workers.iter().max_by_key(|worker| worker.won)?;
    if all < BALANCE_MIN || shares.len() < 2 {
        return None;
    }
    let share = ratio(busiest.won, all)? * 100.0;
    let name = format!("{} {}", busiest.comm, busiest.pid);
    Some(format!(
        "balance: the busiest of {} workers ({}) took {share:.0}% of {all} connections, Gini {:.2}",
        shares.len(),
        name.trim(),
        gini(&shares)?
    ))
}

fn doubts(watch: &WatchFold) -> Vec<String> {
    let counts = &watch.crowd.counts;
    let gone = &watch.crowd.gone;
    let told = [
        (
            counts.unattributed,
            "wakings by connections that began before the watch or were lost",
        ),
        (
            counts.no_stack,
            "wakings without a kernel stack, their cause is not known",
        ),
        (
            counts.accepts_unseen,
            "accepts of connections whose beginning was not seen",
        ),
        (
            gone.won,
            "connections of workers that exited and have no row",
        ),
    ];
    told.iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{what}: {count}"))
        .collect()
}
