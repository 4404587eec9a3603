//! The judge on cases made by hand.

use std::collections::BTreeMap;

use probes_common::copy::CopyRow;
use probes_common::event::{Header, Kind, SWITCH_PREV_WATCHED, Switch};
use serde_json::json;

use super::facts::{self, Facts, Transfer};
use super::judge::{Evidence, judge};
use super::ledger;
use crate::evidence::{ClaimResult, Finding};
use crate::lab::counted::Counted;
use crate::lab::transfer::kinds::{IN_CASE, OUT_CASE, TRIED, Tried};
use crate::lab::transfer::method::Sent;
use crate::lab::transfer::receiver::Received;
use crate::lab::transfer::witness::{Io, Witness};
use crate::lab::transfer::{COUNTED, CountedMark, RECEIVED, SENT, SOURCE, SentMark, SourceMark};
use crate::stream::{Body, Event, Mark};
use crate::trace::scripted::CaseLog;

const SIZE: u64 = 4 << 20;
const CALLS: u64 = SIZE / (64 << 10);
const INODE: u64 = 12;
const PID: u32 = 77;

/// What one way to send a file leaves behind.
#[derive(Clone)]
struct Story {
    label: &'static str,
    sent: Sent,
    witness: Witness,
    calls: BTreeMap<String, [u64; 4]>,
    copies: CopyRow,
    received: Received,
}

impl Story {
    fn of(label: &'static str, families: &[(&str, u64)]) -> Story {
        let mut sent = Sent {
            bytes: SIZE,
            ..Sent::default()
        };
        let mut calls = BTreeMap::new();
        for (family, returned) in families {
            sent.calls.insert((*family).to_owned(), CALLS);
            calls.insert((*family).to_owned(), [CALLS, CALLS, 0, *returned]);
        }
        Story {
            label,
            sent,
            witness: Witness {
                since: 10,
                until: 90,
                voluntary: 1,
                ..Witness::default()
            },
            calls,
            copies: CopyRow {
                sent_bytes: SIZE,
                received_bytes: SIZE,
                inode: INODE,
                ..CopyRow::default()
            },
            received: Received {
                bytes: SIZE,
                sum: 5,
                calls: 1,
                last_at: 80,
            },
        }
    }

    fn read_write() -> Story {
        let mut story = Story::of("warm/read-write", &[("read", SIZE), ("write", SIZE)]);
        story.sent.in_own_memory = Some(true);
        story.witness.io = Some(Io {
            rchar: SIZE,
            wchar: SIZE,
            ..Io::default()
        });
        story.copies.sent_kernel_bytes = SIZE;
        story.copies.received_kernel_bytes = SIZE;
        story
    }

    fn sendfile() -> Story {
        let mut story = Story::of("warm/sendfile", &[("sendfile", SIZE)]);
        story.copies.sent_file_bytes = SIZE;
        story.copies.received_file_bytes = SIZE;
        story
    }

    fn zerocopy() -> Story {
        let mut story = Story::of("warm/msg-zerocopy", &[("send", SIZE)]);
        (story.sent.zero_copy_sends, story.sent.completed) = (CALLS, CALLS);
        (story.sent.copied, story.sent.tells) = (CALLS, Some(true));
        story.copies.sent_file_bytes = SIZE;
        story.copies.received_kernel_bytes = SIZE;
        story
    }

    fn facts(&self) -> (String, Result<Facts, String>) {
        let source = SourceMark {
            kind: "ext4".to_owned(),
            size: SIZE,
            inode: INODE,
            sum: 5,
            resident: SIZE / 4096,
            warm: true,
        };
        let sent = SentMark {
            pid: PID,
            begun_at: 20,
            sent: self.sent.clone(),
            witness: self.witness.clone(),
        };
        let counted = CountedMark {
            sending: Counted {
                copies: self.copies.to_values().to_vec(),
                calls: self.calls.clone(),
            },
            after: Counted::default(),
        };
        let marks = [
            (SOURCE, json!(source)),
            (SENT, json!(sent)),
            (RECEIVED, json!(self.received)),
            (COUNTED, json!(counted)),
        ];
        let log = CaseLog {
            events: vec![switch(PID, 50), switch(PID, 95), switch(PID + 1, 60)],
            ..case(self.label, marks)
        };
        (self.label.to_owned(), facts::read(&log))
    }
}

