//! The watch: hit ratio by process, file and control group, misses by cause, who dirtied and who wrote back.

use std::collections::BTreeMap;

use probes_common::pages::{Count, owner};
use serde_json::{Value, json};

use super::steps::{INSERTED, MISSED, ratio};
use crate::evidence::Ledger;
use crate::evidence::ledger::Table;
use crate::instrument::pages::{PageRow, Pages, owner_name};
use crate::stream::Item;
use crate::trace::{Ending, Fold, Outcome};

/// Name of the mark that holds all that was counted so far.
pub const COUNTED: &str = "pages";
/// Rows of a table.
const TOP: usize = 20;

#[derive(Default)]
pub struct WatchFold {
    pages: Pages,
}

impl Fold for WatchFold {
    fn item(&mut self, item: &Item) {
        if let Item::Mark(mark) = item
            && mark.name == COUNTED
            && let Ok(pages) = serde_json::from_value(mark.data.clone())
        {
            self.pages = pages;
        }
    }

    fn interim(&self) -> Ledger {
        let pages = &self.pages;
        let mut ledger = Ledger {
            tables: vec![
                by_process(pages),
                by_file(pages),
                by_cgroup(pages),
                written(pages),
                ahead(pages),
                machine(pages),
            ],
            ..Ledger::default()
        };
        if let Some(full) = pages.overflow() {
            ledger
                .remarks
                .push(format!("The counters were full, not counted: {full}."));
        }
        ledger
    }

    fn finish(self: Box<Self>, _: &Ending) -> Outcome {
        Outcome {
            findings: Vec::new(),
            ledger: self.interim(),
        }
    }
}

/// Rows joined by a key, the busiest first.
fn joined<K: Ord>(
    pages: &Pages,
    keep: impl Fn(&PageRow) -> bool,
    key: impl Fn(&PageRow) -> K,
) -> Vec<PageRow> {
    let mut all: BTreeMap<K, PageRow> = BTreeMap::new();
    for row in pages.rows.iter().filter(|row| keep(row)) {
        let key = key(row);
        match all.get_mut(&key) {
            Some(other) => other.join(row),
            None => drop(all.insert(key, row.clone())),
        }
    }
    let mut rows: Vec<PageRow> = all.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(weight(row)));
    rows
}

fn weight(row: &PageRow) -> u64 {
    let others = [
        Count::asked,
        Count::dirtied,
        Count::deleted,
        Count::user_faults,
    ];
    let bytes = row.get(Count::written_back_bytes) + row.get(Count::direct_bytes);
    sum(row, &INSERTED) + sum(row, &others) + bytes / 4096
}

fn sum(row: &PageRow, counts: &[Count]) -> u64 {
    counts.iter().map(|count| row.get(*count)).sum()
}

const READS: [(&str, &str); 9] = [
    ("asked_count", "asked"),
    ("hit_ratio", "hit ratio"),
    ("missed_in_call_count", "missed"),
    ("missed_ahead_count", "read ahead"),
    ("missed_advised_count", "advised"),
    ("fault_inserted_count", "by faults"),
    ("dirtied_count", "dirtied"),
    ("written_back_bytes", "written B"),
    ("direct_bytes", "direct B"),
];

fn reads(row: &PageRow) -> Vec<Value> {
    let asked = row.get(Count::asked);
    let hits = asked.saturating_sub(sum(row, &MISSED));
    vec![
        json!(asked),
        json!(ratio(hits, asked)),
        json!(row.get(Count::missed_in_call)),
        json!(sum(row, &[Count::missed_sync, Count::missed_async])),
        json!(row.get(Count::missed_advised)),
        json!(row.get(Count::inserted_fault)),
        json!(row.get(Count::dirtied)),
        json!(row.get(Count::written_back_bytes)),
        json!(row.get(Count::direct_bytes)),
    ]
}

fn filled(mut table: Table, rows: Vec<PageRow>, head: impl Fn(&PageRow) -> Vec<Value>) -> Table {
    for row in rows.iter().take(TOP) {
        let mut cells = head(row);
        cells.extend(reads(row));
        table.rows.push(cells);
    }
    if rows.len() > TOP {
        table.title = format!("{} (the first {TOP} of {})", table.title, rows.len());
    }
    table
}

fn with_reads(id: &str, title: &str, head: &[(&str, &str)]) -> Table {
    let columns: Vec<(&str, &str)> = head.iter().chain(&READS).copied().collect();
    Table::new(id, title, &columns)
}

fn is_cached(row: &PageRow) -> bool {
    row.owner != owner::NONE
}

