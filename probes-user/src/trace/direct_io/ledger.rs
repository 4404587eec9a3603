//! The lab's tables: steps with the pages and the requests they cost, and what was left of the hot files.

use serde_json::{Value, json};

use super::evidence::View;
use super::judge::errno;
use super::marks::{self, HOT, Hot, NOT_TRIED};
use crate::evidence::Ledger;
use crate::evidence::ledger::Table;
use crate::trace::pages::steps::lacking;
use crate::trace::scripted::Cases;

pub fn of_lab(cases: &Cases) -> Ledger {
    let mut ledger = Ledger::default();
    let (mut steps, mut tries, mut hot) = (steps(), tries(), hot());
    for log in cases.logs() {
        if let Some((_, why)) = lacking(log) {
            let label = &log.label;
            ledger.remarks.push(format!("{label} was left out: {why}."));
        }
        for why in marks::all::<Value>(log, NOT_TRIED) {
            let why = why["why"].as_str().unwrap_or_default();
            ledger.remarks.push(format!("{}: {why}.", log.label));
        }
        if let Some(view) = View::of(log) {
            rows_of(&log.label, &view, &mut steps, &mut tries);
        }
        for its in marks::all::<Hot>(log, HOT) {
            hot.rows.push(vec![
                json!(its.direct),
                json!(its.touched),
                json!(its.pages),
                json!(its.pages_before),
                json!(its.pages_after),
                json!(its.dropped_by_others),
                json!(its.before),
                json!(its.after),
                json!(its.cached_before_bytes),
                json!(its.cached_after_bytes),
            ]);
        }
    }
    let tables = [steps, tries, hot];
    ledger.tables = tables
        .into_iter()
        .filter(|its| !its.rows.is_empty())
        .collect();
    ledger
}

fn rows_of(label: &str, view: &View, steps: &mut Table, tries: &mut Table) {
    for step in view.steps() {
        steps.rows.push(vec![
            json!(format!("{label}/{}", step.sums.step.name)),
            json!(step.bytes()),
            json!(step.direct_bytes()),
            json!(step.inserted()),
            json!(step.resident()),
            json!(step.disk.reads),
            json!(step.disk.read_merges),
            json!(step.disk.read_bytes),
        ]);
    }
    for tried in &view.tried {
        let inserted = view.step(&tried.step).map(|step| step.inserted());
        tries.rows.push(vec![
            json!(format!("{label}/{}", tried.step)),
            match tried.ret {
                ret if ret < 0 => json!(errno(-ret)),
                ret => json!(ret.to_string()),
            },
            inserted.as_ref().map_or(Value::Null, |its| json!(its)),
            json!(way(tried.ret, inserted.ok())),
        ]);
    }
}

fn way(ret: i64, inserted: Option<u64>) -> &'static str {
    match (ret, inserted) {
        (..0, _) => "refused",
        (_, Some(0)) => "direct",
        (_, Some(_)) => "through the cache",
        (_, None) => "not known",
    }
}

fn steps() -> Table {
    Table::new(
        "steps",
        "What each step asked for, what it put into the cache, and what the disk did",
        &[
            ("step", "step"),
            ("asked_bytes", "asked"),
            ("direct_bytes", "direct"),
            ("inserted_count", "inserted"),
            ("resident_count", "in memory"),
            ("requests_count", "requests"),
            ("merged_count", "merged"),
            ("read_bytes", "disk read"),
        ],
    )
}

fn tries() -> Table {
    Table::new(
        "tries",
        "Calls that may not be possible past the cache",
        &[
            ("step", "call"),
            ("result", "result"),
            ("inserted_count", "inserted"),
            ("way", "way"),
        ],
    )
}

fn hot() -> Table {
    Table::new(
        "hot",
        "Hot files beside a stream that is larger than the group's memory",
        &[
            ("direct", "O_DIRECT"),
            ("touched_count", "read before"),
            ("pages_count", "pages"),
            ("before_count", "before"),
            ("after_count", "after"),
            ("dropped_by_others_count", "by others"),
            ("files_before_count", "files"),
            ("files_after_count", "files after"),
            ("cached_before_bytes", "memory.stat"),
            ("cached_after_bytes", "after"),
        ],
    )
}
