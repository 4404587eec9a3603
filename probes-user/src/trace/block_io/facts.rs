//! What a case of block-io comes to: its parts with the requests that carried their pages, and whether the
//! kernel's own books agree.

use probes_common::block::{
    BlockRequest, CLASS_OTHER, CLASS_READ, CLASS_WRITE, REQ_FUA, REQ_OP_MASK, REQ_OP_READ,
    REQ_OP_WRITE, REQ_PREFLUSH, REQ_RAHEAD, Total, class as class_of,
};
use serde::de::DeserializeOwned;

use super::marks::{
    DIRECT_WRITES, DISK, DiskMark, FIRST_READ, LACKS, PART, Part, RANDOM_READS, SEQUENTIAL_READS,
    SEQUENTIAL_WRITES, TOTALS, Totals, WRITERS,
};
use crate::instrument::blocks::{Times, text};
use crate::stream::Body;
use crate::trace::scripted::CaseLog;

/// Bytes of a sector in /sys/block/X/stat.
const SECTOR: u64 = 512;

/// Why a case says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// What the machine lacks.
    Lacks(String),
    /// What is missing of it.
    Broken(String),
}

/// One part and the requests that carried its pages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Carried {
    pub part: Part,
    pub requests: Vec<BlockRequest>,
}

impl Carried {
    pub fn bytes(&self) -> u64 {
        self.requests.iter().map(|its| u64::from(its.bytes)).sum()
    }

    pub fn largest(&self) -> u32 {
        self.requests.iter().map(|its| its.bytes).max().unwrap_or(0)
    }

    pub fn count(&self) -> u64 {
        self.requests.len() as u64
    }

    /// How many were asked for before anybody needed them.
    pub fn ahead(&self) -> u64 {
        let ahead = self
            .requests
            .iter()
            .filter(|its| its.flags & REQ_RAHEAD != 0);
        ahead.count() as u64
    }

    /// Calls for each request.
    pub fn gathered(&self) -> f64 {
        match self.count() {
            0 => 0.0,
            #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
            count => self.part.calls as f64 / count as f64,
        }
    }

    pub fn names(&self, of: impl Fn(&BlockRequest) -> [u8; 16]) -> Vec<String> {
        let mut names: Vec<String> = self.requests.iter().map(|its| text(&of(its))).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// Two counts that must be equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub what: &'static str,
    pub ours: u64,
    pub witness: u64,
}

impl Check {
    pub fn agrees(&self) -> bool {
        self.ours == self.witness
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    pub label: String,
    pub disk: DiskMark,
    pub totals: Totals,
    pub parts: Vec<Carried>,
    pub checks: Vec<Check>,
    /// Of all requests with data.
    pub queue: Times,
    pub device: Times,
}

impl Facts {
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Carried> + 'a {
        self.parts.iter().filter(move |its| its.part.name == name)
    }

    /// The one part of this name.
    pub fn one(&self, name: &str) -> Result<&Carried, String> {
        let found = self.parts.iter().find(|its| its.part.name == name);
        found.ok_or_else(|| format!("{}: no {name}", self.label))
    }