fn by_process(pages: &Pages) -> Table {
    let table = with_reads(
        "processes",
        "Pages by process",
        &[("process", "process"), ("pid", "pid")],
    );
    let rows = joined(pages, is_cached, |row| row.tgid);
    filled(table, rows, |row| vec![json!(row.comm), json!(row.tgid)])
}

fn by_file(pages: &Pages) -> Table {
    let table = with_reads(
        "files",
        "Pages by file",
        &[("file", "file"), ("kind", "kind")],
    );
    let rows = joined(pages, is_cached, |row| (row.owner, row.dev, row.ino));
    filled(table, rows, |row| {
        vec![json!(file_name(row)), json!(owner_name(row.owner))]
    })
}

fn by_cgroup(pages: &Pages) -> Table {
    let table = with_reads(
        "cgroups",
        "Pages by control group",
        &[("cgroup", "cgroup"), ("cgroup_id", "id")],
    );
    let rows = joined(pages, is_cached, |row| row.cgroup);
    let several = rows.len() > 1;
    let mut table = filled(table, rows, |row| {
        vec![
            json!(crate::watch::cgroup::path_of(row.cgroup)),
            json!(row.cgroup),
        ]
    });
    table.detail = !several;
    table
}

/// `name`, or `8:1/name` with `-v`'s neighbours of one name told apart by the inode.
fn file_name(row: &PageRow) -> String {
    let (major, minor) = (row.dev >> 20, row.dev & 0xf_ffff);
    match (row.owner, row.name.as_str()) {
        (owner::DEVICE, _) => format!("device {major}:{minor}"),
        (_, "") => format!("{major}:{minor} inode {}", row.ino),
        (_, name) => name.to_owned(),
    }
}

fn written(pages: &Pages) -> Table {
    let mut table = Table::new(
        "written",
        "Dirtied and written back, by whom",
        &[
            ("file", "file"),
            ("process", "process"),
            ("pid", "pid"),
            ("dirtied_count", "dirtied"),
            ("written_back_bytes", "written B"),
            ("requests_count", "requests"),
            ("span_ns", "dirty to written"),
        ],
    );
    let dirty = |row: &PageRow| sum(row, &[Count::dirtied, Count::written_back_bytes]) > 0;
    let key = |row: &PageRow| (row.owner, row.dev, row.ino, row.tgid);
    for row in joined(pages, dirty, key).iter().take(TOP) {
        let since = pages
            .rows
            .iter()
            .filter(|other| (other.owner, other.dev, other.ino) == (row.owner, row.dev, row.ino))
            .map(|other| other.get(Count::first_dirtied_ns))
            .filter(|time| *time != 0)
            .min();
        let last = row.get(Count::last_written_back_ns);
        let span = since.and_then(|since| last.checked_sub(since));
        table.rows.push(vec![
            json!(file_name(row)),
            json!(row.comm),
            json!(row.tgid),
            json!(row.get(Count::dirtied)),
            json!(row.get(Count::written_back_bytes)),
            json!(row.get(Count::written_back_requests)),
            json!(span),
        ]);
    }
    table
}

fn ahead(pages: &Pages) -> Table {
    let mut table = Table::new(
        "read_ahead",
        "Read ahead, by file",
        &[
            ("file", "file"),
            ("sync_count", "sync"),
            ("async_count", "async"),
            ("advised_count", "advised"),
            ("used_count", "used since"),
            ("unused_count", "left unused"),
        ],
    );
    let kinds = [
        Count::inserted_sync,
        Count::inserted_async,
        Count::inserted_advised,
    ];
    let read_ahead = |row: &PageRow| sum(row, &kinds) > 0;
    for row in joined(pages, read_ahead, |row| (row.owner, row.dev, row.ino))
        .iter()
        .take(TOP)
    {
        let mut cells = vec![json!(file_name(row))];
        cells.extend(kinds.iter().map(|count| json!(row.get(*count))));
        cells.push(json!(sum(row, &MISSED[1..])));
        cells.push(json!(sum(
            row,
            &[
                Count::unused_sync,
                Count::unused_async,
                Count::unused_advised
            ]
        )));
        table.rows.push(cells);
    }
    table.detailed()
}

fn machine(pages: &Pages) -> Table {
    let mut table = Table::new(
        "machine",
        "The whole machine, followed or not",
        &[
            ("kind", "kind"),
            ("inserted_count", "came in"),
            ("deleted_count", "left"),
        ],
    );
    for kind in [owner::FILE, owner::DEVICE, owner::OTHER, owner::SHMEM] {
        let (inserted, deleted) = (pages.inserted(kind), pages.deleted(kind));
        if inserted + deleted > 0 {
            table.rows.push(vec![
                json!(owner_name(kind)),
                json!(inserted),
                json!(deleted),
            ]);
        }
    }
    table.detailed()
}
