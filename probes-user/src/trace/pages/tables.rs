//! Tables of a lab's steps.

use probes_common::pages::Count;
use serde_json::{Value, json};

use super::steps::{Case, Sums, Who, lacking};
use super::witness;
use crate::evidence::Ledger;
use crate::evidence::ledger::Table;
use crate::trace::scripted::Cases;

pub fn of_lab(cases: &Cases) -> Ledger {
    let views: Vec<Case> = cases.logs().filter_map(Case::of).collect();
    let mut remarks: Vec<String> = cases
        .logs()
        .filter_map(lacking)
        .map(|(fs, why)| format!("{} was left out: {why}.", fs.name()))
        .collect();
    remarks.extend(cases.remark());
    Ledger {
        tables: vec![
            reads(&views),
            comings(&views),
            writes(&views),
            witnesses(&views),
        ],
        remarks,
        timeline: Vec::new(),
    }
}

fn each<'a>(cases: &'a [Case]) -> impl Iterator<Item = (&'a Case, Sums<'a>)> {
    cases
        .iter()
        .flat_map(|case| case.all().map(move |sums| (case, sums)))
}

fn reads(cases: &[Case]) -> Table {
    let mut table = Table::new(
        "reads",
        "Reads, in pages asked for",
        &[
            ("step", "step"),
            ("asked_count", "asked"),
            ("hit_ratio", "hit ratio"),
            ("missed_in_call_count", "missed"),
            ("missed_sync_count", "first use: sync"),
            ("missed_async_count", "async"),
            ("unused_count", "ahead, unused"),
            ("mincore_count", "in memory"),
        ],
    );
    for (case, sums) in each(cases).filter(|(_, sums)| sums.asked() > 0) {
        let ahead = sums.counts(Who::Actor, &[Count::inserted_sync, Count::inserted_async]);
        let (sync, later) = (
            sums.count(Who::Actor, Count::missed_sync),
            sums.count(Who::Actor, Count::missed_async),
        );
        table.rows.push(vec![
            name(case, &sums),
            json!(sums.asked()),
            json!(sums.hit_ratio()),
            json!(sums.count(Who::Actor, Count::missed_in_call)),
            json!(sync),
            json!(later),
            json!(ahead.saturating_sub(sync + later)),
            json!(sums.step.resident),
        ]);
    }
    table
}

fn name(case: &Case, sums: &Sums<'_>) -> Value {
    json!(format!("{}/{}", case.label, sums.step.name))
}

fn comings(cases: &[Case]) -> Table {
    let mut table = Table::new(
        "inserted",
        "Pages that came in and left",
        &[
            ("step", "step"),
            ("read_count", "by read"),
            ("sync_count", "sync ahead"),
            ("async_count", "async ahead"),
            ("fault_count", "by fault"),
            ("write_count", "by write"),
            ("other_count", "other"),
            ("folio_count", "folios"),
            ("deleted_count", "left"),
            ("device_count", "device pages"),
        ],
    );
    for (case, sums) in each(cases) {
        let count = |count| json!(sums.count(Who::All, count));
        let other = [
            Count::inserted_other,
            Count::inserted_direct,
            Count::inserted_advised,
        ];
        let metadata = match case.subject.fs.owner() {
            probes_common::pages::owner::DEVICE => Value::Null,
            _ => json!(sums.device(Who::All, &super::steps::INSERTED)),
        };
        table.rows.push(vec![
            name(case, &sums),
            count(Count::inserted_read),
            count(Count::inserted_sync),
            count(Count::inserted_async),
            count(Count::inserted_fault),
            count(Count::inserted_write),
            json!(sums.counts(Who::All, &other)),
            count(Count::insert_events),
            count(Count::deleted),
            metadata,
        ]);
    }
    table
}

fn writes(cases: &[Case]) -> Table {
    let mut table = Table::new(
        "written",
        "Dirtied and written back, by whom",
        &[
            ("step", "step"),
            ("who", "who"),
            ("pid", "pid"),
            ("dirtied_count", "pages dirtied"),
            ("written_back_bytes", "bytes written back"),
            ("requests_count", "requests"),
            ("after_ns", "last after"),
        ],
    );
    let dirty = [Count::dirtied, Count::written_back_bytes];
    for (case, sums) in each(cases) {
        let rows = sums.rows(Who::All);
        for row in rows.filter(|row| dirty.iter().any(|count| row.get(*count) > 0)) {
            let last = row.get(Count::last_written_back_ns);
            table.rows.push(vec![
                name(case, &sums),
                json!(row.comm),
                json!(row.tgid),
                json!(row.get(Count::dirtied)),
                json!(row.get(Count::written_back_bytes)),
                json!(row.get(Count::written_back_requests)),
                match last {
                    0 => Value::Null,
                    last => json!(last.saturating_sub(sums.step.begun)),
                },
            ]);
        }
    }
    table
}

fn witnesses(cases: &[Case]) -> Table {
    let mut table = Table::new(
        "witnesses",
        "Counted here, and by others",
        &[
            ("step", "step"),
            ("what", "what"),
            ("counted_count", "counted"),
            ("said_count", "said"),
            ("agrees", "agrees"),
        ],
    );
    for (case, sums) in each(cases) {
        for its in witness::of(&sums) {
            table.rows.push(vec![
                name(case, &sums),
                json!(its.what),
                json!(its.counted),
                json!(its.said),
                json!(its.agrees),
            ]);
        }
    }
    table.detailed()
}
