//! One case as it is judged: its resends with their ties, and what keeps it from being judged at all.

use std::collections::BTreeMap;

use serde_json::Value;

use super::checks::{Check, checks, handshakes};
use super::flow::{Seen, Wire};
use super::lab::{Loss, SETTLED};
use super::ties::{Resend, resends};
use crate::trace::Symbol;
use crate::trace::scripted::CaseLog;

#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    pub label: String,
    pub loss: Option<Loss>,
    pub sysctls: BTreeMap<String, String>,
    pub counters: BTreeMap<String, u64>,
    pub begun_at: u64,
    pub resends: Vec<Resend>,
    /// Segments whose first copy was dropped, in order of time.
    pub lost: Vec<Lost>,
    /// Pure acknowledgements that were dropped.
    pub acks_dropped: u64,
    pub checks: Vec<Check>,
    /// Why its claims cannot be judged.
    pub flaw: Option<String>,
}

/// A segment that was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    pub time: u64,
    pub flow: super::flow::Flow,
    pub range: super::seq::Range,
}

impl Judged {
    pub fn new(log: &CaseLog, symbols: &[Symbol]) -> Judged {
        let resends = resends(&log.events, symbols);
        let mut events: Vec<_> = log.events.iter().collect();
        events.sort_by_key(|event| event.header.ktime);
        let wire = Wire::new(events);
        let checks = checks(log, &resends, &wire);
        let flaw = flaw(log, &checks, &wire);
        Judged {
            label: log.label.clone(),
            loss: Loss::of(&log.label),
            sysctls: log.sysctls.clone(),
            counters: log.counters.clone(),
            begun_at: log.begun_at,
            lost: lost(&wire),
            acks_dropped: acks_dropped(&wire),
            resends,
            checks,
            flaw,
        }
    }

    /// Less was traced than others counted, or a timer went off that was not seen to start: some kernels do not
    /// run programs on events while certain tasks are current, and count nothing.
    pub fn incomplete(&self) -> bool {
        let fewer = self
            .checks
            .iter()
            .any(|check| check.ours < check.theirs && !check.agrees());
        let unstarted = |its: &Resend| its.cause.by_timer() && its.waited.is_none();
        fewer || self.resends.iter().any(unstarted)
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or_default()
    }

    /// ns; the sysctl where this kernel has it, else the kernel's constant.
    pub fn rto_min_ns(&self) -> u64 {
        self.number("net.ipv4.tcp_rto_min_us").unwrap_or(200_000) * 1_000
    }

    pub fn rto_max_ns(&self) -> u64 {
        self.number("net.ipv4.tcp_rto_max_ms").unwrap_or(120_000) * 1_000_000
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.sysctls.get(name)?.parse().ok()
    }
}

fn flaw(log: &CaseLog, checks: &[Check], wire: &Wire) -> Option<String> {
    if log.ended_at.is_none() {
        return Some("its script did not come to its end".to_owned());
    }
    if handshakes(wire) == 0 {
        return Some("the surgeon saw no SYN-ACK: nothing may have passed it".to_owned());
    }
    if log.said(SETTLED, "intact").and_then(Value::as_bool) != Some(true) {
        return Some("the content that was received is not what was sent".to_owned());
    }
    let differs = checks.iter().find(|check| !check.agrees());
    differs.map(|check| format!("independent counts differ, {}", check.told()))
}

/// The first drop of each segment that takes sequence numbers.
fn lost(wire: &Wire) -> Vec<Lost> {
    let mut lost: Vec<Lost> = Vec::new();
    for (flow, seen) in wire.flows() {
        for (at, one) in seen.iter().enumerate() {
            let range = one.range();
            let first = seen[..at]
                .iter()
                .all(|other| !other.range().holds(range.start));
            if one.dropped() && range.holds(range.start) && first {
                let time = one.time;
                lost.push(Lost {
                    time,
                    flow: *flow,
                    range,
                });
            }
        }
    }
    lost.sort_by_key(|lost| lost.time);
    lost
}

fn acks_dropped(wire: &Wire) -> u64 {
    let pure = |seen: &&Seen| seen.dropped() && !seen.range().holds(seen.packet.seq);
    let dropped = wire
        .flows()
        .map(|(_, seen)| seen.iter().filter(pure).count());
    dropped.sum::<usize>() as u64
}
