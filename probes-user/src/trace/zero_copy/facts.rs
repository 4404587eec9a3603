//! What one case says: its marks, the switches seen, and whether all who counted the same counted alike.

use probes_common::copy::FAMILIES;
use probes_common::event::{SWITCH_PREEMPT, SWITCH_PREV_WATCHED};
use serde::de::DeserializeOwned;

use crate::lab::transfer::first::{self, FIRST, First};
use crate::lab::transfer::kinds::{self, TRIED, Tried};
use crate::lab::transfer::receiver::Received;
use crate::lab::transfer::{
    ABSENT, COUNTED, CountedMark, RECEIVED, SENT, SOURCE, SentMark, SourceMark,
};
use crate::stream::Body;
use crate::trace::herd::checks::Check;
use crate::trace::scripted::CaseLog;

/// One file sent once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transfer {
    pub label: String,
    pub source: SourceMark,
    pub sent: SentMark,
    pub received: Received,
    pub counted: CountedMark,
    /// By `sched_switch`: the sender went to sleep, the sender was pushed off its CPU.
    pub voluntary: u64,
    pub involuntary: u64,
}

/// What a case of the lab is.
#[derive(Debug, Clone, PartialEq)]
pub enum Facts {
    Transfer(Box<Transfer>),
    /// This kernel has no such way: why.
    Absent(String),
    Kinds {
        tried: Vec<Tried>,
        counted: CountedMark,
    },
    /// What was in memory after the first piece.
    First(Vec<First>),
}

fn told<T: DeserializeOwned>(log: &CaseLog, name: &str) -> Result<T, String> {
    let mark = log.named(name).last();
    mark.and_then(|mark| serde_json::from_value(mark.data.clone()).ok())
        .ok_or_else(|| format!("case {}: the script said nothing of {name:?}", log.label))
}

pub fn read(log: &CaseLog) -> Result<Facts, String> {
    if log.ended_at.is_none() {
        return Err(format!("case {} has no end", log.label));
    }
    if let Some(why) = log.said(ABSENT, "why") {
        return Ok(Facts::Absent(why.as_str().unwrap_or_default().to_owned()));
    }
    if log.label == first::CASE {
        let marks = log.named(FIRST);
        let first = marks.filter_map(|mark| serde_json::from_value(mark.data.clone()).ok());
        return Ok(Facts::First(first.collect()));
    }
    if log.label == kinds::IN_CASE || log.label == kinds::OUT_CASE {
        let tried = log.named(TRIED);
        let tried = tried.filter_map(|mark| serde_json::from_value(mark.data.clone()).ok());
        return Ok(Facts::Kinds {
            tried: tried.collect(),
            counted: told(log, COUNTED)?,
        });
    }
    let mut transfer = Transfer {
        label: log.label.clone(),
        source: told(log, SOURCE)?,
        sent: told(log, SENT)?,
        received: told(log, RECEIVED)?,
        counted: told(log, COUNTED)?,
        ..Transfer::default()
    };
    let (since, until) = (transfer.sent.witness.since, transfer.sent.witness.until);
    for event in &log.events {
        if let Body::Switch(switch) = &event.body
            && switch.flags & SWITCH_PREV_WATCHED != 0
            && switch.prev == transfer.sent.pid
            && (since..=until).contains(&event.header.ktime)
        {
            // As the kernel tells them apart: preempted, or still runnable.
            let pushed =
                switch.flags & SWITCH_PREEMPT != 0 || [0, 256].contains(&switch.prev_state);
            transfer.involuntary += u64::from(pushed);
            transfer.voluntary += u64::from(!pushed);
        }
    }
    Ok(Facts::Transfer(Box::new(transfer)))
}

