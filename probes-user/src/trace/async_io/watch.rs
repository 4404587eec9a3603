//! The watch: requests of somebody's io_uring by process, opcode and way, with the time to their completion.

use std::collections::BTreeMap;

use probes_common::uring::{UringDone, WAY_EXTRA};
use serde_json::json;

use super::evidence::{way, words};
use super::marks::Way;
use crate::evidence::ledger::Table;
use crate::evidence::{Histogram, Ledger};
use crate::kernel::uring::opcode;
use crate::stream::{Body, Item};
use crate::trace::{Ending, Fold, Outcome};

const WAYS: [Way; 4] = [Way::Inline, Way::Polled, Way::Worker, Way::File];

#[derive(Debug, Clone, Default)]
struct Row {
    comm: String,
    /// By the place in [`WAYS`].
    ways: [Histogram; 4],
    all: Histogram,
    failed: u64,
    armed: u64,
}

#[derive(Debug, Clone, Default)]
pub struct WatchFold {
    rows: BTreeMap<(u32, u8), Row>,
    /// Completions of multishot requests and messages, by process.
    extra: u64,
    overflows: u64,
}

impl WatchFold {
    fn done(&mut self, at: u64, done: &UringDone) {
        if done.ways & WAY_EXTRA != 0 {
            self.extra += 1;
            return;
        }
        let row = self.rows.entry((done.tgid, done.opcode)).or_default();
        let end = done.comm.iter().position(|byte| *byte == 0);
        row.comm = String::from_utf8_lossy(&done.comm[..end.unwrap_or(done.comm.len())]).into();
        let latency = at.saturating_sub(done.submitted_ns);
        let went = way(done);
        if let Some(place) = WAYS.iter().position(|its| *its == went) {
            row.ways[place].add(latency);
        }
        row.all.add(latency);
        row.failed += u64::from(done.res < 0);
        row.armed += u64::from(done.polls);
    }

    fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.tables.push(self.requests());
        ledger.tables.push(self.latencies());
        if self.extra > 0 {
            ledger.remarks.push(format!(
                "{} further completions of multishot requests, or messages between rings",
                self.extra
            ));
        }
        if self.overflows > 0 {
            ledger.remarks.push(format!(
                "{} completions found no room in the ring: make it larger, or reap more often",
                self.overflows
            ));
        }
        ledger
    }

    fn requests(&self) -> Table {
        let mut table = Table::new(
            "requests",
            "requests by process and opcode, and how they were done",
            &[
                ("pid", "pid"),
                ("comm", "command"),
                ("opcode", "opcode"),
                ("requests_count", "requests"),
                ("inline_count", "inline"),
                ("polled_count", "by poll"),
                ("worker_count", "by worker"),
                ("file_count", "by file"),
                ("failed_count", "failed"),
                ("armed_count", "armed"),
            ],
        );
        for ((pid, number), row) in &self.rows {
            let mut cells = vec![
                json!(pid),
                json!(row.comm),
                json!(opcode(*number)),
                json!(row.all.count()),
            ];
            cells.extend(row.ways.iter().map(|way| json!(way.count())));
            cells.extend([json!(row.failed), json!(row.armed)]);
            table.rows.push(cells);
        }
        table
    }

    fn latencies(&self) -> Table {
        let mut table = Table::new(
            "latencies",
            "µs from submission to completion",
            &[
                ("pid", "pid"),
                ("opcode", "opcode"),
                ("way", "done"),
                ("requests_count", "requests"),
                ("p50_us", "p50"),
                ("p99_us", "p99"),
                ("max_us", "max"),
            ],
        );
        for ((pid, number), row) in &self.rows {
            for (way, histogram) in WAYS.iter().zip(&row.ways) {
                if histogram.count() == 0 {
                    continue;
                }
                let us = |ns: Option<u64>| json!(ns.map(|ns| ns as f64 / 1000.0));
                table.rows.push(vec![
                    json!(pid),
                    json!(opcode(*number)),
                    json!(words(*way)),
                    json!(histogram.count()),
                    us(histogram.quantile(0.5)),
                    us(histogram.quantile(0.99)),
                    us(histogram.max()),
                ]);
            }
        }
        table
    }
}

impl Fold for WatchFold {
    fn item(&mut self, item: &Item) {
        if let Item::Event(event) = item {
            match &event.body {
                Body::UringDone(done) => self.done(event.header.ktime, done),
                Body::UringOverflow(_) => self.overflows += 1,
                _ => {}
            }
        }
    }

    fn interim(&self) -> Ledger {
        self.ledger()
    }

    fn finish(self: Box<Self>, _ending: &Ending) -> Outcome {
        Outcome {
            findings: Vec::new(),
            ledger: self.ledger(),
        }
    }
}
