//! What one case of syn-queue shows, from the kernel's events beside the script's marks.
//!
//! A half-open connection is a request whose timer was started (`reqsk_timer_handler`), known by its peer's
//! address and port; a connection made through a cookie never has one.

use std::collections::BTreeSet;

use probes_common::tcp::{
    HS_CONN_REQUEST, HS_COOKIE_CHECKED, HS_COOKIE_SENT, Handshake, Packet, TIMER_REQUEST,
    TIMER_STARTED,
};
use serde::de::DeserializeOwned;

use super::marks::{ATTEMPTS, Attempts, CONTRAST, CONTROL, FLOOD, FloodMark, LIMITS, Limits};
use crate::lab::queue::flood::SOURCE_PORT;
use crate::stream::Body;
use crate::trace::scripted::CaseLog;

/// All of them, or none is looked at.
pub const FUNCTIONS: [&str; 5] = [
    "tcp_conn_request",
    "cookie_v4_init_sequence",
    "cookie_v6_init_sequence",
    "cookie_v4_check",
    "cookie_v6_check",
];
pub const FULL_DROP: &str = "TcpExtTCPReqQFullDrop";
pub const COOKIES_SENT: &str = "TcpExtSyncookiesSent";
pub const COOKIES_VALID: &str = "TcpExtSyncookiesRecv";

const FLAGS: u8 = 0x12;
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;

/// One case, complete.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub label: String,
    pub limits: Limits,
    pub contrast: Option<Phase>,
    pub control: Option<Phase>,
    pub flood: Option<FloodMark>,
    /// Half-open connections of the flood, by their timers.
    pub flood_requests: u64,
    /// SYNs of the flood that came in.
    pub flood_syns: u64,
    /// How often `tcp_conn_request` ran for them, and the longest queue it left; where it is probed.
    pub flood_conn_requests: Option<(u64, u64)>,
    pub attempts: Option<Phase>,
}

/// Genuine connections of one step, as the script and as the kernel tell them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Phase {
    pub told: Attempts,
    /// By their timers.
    pub requests: u64,
    /// Clients whose SYN came in, and to whom a SYN-ACK went.
    pub syns: u64,
    pub answered: u64,
    /// Options and window scale of the SYN-ACKs, each kind once; 255 = no window scale.
    pub synacks: BTreeSet<(u8, u8)>,
    /// By the functions that make and check cookies, where they are probed.
    pub cookies: Option<(u64, u64)>,
}

/// `functions`: the optional function probes are attached, all of [`FUNCTIONS`].
///
/// # Errors
/// What keeps this case from being judged.
pub fn read(log: &CaseLog, functions: bool) -> Result<Facts, String> {
    let label = &log.label;
    if log.ended_at.is_none() {
        return Err(format!("{label} did not come to its end"));
    }
    let log = &last_run(log);
    let limits: Limits = mark(log, LIMITS).ok_or_else(|| format!("{label} has no limits"))?;
    let peers = requests(log, limits.port);
    let ports = |flood: bool| {
        peers
            .iter()
            .filter(move |(_, port)| (*port == SOURCE_PORT) == flood)
    };
    let phase = |name: &str| {
        let mut phase = phase(log, mark(log, name)?, &ports(false).collect());
        phase.cookies = functions.then(|| cookies(log, &phase.told));
        Some(phase)
    };
    let facts = Facts {
        label: label.clone(),
        limits,
        contrast: phase(CONTRAST),
        control: phase(CONTROL),
        flood: mark(log, FLOOD),
        flood_requests: ports(true).count() as u64,
        flood_syns: packets(log, SYN)
            .filter(|packet| (packet.source_port, packet.dest_port) == (SOURCE_PORT, limits.port))
            .count() as u64,
        flood_conn_requests: functions.then(|| conn_requests(log, limits.port)),
        attempts: phase(ATTEMPTS),
    };
    agree(&facts)?;
    Ok(facts)
}

/// From the last listener on.
fn last_run(log: &CaseLog) -> CaseLog {
    let from = log.named(LIMITS).map(|mark| mark.ktime).max().unwrap_or(0);
    let mut last = log.clone();
    last.marks.retain(|mark| mark.ktime >= from);
    last.events.retain(|event| event.header.ktime >= from);
    last
}

type Peer = ([u8; 16], u16);

fn requests(log: &CaseLog, port: u16) -> BTreeSet<Peer> {
    let timers = log.events.iter().filter_map(|event| match &event.body {
        Body::TcpTimer(timer) => Some(timer),
        _ => None,
    });
    let started = timers.filter(|timer| {
        (timer.which, timer.action, timer.id.local_port) == (TIMER_REQUEST, TIMER_STARTED, port)
    });
    started
        .map(|timer| (timer.id.remote_addr, timer.id.remote_port))
        .collect()
}