/// The counts that must be equal before anything is judged; what is not binding is only shown.
impl Transfer {
    pub fn checks(&self) -> Vec<Check> {
        let copies = self.copies();
        let sent = &self.sent.sent;
        let mut checks = vec![
            check(
                "bytes",
                &[
                    ("file", self.source.size),
                    ("sender", sent.bytes),
                    ("receiver", self.received.bytes),
                    ("copied to the receiver", copies.received_bytes),
                ],
            ),
            check(
                "checksum",
                &[("file", self.source.sum), ("receiver", self.received.sum)],
            ),
            check(
                "payload",
                &[("file", self.source.size), ("packets", copies.sent_bytes)],
            ),
            check(
                "context switches",
                &[
                    (
                        "rusage",
                        self.sent.witness.voluntary + self.sent.witness.involuntary,
                    ),
                    ("sched_switch", self.voluntary + self.involuntary),
                ],
            ),
        ];
        for family in FAMILIES.iter().filter(|family| **family != "other") {
            let row = self.counted.sending.calls(family);
            let own = sent.calls.get(*family).copied().unwrap_or_default();
            if own + row.entries + row.returns > 0 {
                checks.push(check(
                    family,
                    &[
                        ("sender", own),
                        ("entered", row.entries),
                        ("returned", row.returns),
                    ],
                ));
            }
        }
        if let Some(io) = self.sent.witness.io
            && self.is("read-write")
        {
            let reads = self.counted.sending.calls("read");
            let writes = self.counted.sending.calls("write");
            checks.extend([
                check(
                    "bytes read",
                    &[("rchar", io.rchar), ("read()", reads.returned)],
                ),
                check(
                    "bytes written",
                    &[("wchar", io.wchar), ("write()", writes.returned)],
                ),
            ]);
        }
        checks
    }

    /// Why nothing can be judged by it, if so.
    pub fn fault(&self) -> Option<String> {
        let checks = self.checks();
        let differs = checks.iter().find(|check| check.binding && !check.agrees());
        differs.map(|check| format!("case {}: {}", self.label, check.told()))
    }

    pub fn is(&self, method: &str) -> bool {
        self.label.rsplit('/').next() == Some(method)
    }

    /// While the sender was at it and after it had returned.
    pub fn copies(&self) -> probes_common::copy::CopyRow {
        let sending = self.counted.sending.copies();
        let values = sending.to_values();
        let after = self.counted.after.copies().to_values();
        let sum = std::array::from_fn(|index| values[index] + after[index]);
        let mut row = probes_common::copy::CopyRow::from_values(sum);
        row.inode = sending.inode.max(self.counted.after.copies().inode);
        // Pages and faults of the sender end with its last call.
        row.sender_pages = sending.sender_pages;
        row
    }

    /// Bytes that left in pages of the file that was sent.
    pub fn sent_in_file(&self) -> u64 {
        let copies = self.copies();
        if copies.inode == self.source.inode {
            copies.sent_file_bytes
        } else {
            0
        }
    }

    pub fn received_in_file(&self) -> u64 {
        let copies = self.copies();
        if copies.inode == self.source.inode {
            copies.received_file_bytes
        } else {
            0
        }
    }

    /// Copied by the sender's CPU to user memory, as the calls that read say.
    pub fn to_user(&self) -> u64 {
        match self.is("uring-send") {
            true => self.sent.sent.bytes,
            false => self.counted.sending.calls("read").returned,
        }
    }

    /// Copied into the kernel: it left in memory that the kernel took for it.
    pub fn to_kernel(&self) -> u64 {
        let copies = self.copies();
        copies.sent_kernel_bytes + copies.sent_linear_bytes
    }

    /// Left in a page of the sender's and arrived in another: copied on the way.
    pub fn on_delivery(&self) -> u64 {
        let copies = self.copies();
        let lent = copies.sent_file_bytes + copies.sent_anon_bytes;
        lent.saturating_sub(copies.received_file_bytes + copies.received_anon_bytes)
    }

    /// Bytes, 1 % of all, that may be copied on delivery though nothing but room asks for it: a small packet that
    /// waits for a busy receiver is moved into its own head (`skb_condense`, net/core/skbuff.c, by
    /// `tcp_add_backlog`).
    pub fn condensable(&self) -> u64 {
        self.source.size / 100
    }

    /// System calls, without what the script itself did between.
    pub fn calls(&self) -> u64 {
        self.sum(|row| row.entries)
    }

    /// Entries and returns of system calls.
    pub fn mode_switches(&self) -> u64 {
        self.sum(|row| row.entries + row.returns)
    }

    fn sum(&self, of: fn(probes_common::copy::CallRow) -> u64) -> u64 {
        let named = FAMILIES.iter().filter(|family| **family != "other");
        named
            .map(|family| of(self.counted.sending.calls(family)))
            .sum()
    }

    pub fn wall_ns(&self) -> u64 {
        self.received.last_at.saturating_sub(self.sent.begun_at)
    }
}

fn check(what: &'static str, counts: &[(&'static str, u64)]) -> Check {
    Check {
        what,
        counts: counts.to_vec(),
        binding: true,
    }
}
