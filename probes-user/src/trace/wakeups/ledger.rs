//! The tables of the lab: hand-offs, delays by cause, and the tasks beside the kernel's own counts.

use serde_json::json;

use super::facts;
use super::hops::{self, Delay};
use super::judge::histogram;
use super::marks;
use crate::evidence::Ledger;
use crate::evidence::ledger::Table;
use crate::trace::herd::stack::Classifier;
use crate::trace::scripted::{CaseLog, Cases};

pub fn of_lab(cases: &Cases, classifier: &Classifier) -> Ledger {
    let mut ledger = Ledger::default();
    let mut tables = [hand_offs(), delays(), tasks()];
    for log in cases.logs() {
        add_hand_offs(&mut tables[0], log);
        add_delays(&mut tables[1], log, classifier);
        add_tasks(&mut tables[2], log);
    }
    let filled = tables.into_iter().filter(|table| !table.rows.is_empty());
    ledger.tables.extend(filled);
    ledger
}

fn us(ns: Option<u64>) -> serde_json::Value {
    json!(ns.map(|ns| ns as f64 / 1000.0))
}

fn hand_offs() -> Table {
    Table::new(
        "hand_offs",
        "Hand-offs to and fro between two tasks on one CPU",
        &[
            ("case", "case"),
            ("policy", "policy"),
            ("handoffs_count", "hand-offs"),
            ("undisturbed_count", "undisturbed"),
            ("switches_count", "switches in them"),
            ("sleeps_count", "sleeps in them"),
            ("p50_us", "p50 µs"),
            ("max_us", "max µs"),
        ],
    )
}

fn add_hand_offs(table: &mut Table, log: &CaseLog) {
    let Some(told) = marks::told(log) else {
        return;
    };
    let Some(all) = facts::hand_offs(&log.events, &told) else {
        return;
    };
    let clean: Vec<_> = all.iter().filter(|one| one.clean()).collect();
    let took = histogram(all.iter().map(|one| one.took));
    table.rows.push(vec![
        json!(log.label),
        json!(told.policy),
        json!(all.len()),
        json!(clean.len()),
        json!(clean.iter().map(|one| one.direct).sum::<u64>()),
        json!(clean.iter().flat_map(|one| one.sleeps).sum::<u64>()),
        us(took.quantile(0.5)),
        us(took.max()),
    ]);
}

fn delays() -> Table {
    Table::new(
        "delays",
        "From waking to running, by cause",
        &[
            ("case", "case"),
            ("cause", "cause"),
            ("wakings_count", "wakings"),
            ("to_queue_p50_us", "to queue µs"),
            ("in_queue_p50_us", "in queue µs"),
            ("p50_us", "p50 µs"),
            ("max_us", "max µs"),
        ],
    )
}

fn add_delays(table: &mut Table, log: &CaseLog, classifier: &Classifier) {
    let hops = hops::hops(&log.events, classifier);
    for cause in Delay::ALL {
        let its: Vec<_> = hops
            .iter()
            .filter(|hop| hop.running.is_some() && hop.cause() == cause)
            .collect();
        if its.is_empty() {
            continue;
        }
        let of =
            |part: fn(&hops::Hop) -> Option<u64>| histogram(its.iter().filter_map(|hop| part(hop)));
        let whole = of(hops::Hop::delay);
        table.rows.push(vec![
            json!(log.label),
            json!(cause.words()),
            json!(its.len()),
            us(of(hops::Hop::to_queue).quantile(0.5)),
            us(of(hops::Hop::in_queue).quantile(0.5)),
            us(whole.quantile(0.5)),
            us(whole.max()),
        ]);
    }
}

fn tasks() -> Table {
    Table::new(
        "tasks",
        "The tasks, and what the kernel itself counted of them",
        &[
            ("case", "case"),
            ("task", "task"),
            ("pid", "pid"),
            ("voluntary_count", "sleeps"),
            ("kernel_voluntary_count", "by kernel"),
            ("involuntary_count", "preempted"),
            ("kernel_involuntary_count", "by kernel"),
            ("run_delay_ns", "run delay ns"),
            ("kernel_run_delay_ns", "by kernel"),
        ],
    )
}

fn add_tasks(table: &mut Table, log: &CaseLog) {
    for task in marks::told(log).into_iter().flat_map(|told| told.tasks) {
        let seen = facts::seen(&log.events, &task);
        let (voluntary, involuntary, run_delay) = task.counted();
        table.rows.push(vec![
            json!(log.label),
            json!(task.name),
            json!(task.pid),
            json!(seen.voluntary),
            json!(voluntary),
            json!(seen.involuntary),
            json!(involuntary),
            json!(seen.run_delay_ns),
            json!(run_delay),
        ]);
    }
}