    /// The first check that fails, in words.
    pub fn disagreement(&self) -> Option<String> {
        let failed = self.checks.iter().find(|check| !check.agrees())?;
        Some(format!(
            "{}: {}: {} against {}",
            self.label, failed.what, failed.ours, failed.witness
        ))
    }
}

pub fn read(log: &CaseLog) -> Result<Facts, Unfit> {
    if let Some(lack) = log.named(LACKS).next() {
        let why = lack.data.as_str().unwrap_or("no reason given");
        return Err(Unfit::Lacks(why.to_owned()));
    }
    let broken = |what: &str| Unfit::Broken(format!("{}: {what}", log.label));
    let disk: DiskMark = first(log, DISK).ok_or_else(|| broken("no disk"))?;
    let totals: Totals = first(log, TOTALS).ok_or_else(|| broken("it did not come to its end"))?;
    if let Some(overflow) = &totals.overflow {
        return Err(broken(overflow));
    }
    // Before the first look and after the last one the disk is made and taken apart.
    let at = |name| log.named(name).next().map_or(0, |mark| mark.ktime);
    let looked = at(DISK)..at(TOTALS);
    let told: Vec<(u64, BlockRequest)> = log
        .events
        .iter()
        .filter(|event| looked.contains(&event.header.ktime))
        .filter_map(|event| match event.body {
            Body::BlockRequest(its) if its.dev == disk.dev => Some((event.header.ktime, its)),
            _ => None,
        })
        .collect();
    let requests: Vec<BlockRequest> = told.iter().map(|(_, its)| *its).collect();
    let parts: Vec<Carried> = log
        .named(PART)
        .filter_map(|mark| serde_json::from_value(mark.data.clone()).ok())
        .map(|part| carried(part, &disk, &requests))
        .collect();
    let mut facts = Facts {
        label: log.label.clone(),
        checks: checks(&totals, &requests, &parts),
        disk,
        totals,
        parts,
        ..Facts::default()
    };
    for (ended, its) in &told {
        if its.queued > 0 && its.first_issued > 0 {
            facts.queue.add(its.first_issued.saturating_sub(its.queued));
            facts.device.add(ended.saturating_sub(its.first_issued));
        }
    }
    Ok(facts)
}

fn first<T: DeserializeOwned>(log: &CaseLog, name: &str) -> Option<T> {
    let mark = log.named(name).next()?;
    serde_json::from_value(mark.data.clone()).ok()
}

/// The part's requests: queued in its phase, and by what carries them its file's or its task's.
fn carried(part: Part, disk: &DiskMark, requests: &[BlockRequest]) -> Carried {
    let op = match part.name.as_str() {
        SEQUENTIAL_WRITES | DIRECT_WRITES | WRITERS => REQ_OP_WRITE,
        _ => REQ_OP_READ,
    };
    // Pages of direct I/O are the task's own, in no inode.
    let direct = part.name == DIRECT_WRITES;
    let raw = disk.fs == "raw";
    let own = |its: &&BlockRequest| {
        let of_file = its.inode_dev == disk.dev && (raw || its.ino == part.ino);
        let of_task = its.ino == 0 && its.submitter.pid == part.pid;
        its.phase == part.phase
            && its.flags & REQ_OP_MASK == op
            && its.bytes > 0
            && if direct { of_task } else { of_file }
    };
    let requests = requests.iter().filter(own).copied().collect();
    Carried { part, requests }
}

fn checks(totals: &Totals, requests: &[BlockRequest], parts: &[Carried]) -> Vec<Check> {
    let mut checks = Vec::new();
    for (class, names) in [(CLASS_READ, READ), (CLASS_WRITE, WRITE)] {
        conservation(&mut checks, totals, class, names);
        books(&mut checks, totals, requests, class, names);
    }
    let sum = |names: &[&str], of: &dyn Fn(&Part) -> u64| -> u64 {
        let chosen = parts
            .iter()
            .filter(|its| names.contains(&its.part.name.as_str()));
        chosen.map(|its| of(&its.part)).sum()
    };
    let writes = [SEQUENTIAL_WRITES, DIRECT_WRITES, WRITERS];
    checks.push(Check {
        what: "bytes written = /proc/PID/io write_bytes",
        ours: sum(&writes, &|part| part.bytes),
        witness: sum(&writes, &|part| part.charged),
    });
    let reads = [FIRST_READ, SEQUENTIAL_READS, RANDOM_READS];
    let of_reader = |its: &&BlockRequest| {
        let part = parts.iter().find(|part| part.part.phase == its.phase);
        let reader = part.is_some_and(|part| {
            reads.contains(&part.part.name.as_str()) && part.part.pid == its.submitter.pid
        });
        reader && its.flags & REQ_OP_MASK == REQ_OP_READ
    };
    checks.push(Check {
        what: "bytes the reader had read = /proc/PID/io read_bytes",
        ours: requests
            .iter()
            .filter(of_reader)
            .map(|its| u64::from(its.bytes))
            .sum(),
        witness: sum(&reads, &|part| part.charged),
    });
    checks
}

/// Names of the checks of one class.
type Names = [&'static str; 9];
static READ: Names = [
    "read: bytes of bios = given to the driver",
    "read: bytes given to the driver = completed",
    "read: bios and splits = merged and requests made",
    "read: requests made = issued and merged",
    "read: issued = completed",
    "read: requests told = completed",
    "read: sectors = /sys/block stat",
    "read: requests = /sys/block stat",
    "read: merges = /sys/block stat",
];
static WRITE: Names = [
    "write: bytes of bios = given to the driver",
    "write: bytes given to the driver = completed",
    "write: bios and splits = merged and requests made",
    "write: requests made = issued and merged",
    "write: issued = completed",
    "write: requests told = completed",
    "write: sectors = /sys/block stat",
    "write: requests, flushes or not = /sys/block stat",
    "write: merges = /sys/block stat",
];

struct Counts<'a>(&'a std::collections::BTreeMap<String, u64>);

impl Counts<'_> {
    fn get(&self, total: Total) -> u64 {
        let name = Total::NAMES[total as usize];
        self.0.get(name).copied().unwrap_or_default()
    }

