//! Hand-made case logs for the tests of both folds.

use std::collections::BTreeMap;

use probes_common::event::{Header, Kind};
use probes_common::tcp::{Packet, SockId, TIMER_STARTED, TIMER_WRITE, TcpTimer};
use serde_json::{Value, json};

use super::limits::{Limits, Speed};
use super::{CLIENT_PORT, LIMITS, SERVER_PORT};
use crate::stream::{Body, Event, Mark};
use crate::trace::scripted::CaseLog;

pub const MS: u64 = 1_000_000;
/// When every hand-made case begins.
pub const BEGIN: u64 = 1000 * MS;

pub fn limits(retries: u32, linear: Option<u32>) -> Limits {
    Limits {
        speed: Speed::Compressed,
        why: None,
        first_ns: 40 * MS,
        jiffy_ns: Some(4 * MS),
        retries,
        linear,
        rto_max_ms: None,
    }
}

pub fn mark(ktime: u64, name: &str, data: Value) -> Mark {
    Mark {
        ktime,
        name: name.to_owned(),
        data,
    }
}

pub fn log(label: &str, limits: &Limits) -> CaseLog {
    CaseLog {
        label: label.to_owned(),
        netns: 7,
        begun_at: BEGIN,
        marks: vec![mark(BEGIN, LIMITS, json!(limits))],
        counters: BTreeMap::new(),
        ..CaseLog::default()
    }
}

pub fn event(ktime: u64, kind: Kind, body: Body) -> Event {
    let header = Header {
        ktime,
        kind: kind as u16,
        ..Header::default()
    };
    Event { header, body }
}

pub fn client() -> SockId {
    SockId {
        netns: 7,
        local_port: CLIENT_PORT,
        remote_port: SERVER_PORT,
        ..SockId::default()
    }
}

/// Seen from the server.
pub fn request() -> SockId {
    SockId {
        netns: 7,
        local_port: SERVER_PORT,
        remote_port: CLIENT_PORT,
        ..SockId::default()
    }
}

pub fn packet(ktime: u64, from: &SockId, flags: u8, verdict: u8) -> Event {
    let packet = Packet {
        netns: 7,
        source_port: from.local_port,
        dest_port: from.remote_port,
        flags,
        verdict,
        ..Packet::default()
    };
    event(ktime, Kind::Packet, Body::Packet(packet))
}

/// After so many resends.
pub fn armed(ktime: u64, id: SockId, resends: usize, jiffies: u64) -> Event {
    let timer = TcpTimer {
        id,
        timeout: jiffies,
        which: TIMER_WRITE,
        action: TIMER_STARTED,
        retransmits: resends as u8,
        ..TcpTimer::default()
    };
    event(ktime, Kind::TcpTimer, Body::TcpTimer(timer))
}
