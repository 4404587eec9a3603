//! The watch of disks: times by disk, operation and owner as the kernel has counted them, and the whole life of
//! each request that took longer than asked for.

use std::collections::{BTreeMap, BTreeSet};

use probes_common::block::{
    BlockRequest, REQ_BACKGROUND, REQ_FUA, REQ_META, REQ_OP_DISCARD, REQ_OP_FLUSH, REQ_OP_MASK,
    REQ_OP_READ, REQ_OP_WRITE, REQ_PREFLUSH, REQ_RAHEAD, REQ_SYNC, Worker,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::marks::COUNTED;
use crate::evidence::ledger::{Ledger, Table};
use crate::instrument::blocks::{Blocks, Times, text};
use crate::stream::{Body, Item, Mark};
use crate::trace::{Context, Ending, Fold, Outcome};

/// Slow requests that are shown; the slowest.
const SHOWN: usize = 1000;

/// What was counted so far, with what only user space knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub blocks: Blocks,
    /// Names of disks by the kernel's `dev_t`.
    pub names: BTreeMap<u32, String>,
    /// Thread groups that were followed; None = everybody's.
    pub groups: Option<BTreeSet<u32>>,
}

impl Counted {
    /// # Errors
    /// Never: it is plain data.
    pub fn to_mark(&self, ktime: u64) -> serde_json::Result<Mark> {
        Ok(Mark {
            ktime,
            name: COUNTED.to_owned(),
            data: serde_json::to_value(self)?,
        })
    }

    fn name(&self, dev: u32) -> String {
        let plain = || format!("{}:{}", dev >> 20, dev & 0xf_ffff);
        self.names.get(&dev).cloned().unwrap_or_else(plain)
    }

    fn follows(&self, tgid: u32) -> bool {
        self.groups
            .as_ref()
            .is_none_or(|groups| groups.contains(&tgid))
    }
}

pub struct WatchFold {
    counted: Counted,
    slow: Vec<(u64, BlockRequest)>,
    wants_slow: bool,
    dropped: u64,
}

impl WatchFold {
    pub fn new(context: &Context) -> WatchFold {
        WatchFold {
            counted: Counted::default(),
            slow: Vec::new(),
            wants_slow: context.options.get("slower_ns").is_some_and(Value::is_u64),
            dropped: 0,
        }
    }

    fn slow(&mut self, ended: u64, request: BlockRequest) {
        self.slow.push((ended, request));
        if self.slow.len() >= SHOWN * 2 {
            self.keep_slowest();
        }
    }

    fn keep_slowest(&mut self) {
        self.slow
            .sort_by_key(|(ended, its)| std::cmp::Reverse(ended - begun(its).min(*ended)));
        self.dropped += self.slow.len().saturating_sub(SHOWN) as u64;
        self.slow.truncate(SHOWN);
    }

    fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.tables.extend([self.disks(), self.owners()]);
        if self.wants_slow {
            ledger.tables.push(self.lives());
        }
        ledger.remarks.extend(self.counted.blocks.overflow());
        if self.dropped > 0 {
            let more = self.dropped;
            ledger
                .remarks
                .push(format!("{more} slow requests more, none of them slower"));
        }
        ledger
    }

    /// Everything of one disk and operation.
    fn disks(&self) -> Table {
        let mut table = latency("disks", "Requests by disk and operation, times in µs", &[]);
        let mut sums: BTreeMap<(u32, u32), (u64, u64, Times, Times)> = BTreeMap::new();
        for row in self
            .counted
            .blocks
            .rows
            .iter()
            .filter(|row| self.counted.follows(row.tgid))
        {
            let sum = sums.entry((row.dev, row.op)).or_default();
            sum.0 += row.requests;
            sum.1 += row.bytes;
            sum.2.join(&row.queue);
            sum.3.join(&row.device);
        }
        for ((dev, op), (requests, bytes, queue, device)) in sums {
            let mut cells = vec![json!(self.counted.name(dev)), json!(operation(op))];
            cells.extend(times(requests, bytes, &queue, &device));
            table.rows.push(cells);
        }
        table
    }

    fn owners(&self) -> Table {
        let own = [("process", "process"), ("pid", "pid"), ("cgroup", "cgroup")];
        let title =
            "Requests by disk, operation and owner (who made written pages dirty), times in µs";
        let mut table = latency("owners", title, &own);
        let mut rows: Vec<_> = self.counted.blocks.rows.iter().collect();
        rows.retain(|row| self.counted.follows(row.tgid));
        rows.sort_by_key(|row| std::cmp::Reverse((row.bytes, row.requests)));
        for row in rows {
            let mut cells = vec![json!(self.counted.name(row.dev)), json!(operation(row.op))];
            cells.extend([json!(row.comm), json!(row.tgid), json!(row.cgroup)]);
            cells.extend(times(row.requests, row.bytes, &row.queue, &row.device));
            table.rows.push(cells);
        }
        table
    }

    fn lives(&self) -> Table {
        let mut table = Table::new(
            "slow",
            "Slow requests, the slowest first; µs between the steps of each",
            &[
                ("disk", "disk"),
                ("operation", "operation"),
                ("sector", "sector"),
                ("bytes", "bytes"),
                ("total_us", "total"),
                ("queued_us", "queued"),
                ("inserted_us", "inserted"),
                ("device_us", "device"),
                ("requeues_count", "requeued"),
                ("error", "error"),
                ("submitter", "submitter"),
                ("dirtier", "dirtier"),
                ("ino", "inode"),
            ],
        );
        let mut slow: Vec<&(u64, BlockRequest)> = self.slow.iter().collect();
        slow.retain(|(_, its)| self.counted.follows(owner(its).tgid));
        slow.sort_by_key(|(ended, its)| std::cmp::Reverse(ended - begun(its).min(*ended)));
        for (ended, its) in slow.into_iter().take(SHOWN) {
            table.rows.push(self.life(*ended, its));
        }
        table
    }

    fn life(&self, ended: u64, its: &BlockRequest) -> Vec<Value> {
        let us = |from: u64, to: u64| (from > 0 && to > 0).then(|| to.saturating_sub(from) / 1000);
        // Not inserted: it went straight to the driver.
        let first = if its.inserted > 0 {
            its.inserted
        } else {
            its.first_issued
        };
        vec![
            json!(self.counted.name(its.dev)),
            json!(flags(its.flags)),
            json!(its.sector),
            json!(its.bytes),
            json!(us(begun(its), ended)),
            json!(us(its.queued, first)),
            json!(us(its.inserted, its.first_issued)),
            json!(us(its.first_issued, ended)),
            json!(its.requeues),
            json!((its.error != 0).then_some(its.error)),
            json!(worker(&its.submitter)),
            json!(worker(&its.dirtier)),
            json!((its.ino > 0).then_some(its.ino)),
        ]
    }
}

