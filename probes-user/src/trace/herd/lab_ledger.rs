//! The tables of a lab run: per scene, and in detail per worker, per connection and per check.

use serde_json::{Value, json};

use super::connection::Connection;
use super::marks::Variant;
use super::order::Order;
use super::scene::SceneResult;
use super::stack::Cause;
use super::wait_queue;
use crate::evidence::statistics::{ratio, rounded};
use crate::evidence::{Ledger, Table};

pub fn ledger(scenes: &[SceneResult]) -> Ledger {
    Ledger {
        tables: vec![
            herd(scenes),
            cost(scenes),
            balance(scenes),
            workers(scenes),
            connections(scenes),
            accounts(scenes),
            checks(scenes),
            wait_queue::table(scenes.iter().map(|scene| (scene.label(), &scene.counts))),
        ],
        remarks: remarks(scenes),
        timeline: Vec::new(),
    }
}

fn herd(scenes: &[SceneResult]) -> Table {
    let mut table = Table::new(
        "herd",
        "Wakeups per connection",
        &[
            ("scene", "scene"),
            ("connections_count", "conns"),
            ("sleepers_mean", "asleep"),
            ("registered_mean", "regist."),
            ("woken_mean", "woken"),
            ("woken_max", "max"),
            ("cascades_per_connection", "cascade"),
            ("silent_per_connection", "silent"),
            ("useless_per_connection", "useless"),
        ],
    );
    table.rows = scenes
        .iter()
        .map(|scene| {
            let totals = &scene.totals;
            let per = |sum| rounded(totals.per_connection(sum));
            let mutex = scene.mark.variant == Variant::AcceptMutex;
            vec![
                json!(scene.label()),
                json!(totals.connections),
                per(totals.sleepers),
                if mutex {
                    per(totals.registered)
                } else {
                    Value::Null
                },
                per(totals.woken),
                json!(totals.max_woken),
                per(totals.cascades),
                per(totals.silent),
                per(totals.useless),
            ]
        })
        .collect();
    table
}

fn cost(scenes: &[SceneResult]) -> Table {
    let mut table = Table::new(
        "cost",
        "Cost per connection (wasted = of workers that got nothing; run = from waking to running)",
        &[
            ("scene", "scene"),
            ("eagain_per_connection", "EAGAIN"),
            ("switches_per_connection", "switches"),
            ("wasted_switches_per_connection", "wasted"),
            ("on_cpu_us_per_connection", "cpu µs"),
            ("wasted_us_per_connection", "wasted µs"),
            ("wake_to_run_p50_us", "run p50 µs"),
            ("wake_to_run_p99_us", "p99 µs"),
        ],
    );
    table.rows = scenes
        .iter()
        .map(|scene| {
            let totals = &scene.totals;
            let per = |sum| rounded(totals.per_connection(sum));
            let latency =
                |share| rounded(scene.latency.quantile(share).and_then(|ns| ratio(ns, 1000)));
            vec![
                json!(scene.label()),
                per(totals.eagain),
                per(totals.switches),
                per(totals.wasted_switches),
                rounded(totals.us_per_connection(totals.on_cpu_ns)),
                rounded(totals.us_per_connection(totals.wasted_ns)),
                latency(0.5),
                latency(0.99),
            ]
        })
        .collect();
    table
}

fn balance(scenes: &[SceneResult]) -> Table {
    let mut table = Table::new(
        "balance",
        "Balance, and who is woken first (FIFO longest asleep, LIFO last to sleep, first/last to be forked)",
        &[
            ("scene", "scene"),
            ("gini_ratio", "Gini"),
            ("busiest_ratio", "busiest"),
            ("timer_wakeups_per_connection", "timer wakeups"),
            ("order", "order"),
        ],
    );
    table.rows = scenes
        .iter()
        .map(|scene| {
            vec![
                json!(scene.label()),
                rounded(scene.gini()),
                rounded(scene.busiest()),
                rounded(ratio(
                    scene.wakeups_by(Cause::Timer),
                    scene.totals.connections,
                )),
                json!(Order::of(scene).told(scene.mark.variant)),
            ]
        })
        .collect();
    table
}

fn workers(scenes: &[SceneResult]) -> Table {
    let mut columns = vec![
        ("scene", "scene"),
        ("index", "#"),
        ("pid", "pid"),
        ("won_count", "won"),
    ];
    columns.extend([
        ("by_connection_count", "conn."),
        ("by_cascade_count", "casc."),
        ("by_timer_count", "timer"),
        ("by_lock_count", "lock"),
        ("by_other_count", "other"),
        ("useless_count", "useless"),
        ("eagain_count", "EAGAIN"),
        ("voluntary_switches_count", "vol."),
        ("involuntary_switches_count", "invol."),
        ("on_cpu_us", "cpu µs"),
    ]);
    let mut table = Table::new("workers", "Workers", &columns).detailed();
    for scene in scenes {
        table.rows.extend(scene.workers.iter().map(|worker| {
            let shown = [
                Cause::Connection,
                Cause::Cascade,
                Cause::Timer,
                Cause::LockHandoff,
            ];
            let other: u64 = worker
                .wakeups
                .iter()
                .filter(|(cause, _)| !shown.contains(cause))
                .map(|w| w.1)
                .sum();
            let mut row = vec![
                json!(scene.label()),
                json!(worker.index),
                json!(worker.pid),
                json!(worker.won),
            ];
            row.extend(shown.iter().map(|cause| json!(worker.wakeups_by(*cause))));
            row.extend([other, worker.useless, worker.eagain].map(Value::from));
            let task = &worker.task;
            row.extend([task.voluntary, task.involuntary, task.on_cpu_ns / 1000].map(Value::from));
            row
        }));
    }
    table
}

