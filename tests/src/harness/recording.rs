//! A second, small reader of recordings: marks, and which task each recorded waking woke.
//!
//! It shares no code with the program under test, so that it can bear witness.

use std::path::Path;

use serde_json::Value;

const MAGIC: &[u8] = b"probes.record/1\n";
/// Of a record: the time, the kind, and the first number of a waking's payload.
const KIND_AT: usize = 8;
const PAYLOAD_AT: usize = 32;
const KIND_WAKING: u16 = 1;

#[derive(Debug, Clone)]
pub struct Mark {
    pub ktime: u64,
    pub name: String,
    pub data: Value,
}

#[derive(Debug, Clone, Copy)]
pub struct Waking {
    pub ktime: u64,
    pub target: u32,
}

/// Any record's head, to show what surrounded a disagreement.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    pub ktime: u64,
    pub kind: u16,
    pub cpu: u32,
    pub pid: u32,
    pub phase: u32,
    /// The payload's first 4 bytes.
    pub first: u32,
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Head {
            ktime,
            kind,
            cpu,
            pid,
            phase,
            first,
        } = self;
        write!(
            f,
            "{} us: kind {kind}, CPU {cpu}, current {pid}, phase {phase}, first number {first}",
            ktime / 1000
        )
    }
}

#[derive(Debug, Default)]
pub struct Recording {
    pub marks: Vec<Mark>,
    pub wakings: Vec<Waking>,
    /// In the order in which the ring gave them.
    pub heads: Vec<Head>,
}

impl Recording {
    pub fn read(path: &Path) -> Recording {
        let bytes = std::fs::read(path).expect("the recording");
        let mut rest = bytes
            .strip_prefix(MAGIC)
            .expect("the recording's first line");
        let mut recording = Recording::default();
        let mut ended = false;
        while let Some((head, tail)) = rest.split_at_checked(5) {
            let len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
            let (payload, after) = tail.split_at_checked(len as usize).expect("a whole frame");
            match head[0] {
                b'M' => recording.marks.push(mark(payload)),
                b'E' => recording.event(&head_of(payload)),
                b'T' => ended = true,
                _ => {}
            }
            rest = after;
        }
        assert!(ended && rest.is_empty(), "the recording has no end");
        recording
    }

    fn event(&mut self, head: &Head) {
        self.heads.push(*head);
        if head.kind == KIND_WAKING {
            self.wakings.push(Waking {
                ktime: head.ktime,
                target: head.first,
            });
        }
    }

    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Mark> {
        self.marks.iter().filter(move |mark| mark.name == name)
    }
}

fn head_of(record: &[u8]) -> Head {
    Head {
        ktime: u64::from_le_bytes(array(record, 0)),
        kind: u16_at(record, KIND_AT),
        cpu: u32::from_le_bytes(array(record, 12)),
        pid: u32::from_le_bytes(array(record, 16)),
        phase: u32::from_le_bytes(array(record, 24)),
        first: u32::from_le_bytes(array(record, PAYLOAD_AT)),
    }
}

fn mark(payload: &[u8]) -> Mark {
    let value: Value = serde_json::from_slice(payload).expect("a mark");
    let ktime = value["ktime"].as_u64().expect("a mark's time");
    Mark {
        ktime,
        name: value["name"].as_str().unwrap_or_default().to_owned(),
        data: value["data"].clone(),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let field = bytes
        .get(at..at + N)
        .and_then(|field| field.try_into().ok());
    field.expect("a whole record")
}