fn begun(its: &BlockRequest) -> u64 {
    match its.queued {
        0 => its.first_issued,
        queued => queued,
    }
}

fn owner(its: &BlockRequest) -> &Worker {
    match its.dirtier.pid {
        0 => &its.submitter,
        _ => &its.dirtier,
    }
}

fn worker(its: &Worker) -> Option<String> {
    (its.pid > 0).then(|| format!("{} {}", text(&its.comm), its.pid))
}

fn latency(id: &str, title: &str, own: &[(&str, &str)]) -> Table {
    let mut columns = vec![("disk", "disk"), ("operation", "operation")];
    columns.extend(own);
    columns.extend([
        ("requests_count", "requests"),
        ("bytes", "bytes"),
        ("queue_p50_us", "queue p50"),
        ("queue_p99_us", "p99"),
        ("queue_max_us", "max"),
        ("device_p50_us", "device p50"),
        ("device_p99_us", "p99"),
        ("device_max_us", "max"),
    ]);
    Table::new(id, title, &columns)
}

fn times(requests: u64, bytes: u64, queue: &Times, device: &Times) -> [Value; 8] {
    [
        json!(requests),
        json!(bytes),
        json!(queue.percentile_us(50)),
        json!(queue.percentile_us(99)),
        json!(queue.max_ns / 1000),
        json!(device.percentile_us(50)),
        json!(device.percentile_us(99)),
        json!(device.max_ns / 1000),
    ]
}

fn operation(op: u32) -> String {
    match op & REQ_OP_MASK {
        REQ_OP_READ => "read".to_owned(),
        REQ_OP_WRITE => "write".to_owned(),
        REQ_OP_FLUSH => "flush".to_owned(),
        REQ_OP_DISCARD => "discard".to_owned(),
        other => format!("op {other}"),
    }
}

/// `write sync meta`
fn flags(flags: u32) -> String {
    let mut words = operation(flags);
    for (flag, word) in [
        (REQ_SYNC, " sync"),
        (REQ_META, " meta"),
        (REQ_FUA, " fua"),
        (REQ_PREFLUSH, " preflush"),
        (REQ_RAHEAD, " ahead"),
        (REQ_BACKGROUND, " background"),
    ] {
        if flags & flag != 0 {
            words.push_str(word);
        }
    }
    words
}

impl Fold for WatchFold {
    fn item(&mut self, item: &Item) {
        match item {
            Item::Mark(mark) if mark.name == COUNTED => {
                if let Ok(counted) = serde_json::from_value(mark.data.clone()) {
                    self.counted = counted;
                }
            }
            Item::Event(event) => {
                if let Body::BlockRequest(its) = event.body {
                    self.slow(event.header.ktime, its);
                }
            }
            Item::Mark(_) => {}
        }
    }

    fn interim(&self) -> Ledger {
        self.ledger()
    }

    fn finish(mut self: Box<Self>, _ending: &Ending) -> Outcome {
        self.keep_slowest();
        Outcome {
            findings: Vec::new(),
            ledger: self.ledger(),
        }
    }
}