fn case<'a>(label: &str, marks: impl IntoIterator<Item = (&'a str, serde_json::Value)>) -> CaseLog {
    let mark = |(name, data): (&str, serde_json::Value)| Mark {
        ktime: 1,
        name: name.to_owned(),
        data,
    };
    CaseLog {
        label: label.to_owned(),
        ended_at: Some(100),
        marks: marks.into_iter().map(mark).collect(),
        ..CaseLog::default()
    }
}

/// One that goes to sleep.
fn switch(prev: u32, ktime: u64) -> Event {
    let header = Header {
        ktime,
        kind: Kind::Switch as u16,
        ..Header::default()
    };
    let body = Switch {
        prev,
        next: 0,
        prev_state: 1,
        flags: SWITCH_PREV_WATCHED,
    };
    Event {
        header,
        body: Body::Switch(body),
    }
}

fn judged(stories: &[Story]) -> BTreeMap<String, Finding> {
    let cases = stories.iter().map(Story::facts).collect();
    let asked = |label: &str| stories.iter().any(|story| story.label == label);
    let findings = judge(&cases, asked, None, &Evidence::default());
    let named = findings.into_iter().map(|finding| {
        let slug = finding.id.trim_start_matches("zero-copy/").to_owned();
        (slug, finding)
    });
    named.collect()
}

fn result(stories: &[Story], slug: &str) -> ClaimResult {
    judged(stories)[slug].result
}

#[test]
fn copies_lent_pages_and_halved_switches_are_told_apart() {
    let stories = [Story::read_write(), Story::sendfile(), Story::zerocopy()];
    let findings = judged(&stories);
    for (slug, finding) in &findings {
        assert_eq!(
            finding.result,
            ClaimResult::Holds,
            "{slug}: {}",
            finding.because
        );
    }
    // Those about kinds were not asked for.
    assert_eq!(findings.len(), 4);
    let halved = &findings["sendfile-halves-switches"].numbers;
    assert_eq!(halved["sendfile_mode_switches_count"], json!(2 * CALLS));
    assert_eq!(halved["sendfile_context_switches_count"], json!(1));
}

#[test]
fn a_byte_in_a_page_of_the_file_refutes_that_it_was_copied() {
    let mut story = Story::read_write();
    story.copies.sent_kernel_bytes -= 4096;
    story.copies.sent_file_bytes += 4096;
    let stories = [story, Story::sendfile()];
    assert_eq!(
        result(&stories, "read-write-copies-twice"),
        ClaimResult::Refuted
    );
}

#[test]
fn pages_of_another_file_are_not_the_files_own() {
    let mut story = Story::sendfile();
    story.copies.inode += 1;
    let stories = [story, Story::read_write()];
    let slug = "sendfile-copies-nothing-to-user";
    assert_eq!(result(&stories, slug), ClaimResult::Refuted);
}

#[test]
fn a_silent_control_settles_nothing() {
    let mut control = Story::sendfile();
    control.copies.sent_file_bytes = 0;
    let stories = [Story::read_write(), control];
    let slug = "read-write-copies-twice";
    assert_eq!(result(&stories, slug), ClaimResult::Inconclusive);
}

#[test]
fn one_honest_completion_refutes_that_all_fall_back() {
    let mut story = Story::zerocopy();
    story.sent.copied -= 1;
    let stories = [story, Story::sendfile()];
    assert_eq!(
        result(&stories, "zerocopy-falls-back"),
        ClaimResult::Refuted
    );
}

#[test]
fn counts_that_differ_settle_nothing_and_are_named() {
    type Harm = fn(&mut Story);
    let harms: [(Harm, &str); 5] = [
        (|story| story.received.sum += 1, "checksum"),
        (|story| story.copies.sent_bytes -= 1, "payload"),
        (|story| story.witness.voluntary += 1, "context switches"),
        (|story| story.calls.get_mut("read").unwrap()[1] -= 1, "read"),
        (
            |story| story.witness.io.as_mut().unwrap().rchar -= 1,
            "bytes read",
        ),
    ];
    for (harm, named) in harms {
        let mut story = Story::read_write();
        harm(&mut story);
        let findings = judged(&[story, Story::sendfile()]);
        let finding = &findings["read-write-copies-twice"];
        assert_eq!(finding.result, ClaimResult::Inconclusive);
        assert!(
            finding.because.contains(&format!(": {named}:")),
            "{}",
            finding.because
        );
    }
}

