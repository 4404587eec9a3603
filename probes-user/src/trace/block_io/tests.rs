use std::collections::BTreeMap;

use probes_common::Header;
use probes_common::block::{
    BlockRequest, CLASS_READ, CLASS_WRITE, REQ_OP_READ, REQ_OP_WRITE, REQ_RAHEAD, Total, Worker,
};
use serde_json::{Value, json};

use super::facts::{self, Facts, Unfit};
use super::judge::{Cases, judge};
use super::marks::{
    DIRECT_WRITES, DISK, DiskMark, FIRST_READ, LACKS, PAGE, PART, Part, RANDOM_READS,
    SEQUENTIAL_READS, SEQUENTIAL_WRITES, TOTALS, Totals, WRITERS,
};
use super::watch::{Counted, WatchFold};
use crate::evidence::ClaimResult;
use crate::instrument::blocks::{BlockRow, Blocks};
use crate::stream::{Body, Event, Item, Mark};
use crate::trace::scripted::CaseLog;
use crate::trace::{Context, Ending, Fold, Mode};

const DEV: u32 = 7 << 20 | 3;
const INO: u64 = 12;
const SCRIPT: u32 = 100;
const WRITER: u32 = 200;
const FLUSHER: u32 = 300;
const END: u64 = 1_000_000;

fn worker(pid: u32, name: &[u8]) -> Worker {
    let mut worker = Worker {
        pid,
        tgid: pid,
        ..Worker::default()
    };
    worker.comm[..name.len()].copy_from_slice(name);
    worker
}

/// A case in which all is well, to be spoilt.
struct Story {
    requests: Vec<BlockRequest>,
    parts: Vec<Part>,
    lost: u64,
}

impl Story {
    fn new() -> Story {
        let mut story = Story {
            requests: Vec::new(),
            parts: Vec::new(),
            lost: 0,
        };
        story.part(SEQUENTIAL_WRITES, 1, SCRIPT, 1024, 8, SCRIPT);
        story.part(DIRECT_WRITES, 2, SCRIPT, 64, 64, SCRIPT);
        story.part(FIRST_READ, 3, SCRIPT, 1, 1, SCRIPT);
        story.part(SEQUENTIAL_READS, 4, SCRIPT, 1023, 32, SCRIPT);
        story.part(RANDOM_READS, 5, SCRIPT, 64, 64, SCRIPT);
        story.part(WRITERS, 6, WRITER, 256, 2, FLUSHER);
        let first = story.of(3).next().unwrap();
        first.bytes = 16 << 10;
        story
    }

    /// `calls` of one page in `count` requests.
    fn part(&mut self, name: &str, phase: u32, pid: u32, calls: u64, count: u64, submitter: u32) {
        let bytes = calls * PAGE;
        let write = [SEQUENTIAL_WRITES, DIRECT_WRITES, WRITERS].contains(&name);
        let direct = name == DIRECT_WRITES;
        for number in 0..count {
            self.requests.push(BlockRequest {
                dev: DEV,
                phase,
                flags: if write {
                    REQ_OP_WRITE
                } else {
                    REQ_OP_READ | REQ_RAHEAD
                },
                bytes: (bytes / count + if number == 0 { bytes % count } else { 0 }) as u32,
                ino: if direct { 0 } else { INO },
                inode_dev: if direct { 0 } else { DEV },
                submitter: worker(submitter, b"submitter"),
                dirtier: if write && !direct {
                    worker(pid, b"dirtier")
                } else {
                    Worker::default()
                },
                queued: 1000,
                first_issued: 3000,
                ..BlockRequest::default()
            });
        }
        self.parts.push(Part {
            name: name.to_owned(),
            phase,
            pid,
            comm: "its".to_owned(),
            ino: INO,
            calls,
            bytes,
            charged: bytes,
        });
    }

    fn of(&mut self, phase: u32) -> impl Iterator<Item = &mut BlockRequest> {
        self.requests
            .iter_mut()
            .filter(move |its| its.phase == phase)
    }