fn accounts(scenes: &[SceneResult]) -> Table {
    let columns = [
        ("scene", "scene"),
        ("pid", "pid"),
        ("voluntary_switches_count", "vol."),
        ("kernel_voluntary_switches_count", "kernel"),
        ("involuntary_switches_count", "invol."),
        ("kernel_involuntary_switches_count", "kernel"),
        ("on_cpu_ns", "cpu ns"),
        ("kernel_on_cpu_ns", "kernel"),
        ("kernel_runs_count", "runs"),
        ("kernel_run_delay_ns", "run delay"),
    ];
    let title = "Switches and time on a CPU, as seen and by the kernel's own account";
    let mut table = Table::new("accounts", title, &columns).detailed();
    for scene in scenes {
        table.rows.extend(scene.audits.iter().map(|audit| {
            let (kernel, times) = (&audit.kernel, audit.times());
            vec![
                json!(scene.label()),
                json!(audit.pid),
                json!(audit.voluntary),
                json!(kernel.voluntary),
                json!(audit.involuntary),
                json!(kernel.involuntary),
                json!(audit.on_cpu_ns),
                json!(times.map(|times| times.on_cpu_ns)),
                json!(times.map(|times| times.runs)),
                json!(times.map(|times| times.run_delay_ns)),
            ]
        }));
    }
    table
}

fn connections(scenes: &[SceneResult]) -> Table {
    let mut table = Table::new(
        "connections",
        "Connections",
        &[
            ("scene", "scene"),
            ("index", "#"),
            ("client_port", "port"),
            ("sleepers_count", "asleep"),
            ("woken_count", "woken"),
            ("cascades_count", "casc."),
            ("silent_count", "silent"),
            ("eagain_count", "EAGAIN"),
            ("first_woken_index", "1st"),
            ("winner_index", "won"),
            ("useless_count", "useless"),
            ("wasted_us", "wasted"),
            ("wake_to_run_us", "run"),
            ("accept_us", "acc. µs"),
        ],
    )
    .detailed();
    for scene in scenes {
        table.rows.extend(
            scene
                .connections
                .iter()
                .map(|connection| row(scene, connection)),
        );
    }
    table
}

fn row(scene: &SceneResult, connection: &Connection) -> Vec<Value> {
    let index = |pid: Option<u32>| {
        scene
            .workers
            .iter()
            .find(|worker| Some(worker.pid) == pid)
            .and_then(|worker| worker.index)
    };
    let accept_ns = connection
        .accepted_at
        .map(|at| at.saturating_sub(connection.established_at));
    vec![
        json!(scene.label()),
        json!(connection.id),
        json!(connection.client_port),
        json!(connection.sleepers.len()),
        json!(connection.woken.len()),
        json!(connection.cascades),
        json!(connection.silent),
        json!(connection.eagain),
        json!(index(connection.woken.first().copied())),
        json!(index(connection.winner)),
        json!(connection.useless),
        micros(Some(connection.wasted_ns)),
        micros(connection.latency_ns),
        micros(accept_ns),
    ]
}

fn micros(ns: Option<u64>) -> Value {
    rounded(ns.and_then(|ns| ratio(ns, 1000)))
}

fn checks(scenes: &[SceneResult]) -> Table {
    let columns = [
        ("scene", "scene"),
        ("what", "what"),
        ("agrees", "agrees"),
        ("counts", "counts"),
    ];
    let mut table =
        Table::new("checks", "Independent counts of the same thing", &columns).detailed();
    for scene in scenes {
        table.rows.extend(scene.checks.iter().map(|check| {
            vec![
                json!(scene.label()),
                json!(check.what),
                json!(check.agrees()),
                json!(check.told()),
            ]
        }));
    }
    table
}

fn remarks(scenes: &[SceneResult]) -> Vec<String> {
    let differ = scenes.iter().flat_map(|scene| {
        let odd = scene.checks.iter().filter(|check| !check.agrees());
        odd.map(move |check| format!("{}: counts differ: {}", scene.label(), check.told()))
    });
    let cut = scenes
        .iter()
        .filter(|scene| scene.end.is_none())
        .map(|scene| format!("{}: cut off before its end", scene.label()));
    differ.chain(cut).collect()
}