fn mark<T: DeserializeOwned>(log: &CaseLog, name: &str) -> Option<T> {
    let mark = log.named(name).next()?;
    serde_json::from_value(mark.data.clone()).ok()
}

fn packets(log: &CaseLog, flags: u8) -> impl Iterator<Item = &Packet> {
    log.events
        .iter()
        .filter_map(move |event| match &event.body {
            Body::Packet(packet) if packet.flags & FLAGS == flags => Some(packet),
            _ => None,
        })
}

fn phase(log: &CaseLog, told: Attempts, requests: &BTreeSet<&Peer>) -> Phase {
    let ports: BTreeSet<u16> = told.tries.iter().map(|its| its.port).collect();
    let distinct = |ports: BTreeSet<u16>| ports.len() as u64;
    let syns = packets(log, SYN).map(|packet| packet.source_port);
    let synacks = || packets(log, SYN_ACK).filter(|packet| ports.contains(&packet.dest_port));
    Phase {
        requests: distinct(
            requests
                .iter()
                .map(|(_, port)| *port)
                .filter(|port| ports.contains(port))
                .collect(),
        ),
        syns: distinct(syns.filter(|port| ports.contains(port)).collect()),
        answered: distinct(synacks().map(|packet| packet.dest_port).collect()),
        synacks: synacks()
            .map(|packet| (packet.options, packet.wscale))
            .collect(),
        told,
        cookies: None,
    }
}

fn handshakes(log: &CaseLog) -> impl Iterator<Item = &Handshake> {
    log.events.iter().filter_map(|event| match &event.body {
        Body::Handshake(its) => Some(its),
        _ => None,
    })
}

/// Cookies made for these clients, and found valid: a check returns the listener itself for what is none.
fn cookies(log: &CaseLog, told: &Attempts) -> (u64, u64) {
    let ours = |its: &&Handshake| told.tries.iter().any(|own| own.port == its.remote_port);
    let sent = |its: &&Handshake| its.what == HS_COOKIE_SENT;
    let valid = |its: &&Handshake| {
        its.what == HS_COOKIE_CHECKED && its.other != 0 && its.other != its.id.sock
    };
    let all = || handshakes(log).filter(ours);
    let count = |which: &dyn Fn(&&Handshake) -> bool| all().filter(which).count() as u64;
    (count(&sent), count(&valid))
}

fn conn_requests(log: &CaseLog, port: u16) -> (u64, u64) {
    let flood = |its: &&Handshake| {
        (its.what, its.remote_port, its.id.local_port) == (HS_CONN_REQUEST, SOURCE_PORT, port)
    };
    let all = handshakes(log).filter(flood);
    all.fold((0, 0), |(count, most), its| {
        (count + 1, most.max(u64::from(its.snap.request_qlen)))
    })
}

/// Script and kernel must tell the same; the connection before the flood must have come through.
fn agree(facts: &Facts) -> Result<(), String> {
    let label = &facts.label;
    if let Some(flood) = &facts.flood
        && (facts.flood_requests, facts.flood_syns) != (flood.half_open, flood.sent)
    {
        return Err(format!(
            "{label}: the script counts {} SYNs and {} half-open connections, the kernel's events {} and {}",
            flood.sent, flood.half_open, facts.flood_syns, facts.flood_requests
        ));
    }
    if let (Some(flood), Some(seen)) = (&facts.flood, facts.flood_conn_requests)
        && seen != (flood.sent, flood.half_open)
    {
        return Err(format!(
            "{label}: tcp_conn_request ran {} times for {} SYNs and left {} half-open, not {}",
            seen.0, flood.sent, seen.1, flood.half_open
        ));
    }
    let phases = [&facts.contrast, &facts.control, &facts.attempts];
    for phase in phases.into_iter().flatten() {
        let tries = phase.told.tries.len() as u64;
        if phase.syns != tries {
            return Err(format!("{label}: of {tries} SYNs {} came in", phase.syns));
        }
        let counted = (
            phase.told.counter(COOKIES_SENT),
            phase.told.counter(COOKIES_VALID),
        );
        if phase.cookies.is_some_and(|seen| seen != counted) {
            return Err(format!(
                "{label}: cookies made and valid: {:?} by the functions, {counted:?} counted",
                phase.cookies
            ));
        }
    }
    for phase in [&facts.contrast, &facts.control].into_iter().flatten() {
        let (through, tries) = (phase.told.came_through(), phase.told.tries.len());
        if through != tries {
            return Err(format!(
                "{label}: before the flood {through} of {tries} came through"
            ));
        }
    }
    Ok(())
}