    fn totals(&self, class: u32) -> (BTreeMap<String, u64>, u64, u64) {
        let own = |its: &&BlockRequest| probes_common::block::class(its.flags, its.bytes) == class;
        let count = self.requests.iter().filter(own).count() as u64;
        let bytes = self
            .requests
            .iter()
            .filter(own)
            .map(|its| u64::from(its.bytes))
            .sum();
        // As many bios again are merged.
        let all = [
            (Total::bios, 2 * count),
            (Total::bio_bytes, bytes),
            (Total::backmerges, count),
            (Total::getrqs, count),
            (Total::issues, count),
            (Total::issued_bytes, bytes),
            (Total::completions, count - self.lost),
            (Total::completed_bytes, bytes),
        ];
        let named = all
            .into_iter()
            .map(|(total, value)| (Total::NAMES[total as usize].to_owned(), value));
        (named.collect(), count, bytes)
    }

    fn log(&self) -> CaseLog {
        let (read, reads, read_bytes) = self.totals(CLASS_READ);
        let (write, writes, written) = self.totals(CLASS_WRITE);
        let stat = vec![
            reads,
            reads,
            read_bytes / 512,
            0,
            writes,
            writes,
            written / 512,
            0,
            0,
        ];
        let totals = Totals {
            read,
            write,
            stat,
            ..Totals::default()
        };
        let disk = DiskMark {
            fs: "ext4".to_owned(),
            dev: DEV,
            ..DiskMark::default()
        };
        let mut parts = self.parts.clone();
        // The reader is charged with all that it had read.
        for part in parts
            .iter_mut()
            .filter(|part| part.name.ends_with("read") || part.name.ends_with("reads"))
        {
            let own = self.requests.iter().filter(|its| its.phase == part.phase);
            part.charged = own.map(|its| u64::from(its.bytes)).sum();
        }
        let mut marks = vec![mark(1, DISK, json!(disk))];
        marks.extend(parts.iter().map(|part| mark(2, PART, json!(part))));
        marks.push(mark(END, TOTALS, json!(totals)));
        CaseLog {
            label: "ext4".to_owned(),
            ended_at: Some(END),
            marks,
            events: self.requests.iter().map(|its| event(5000, *its)).collect(),
            ..CaseLog::default()
        }
    }

    fn facts(&self) -> Facts {
        facts::read(&self.log()).unwrap()
    }

    fn results(&self) -> Vec<ClaimResult> {
        let cases: Cases = vec![("ext4".to_owned(), facts::read(&self.log()))];
        results(&cases)
    }
}

fn results(cases: &Cases) -> Vec<ClaimResult> {
    let attached = ["block_inode_dirty".to_owned()];
    let findings = judge(cases, None, &attached);
    findings.into_iter().map(|finding| finding.result).collect()
}

fn mark(ktime: u64, name: &str, data: Value) -> Mark {
    Mark {
        ktime,
        name: name.to_owned(),
        data,
    }
}

fn event(ktime: u64, request: BlockRequest) -> Event {
    let header = Header {
        ktime,
        ..Header::default()
    };
    Event {
        header,
        body: Body::BlockRequest(request),
    }
}

use ClaimResult::{Holds, Inconclusive, Refuted, Unsupported};

#[test]
fn what_merges_reads_ahead_and_names_its_dirtier_holds() {
    let story = Story::new();
    assert_eq!(story.facts().disagreement(), None);
    assert_eq!(story.facts().checks.len(), 20);
    assert_eq!(story.results(), [Holds; 3]);
    assert_eq!(story.facts().queue.percentile_us(50), Some(2));
}

#[test]
fn writes_that_stay_small_refute_merging() {
    let mut story = Story::new();
    story.requests.retain(|its| its.phase != 1);
    story.parts.remove(0);
    story.part(SEQUENTIAL_WRITES, 1, SCRIPT, 1024, 1024, SCRIPT);
    assert_eq!(story.results(), [Refuted, Holds, Holds]);
}

#[test]
fn a_first_read_of_its_page_alone_refutes_reading_ahead() {
    let mut story = Story::new();
    story.of(3).for_each(|its| its.bytes = 4096);
    assert_eq!(story.results(), [Holds, Refuted, Holds]);
}

#[test]
fn a_writer_that_submits_its_own_refutes_the_worker_and_so_does_a_wrong_name() {
    let mut story = Story::new();
    story.of(6).for_each(|its| its.submitter.pid = WRITER);
    assert_eq!(story.results(), [Holds, Holds, Refuted]);
    let mut story = Story::new();
    story.of(6).next().unwrap().dirtier.pid = FLUSHER;
    assert_eq!(story.results(), [Holds, Holds, Refuted]);
}