#[test]
fn what_is_lent_and_arrives_elsewhere_became_a_copy() {
    let of = |story: Story| match story.facts().1.unwrap() {
        Facts::Transfer(transfer) => *transfer,
        other => panic!("{other:?}"),
    };
    let delivered = |story: Story| Transfer::on_delivery(&of(story));
    assert_eq!(delivered(Story::zerocopy()), SIZE);
    assert_eq!(delivered(Story::sendfile()), 0);
    assert_eq!(delivered(Story::read_write()), 0);
    let tables = ledger::of(&vec![Story::zerocopy().facts()]).tables;
    assert_eq!(tables[0].rows[0].last(), Some(&json!("became a copy")));
}

#[test]
fn small_packets_moved_together_are_told_and_keep_sendfile_a_control() {
    let condensed = |bytes: u64| {
        let mut story = Story::sendfile();
        story.copies.received_file_bytes -= bytes;
        story.copies.received_linear_bytes += bytes;
        story
    };
    let judged = |bytes: u64| {
        let stories = [Story::zerocopy(), condensed(bytes)];
        result(&stories, "zerocopy-falls-back")
    };
    assert_eq!(judged(53), ClaimResult::Holds);
    assert_eq!(judged(SIZE / 100), ClaimResult::Holds);
    assert_eq!(judged(SIZE / 100 + 1), ClaimResult::Inconclusive);
    let ledger = ledger::of(&vec![condensed(53).facts()]);
    assert_eq!(ledger.tables[0].rows[0].last(), Some(&json!("zero copy")));
    let told = |remark: &String| remark.contains(": 53 of ");
    assert!(ledger.remarks.iter().any(told), "{:?}", ledger.remarks);
}

fn tried(kind: &str, moved: u64, errno: i32, mmap_errno: i32) -> Tried {
    Tried {
        kind: kind.to_owned(),
        moved,
        errno,
        mmap_errno,
        is_file: kind == "file",
        is_socket: kind.contains("socket"),
    }
}

fn kinds(label: &str, all: &[Tried], failed: u64) -> Finding {
    let calls = all.len() as u64;
    let counted = CountedMark {
        sending: Counted {
            copies: Vec::new(),
            calls: BTreeMap::from([("sendfile".to_owned(), [calls, calls, failed, 0])]),
        },
        after: Counted::default(),
    };
    let marks = all.iter().map(|tried| (TRIED, json!(tried)));
    let log = case(label, marks.chain([(COUNTED, json!(counted))]));
    let cases = vec![(label.to_owned(), facts::read(&log))];
    let findings = judge(&cases, |asked| asked == label, None, &Evidence::default());
    findings.into_iter().next().unwrap()
}

#[test]
fn a_descriptor_that_cannot_be_mapped_and_moves_bytes_refutes_the_notes() {
    let plain = [
        tried("file", 512, 0, 0),
        tried("pipe", 0, libc::EINVAL, libc::ENODEV),
    ];
    assert_eq!(kinds(IN_CASE, &plain, 1).result, ClaimResult::Holds);
    let with_proc = [&plain[..], &[tried("proc", 9, 0, libc::EIO)]].concat();
    assert_eq!(kinds(IN_CASE, &with_proc, 1).result, ClaimResult::Refuted);
    // The kernel counted another number of errors than the script.
    assert_eq!(kinds(IN_CASE, &plain, 0).result, ClaimResult::Inconclusive);
    let refused = [tried("file", 0, libc::EINVAL, 0)];
    assert_eq!(
        kinds(IN_CASE, &refused, 1).result,
        ClaimResult::Inconclusive
    );
}

#[test]
fn a_file_that_takes_bytes_refutes_that_out_fd_must_be_a_socket() {
    let socket = tried("TCP socket", 512, 0, 0);
    let file = tried("file", 512, 0, 0);
    let refused = tried("file", 0, libc::EINVAL, 0);
    let result = |all: &[Tried], failed| kinds(OUT_CASE, all, failed).result;
    assert_eq!(result(&[socket.clone(), file], 0), ClaimResult::Refuted);
    assert_eq!(result(&[socket, refused.clone()], 1), ClaimResult::Holds);
    assert_eq!(result(&[refused], 1), ClaimResult::Inconclusive);
}