    fn merged_bios(&self) -> u64 {
        self.get(Total::backmerges) + self.get(Total::frontmerges)
    }
}

fn counts(totals: &Totals, class: u32) -> Counts<'_> {
    Counts(match class {
        CLASS_READ => &totals.read,
        CLASS_WRITE => &totals.write,
        _ => &totals.other,
    })
}

/// Nothing is lost or doubled between bio, request, driver and end. What the driver gives back it gets again.
fn conservation(checks: &mut Vec<Check>, totals: &Totals, class: u32, names: Names) {
    let its = counts(totals, class);
    let issued = its.get(Total::issues) - its.get(Total::requeues).min(its.get(Total::issues));
    let mut equal = |at: usize, ours: u64, witness: u64| {
        let what = names[at];
        checks.push(Check {
            what,
            ours,
            witness,
        });
    };
    if its.get(Total::requeues) == 0 {
        equal(0, its.get(Total::bio_bytes), its.get(Total::issued_bytes));
        equal(
            1,
            its.get(Total::issued_bytes),
            its.get(Total::completed_bytes),
        );
    }
    equal(
        2,
        its.get(Total::bios) + its.get(Total::splits),
        its.merged_bios() + its.get(Total::getrqs),
    );
    equal(
        3,
        its.get(Total::getrqs),
        issued + its.get(Total::rq_merges),
    );
    equal(4, issued, its.get(Total::completions));
}

/// Our counts against the records, and against the kernel's own.
fn books(
    checks: &mut Vec<Check>,
    totals: &Totals,
    requests: &[BlockRequest],
    class: u32,
    names: Names,
) {
    let its = counts(totals, class);
    let own = |its: &&BlockRequest| class_of(its.flags, its.bytes) == class;
    // Whether requests that bring a flush along are counted depends on the kernel (blk_account_io_done).
    let plain = |its: &&BlockRequest| its.flags & (REQ_PREFLUSH | REQ_FUA) == 0;
    let told = requests.iter().filter(own);
    let mut equal = |at: usize, ours: u64, witness: u64| {
        let what = names[at];
        checks.push(Check {
            what,
            ours,
            witness,
        });
    };
    // Of /sys/block/X/stat: reads, merged, sectors, ms; then the same of writes.
    let column = if class == CLASS_READ { 0 } else { 4 };
    let stat = |at: usize| totals.stat.get(column + at).copied().unwrap_or_default();
    equal(5, told.clone().count() as u64, its.get(Total::completions));
    equal(6, its.get(Total::completed_bytes), stat(2) * SECTOR);
    let (least, most) = (told.clone().filter(plain).count(), told.count());
    let flushes = if class == CLASS_WRITE {
        others(totals)
    } else {
        0
    };
    equal(
        7,
        stat(0).clamp(least as u64, most as u64 + flushes),
        stat(0),
    );
    equal(8, its.merged_bios() + its.get(Total::rq_merges), stat(1));
}

/// Requests without data: flushes, mostly.
pub fn others(totals: &Totals) -> u64 {
    counts(totals, CLASS_OTHER).get(Total::completions)
}