#[test]
fn a_control_that_fails_settles_nothing() {
    let mut story = Story::new();
    story.of(2).next().unwrap().ino = INO;
    assert_eq!(story.results(), [Inconclusive, Holds, Holds]);
    let mut story = Story::new();
    story.of(5).next().unwrap().bytes = 8192;
    assert_eq!(story.results(), [Holds, Inconclusive, Holds]);
}

#[test]
fn books_that_disagree_settle_nothing() {
    let story = Story {
        lost: 1,
        ..Story::new()
    };
    let why = story.facts().disagreement().unwrap();
    assert!(why.contains("issued = completed"), "{why}");
    assert_eq!(story.results(), [Inconclusive; 3]);
}

#[test]
fn another_disk_and_the_time_before_are_none_of_its() {
    let story = Story::new();
    let mut log = story.log();
    let mut foreign = story.requests[0];
    foreign.dev += 1;
    log.events.push(event(5000, foreign));
    log.events.push(event(0, story.requests[0]));
    log.events.push(event(END + 1, story.requests[0]));
    assert_eq!(facts::read(&log).unwrap(), story.facts());
}

#[test]
fn what_the_machine_lacks_is_unsupported_with_its_words() {
    let lack = "mkfs.xfs is not there; try: apt-get install xfsprogs";
    let log = CaseLog {
        marks: vec![mark(1, LACKS, json!(lack))],
        ..CaseLog::default()
    };
    let unfit = facts::read(&log).unwrap_err();
    assert_eq!(unfit, Unfit::Lacks(lack.to_owned()));
    let good = ("ext4".to_owned(), Ok(Story::new().facts()));
    let cases = vec![good, ("xfs".to_owned(), Err(unfit))];
    assert_eq!(results(&cases), [Unsupported; 3]);
    let findings = judge(&cases, None, &[]);
    assert!(findings[0].because.contains("xfsprogs"));
    assert!(findings[2].because.contains("block_inode_dirty"));
}

#[test]
fn a_watch_shows_rows_of_those_who_are_followed_and_the_slowest_first() {
    let context = Context {
        trace: "block-io".to_owned(),
        mode: Mode::Watch,
        options: json!({ "slower_ns": 1000 }),
        symbols: Vec::new(),
        attached: Vec::new(),
        enums: BTreeMap::new(),
        timeline: None,
    };
    let mut fold = WatchFold::new(&context);
    let row = |tgid: u32, requests: u64| BlockRow {
        dev: DEV,
        op: REQ_OP_WRITE,
        tgid,
        comm: format!("task{tgid}"),
        requests,
        bytes: requests * PAGE,
        ..BlockRow::default()
    };
    let counted = Counted {
        blocks: Blocks {
            rows: vec![row(WRITER, 2), row(SCRIPT, 9)],
            ..Blocks::default()
        },
        names: BTreeMap::from([(DEV, "loop3".to_owned())]),
        groups: Some([WRITER].into()),
    };
    fold.item(&Item::Mark(counted.to_mark(1).unwrap()));
    let mut story = Story::new();
    let request = *story.of(6).next().unwrap();
    for ended in [9_000, 99_000] {
        fold.item(&Item::Event(event(ended, request)));
    }
    let foreign = *story.of(2).next().unwrap();
    fold.item(&Item::Event(event(8_000, foreign)));
    let ledger = Box::new(fold).finish(&Ending::default()).ledger;
    let rows = |id: &str| {
        let table = ledger.tables.iter().find(|table| table.id == id);
        table.map(|table| table.rows.clone()).unwrap()
    };
    assert_eq!(rows("owners").len(), 1);
    assert_eq!(
        rows("owners")[0][..5],
        [
            json!("loop3"),
            json!("write"),
            json!("task200"),
            json!(WRITER),
            json!(0)
        ]
    );
    let slow = rows("slow");
    assert_eq!(slow.len(), 2, "only those of the followed process");
    assert_eq!(
        (slow[0][4].clone(), slow[1][4].clone()),
        (json!(98), json!(8))
    );
}
