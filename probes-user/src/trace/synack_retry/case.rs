//! One handshake without its final ACK, read from its case's log.

use probes_common::tcp::{SockId, TIMER_EXPIRED, TIMER_REQUEST, TIMER_STARTED};
use serde_json::Value;

use super::script::{ANSWERED, CONNECTED, DROPPED, GONE, KEPT, LOOK, WRITE};
use crate::stream::Body;
use crate::trace::backoff::fit::Row;
use crate::trace::backoff::limits::Limits;
use crate::trace::backoff::tables::Check;
use crate::trace::backoff::{CLIENT_PORT, COUNTED, SERVER_PORT, law};
use crate::trace::scripted::CaseLog;

/// An expiry and the SYN-ACK that it sends are less apart.
const MOMENT: u64 = 30_000_000;

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

#[derive(Debug, Clone, PartialEq)]
pub struct Handshake {
    pub limits: Limits,
    pub row: Row,
    pub law: Vec<u64>,
    pub looks: Looks,
    pub checks: Vec<Check>,
}

/// What both ends held for true.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Looks {
    /// At each look before the client wrote: was the request half-open, and the client's state.
    pub states: Vec<(bool, u64)>,
    /// From connect()'s return to the last of them.
    pub held_ns: u64,
    pub acks_lost: u64,
    pub resets_before: u64,
    pub resets_after: u64,
    pub errors_before: u64,
    /// What the client's write came to.
    pub errno: i64,
}

fn of_request(id: &SockId) -> bool {
    id.local_port == SERVER_PORT && id.remote_port == CLIENT_PORT
}

fn of_client(id: &SockId) -> bool {
    id.local_port == CLIENT_PORT && id.remote_port == SERVER_PORT
}

impl Handshake {
    /// # Errors
    /// What the script did not say.
    pub fn of(log: &CaseLog) -> Result<Handshake, String> {
        let limits = Limits::of(log).ok_or("the script did not say its limits")?;
        if log.ended_at.is_none() {
            return Err("the script did not come to its end".to_owned());
        }
        let write = time(log, WRITE)?;
        let row = row(log, write)?;
        Ok(Handshake {
            law: law::synack(limits.first_ns, limits.retries, limits.longest_ns()),
            looks: looks(log, write)?,
            checks: checks(log, &row, write),
            row,
            limits,
        })
    }
}

fn time(log: &CaseLog, name: &str) -> Result<u64, String> {
    let mark = log.named(name).next();
    mark.map(|mark| mark.ktime)
        .ok_or_else(|| format!("the script did not say {name}"))
}

fn number(log: &CaseLog, name: &str, field: &str) -> Result<i64, String> {
    let value = log.said(name, field).and_then(Value::as_i64);
    value.ok_or_else(|| format!("the script did not say {field} of {name}"))
}

/// The SYN-ACKs as they came by, the request's timers, and its end: the last timer that ran out, or, where
/// expiries are not seen, when the script found it gone.
fn row(log: &CaseLog, write: u64) -> Result<Row, String> {
    let mut row = Row::default();
    let mut expired = None;
    for event in log.events.iter().filter(|event| event.header.ktime < write) {
        let at = event.header.ktime;
        match &event.body {
            Body::Packet(its)
                if (its.source_port, its.dest_port) == (SERVER_PORT, CLIENT_PORT)
                    && its.flags & (SYN | ACK) == SYN | ACK =>
            {
                row.sends.push(at);
            }
            Body::TcpTimer(its) if its.which == TIMER_REQUEST && of_request(&its.id) => {
                match its.action {
                    TIMER_STARTED => row.arm(its.num_timeout, its.timeout),
                    TIMER_EXPIRED => expired = Some(at),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    // The last expiry may have been kept from us.
    let expired = expired.filter(|at| {
        row.sends
            .last()
            .is_none_or(|sent| at > sent && at - sent > MOMENT)
    });
    row.ended_at = Some(expired.unwrap_or(time(log, GONE)?));
    Ok(row)
}

fn looks(log: &CaseLog, write: u64) -> Result<Looks, String> {
    let mut looks = Looks {
        acks_lost: number(log, DROPPED, "acks")?.unsigned_abs(),
        errno: number(log, ANSWERED, "errno")?,
        held_ns: time(log, KEPT)?.saturating_sub(time(log, CONNECTED)?),
        ..Looks::default()
    };
    for mark in log
        .marks
        .iter()
        .filter(|mark| [LOOK, GONE, KEPT].contains(&mark.name.as_str()))
    {
        let state = mark.data.get("client_state").and_then(Value::as_u64);
        let state =
            state.ok_or_else(|| format!("the script did not say the state at {}", mark.name))?;
        // Once more at GONE and KEPT, which come after the request.
        let half_open = mark.data.get("half_open").and_then(Value::as_bool);
        looks.states.push((half_open.unwrap_or(false), state));
    }
    for event in &log.events {
        let before = event.header.ktime < write;
        match &event.body {
            Body::Packet(its) if its.flags & RST != 0 && its.dest_port == CLIENT_PORT => {
                let count = if before {
                    &mut looks.resets_before
                } else {
                    &mut looks.resets_after
                };
                *count += 1;
            }
            Body::SockError(its) if before && of_client(&its.id) => looks.errors_before += 1,
            _ => {}
        }
    }
    Ok(looks)
}

fn checks(log: &CaseLog, row: &Row, write: u64) -> Vec<Check> {
    let before = || log.events.iter().filter(|event| event.header.ktime < write);
    let count = |matches: &dyn Fn(&Body) -> bool| {
        before().filter(|event| matches(&event.body)).count() as u64
    };
    let counted = |name: &str| {
        let value = log.said(COUNTED, name).and_then(Value::as_u64);
        value.unwrap_or_default()
    };
    let packets = row.sends.len() as u64;
    let expiries = count(&|body| {
        matches!(body, Body::TcpTimer(its)
            if (its.which, its.action) == (TIMER_REQUEST, TIMER_EXPIRED) && of_request(&its.id))
    });
    let resets_seen = count(
        &|body| matches!(body, Body::Packet(its) if its.flags & RST != 0 && its.dest_port == CLIENT_PORT),
    );
    vec![
        Check {
            what: "timeouts",
            counts: vec![
                ("SYN-ACKs", packets),
                ("TcpExtTCPTimeouts", counted("TcpExtTCPTimeouts")),
            ],
            events: (expiries > 0).then_some(("timer_expire_entry", expiries)),
        },
        Check {
            what: "resends",
            counts: vec![
                ("packets", packets.saturating_sub(1)),
                ("TcpExtTCPSynRetrans", counted("TcpExtTCPSynRetrans")),
                ("TcpRetransSegs", counted("TcpRetransSegs")),
            ],
            events: Some((
                "tcp_retransmit_synack",
                count(&|body| matches!(body, Body::TcpSynack(its) if of_request(&its.id))),
            )),
        },
        Check {
            what: "resets before the write",
            counts: vec![
                ("packets", resets_seen),
                ("TcpOutRsts", counted("TcpOutRsts")),
            ],
            events: None,
        },
        Check {
            what: "connections opened at the server",
            counts: vec![
                ("expected", 0),
                ("TcpPassiveOpens", counted("TcpPassiveOpens")),
            ],
            events: None,
        },
    ]
}
