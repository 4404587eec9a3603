//! What is lost on purpose, case by case: each with a connection in a namespace of its own, over IPv4 and IPv6.
//!
//! Segments are lost on the way in, so that sending them succeeds and the resend is traced. Nothing but the
//! surgeon loses anything; the script says what both sockets count and whether the content came unharmed.

use crate::lab::family::Family;
use crate::lab::tcp_info::TcpInfo;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::lab::Lab;
use crate::lab::netns::{no_offload, set_mtu};
use crate::lab::script::{Case, ScriptLab, Stage};
use crate::lab::surgeon::{Rule, Segment};
use crate::trace::LabOptions;
use pair::{Account, Door, Pair, listen};

mod pair;

/// The script's own account at the end; its data are counts of both sockets.
pub const SETTLED: &str = "settled";
/// A flight is about to be sent: `segments`.
pub const FLIGHT: &str = "flight";

/// For each wait of a script: a guest under emulation is slow, and a wait may back off.
const BUDGET: Duration = Duration::from_secs(30);
/// An Ethernet's, so that a segment is a packet of its own.
const MTU: u32 = 1500;
/// Segments of a flight: within the initial congestion window.
pub const SEGMENTS: usize = 10;
/// The segment of a flight that is lost where one in the middle is, from 1.
pub const MIDDLE: u32 = 3;
/// Flights of which one segment is lost.
pub const FLIGHTS: usize = 5;
/// Segments of the flight that is lost as a whole: the time-outs are of the first, the others follow it.
const TIMED_OUT: usize = 3;
/// Time-outs one after the other, before the resend is let through.
pub const TIMEOUTS: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Loss {
    /// The first SYN.
    Syn,
    /// The first SYN-ACK, and every SYN after the first, so that only the request's timer can resend it.
    SynAck,
    /// One segment in the middle of a flight.
    Middle,
    /// The first segment of a flight of two.
    FirstOfTwo,
    /// The last two segments of a flight.
    Tail,
    /// The only segment in flight.
    Lone,
    /// Everything from one segment on, for some time-outs.
    Everything,
    /// Nothing but acknowledgements.
    Acks,
}

impl Loss {
    pub const ALL: [Loss; 8] = [
        Loss::Syn,
        Loss::SynAck,
        Loss::Middle,
        Loss::FirstOfTwo,
        Loss::Tail,
        Loss::Lone,
        Loss::Everything,
        Loss::Acks,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Loss::Syn => "syn",
            Loss::SynAck => "syn-ack",
            Loss::Middle => "middle",
            Loss::FirstOfTwo => "first-of-two",
            Loss::Tail => "tail",
            Loss::Lone => "lone",
            Loss::Everything => "everything",
            Loss::Acks => "acks",
        }
    }

    pub fn label(self, family: Family) -> String {
        format!("{}/{}", self.name(), family.name())
    }

    /// Of a case's label.
    pub fn of(label: &str) -> Option<Loss> {
        let (name, _) = label.split_once('/')?;
        Loss::ALL.into_iter().find(|loss| loss.name() == name)
    }
}

/// Every label there is.
pub fn all() -> Vec<String> {
    labels(&LabOptions::default())
}

/// The labels that these options ask for.
pub fn labels(options: &LabOptions) -> Vec<String> {
    let all = Loss::ALL.into_iter();
    let labels = all.flat_map(|loss| Family::BOTH.map(|family| loss.label(family)));
    labels.filter(|label| options.wants(label)).collect()
}

pub fn open(options: &LabOptions) -> Box<dyn Lab> {
    let all = Loss::ALL.into_iter();
    let all = all.flat_map(|loss| Family::BOTH.map(|family| (loss, family)));
    let cases = all.filter(|(loss, family)| options.wants(&loss.label(*family)));
    let cases = cases.map(|(loss, family)| {
        // What the claims rest on is as the kernel sets it; the host may have changed it.
        Case::new(loss.label(family), BUDGET, move |stage| {
            script(loss, family, stage)
        })
        .sysctl("net.ipv4.tcp_early_retrans", 3)
        .sysctl("net.ipv4.tcp_recovery", 1)
        .sysctl("net.ipv4.tcp_sack", 1)
        .sysctl("net.ipv4.tcp_dsack", 1)
        .sysctl("net.ipv4.tcp_timestamps", 1)
        .sysctl("net.ipv4.tcp_frto", 2)
        .sysctl("net.ipv4.tcp_no_metrics_save", 1)
        .sysctl("net.ipv4.tcp_syncookies", 0)
        .sysctl("net.ipv4.tcp_congestion_control", "reno")
        .sysctl("net.ipv4.tcp_rto_min_us?", 200_000)
        .sysctl("net.ipv4.tcp_rto_max_ms?", 120_000)
    });
    Box::new(ScriptLab::new(cases.collect()))
}

fn script(loss: Loss, family: Family, stage: &mut Stage) -> Result<()> {
    set_mtu("lo", MTU)?;
    no_offload("lo")?;
    stage.view().operate("lo")?;
    let mut account = Account::default();
    // A loss halves the window: only a connection's first flight goes out as a whole.
    let connections = match loss {
        Loss::Middle | Loss::FirstOfTwo => FLIGHTS,
        _ => 1,
    };
    for connection in 0..connections {
        stage.progress(connection as u64, connections as u64);
        stage.view().set_rules(&[])?;
        let pair = match loss {
            Loss::Syn | Loss::SynAck => handshake(loss, family, stage)?,
            _ => established(loss, family, stage)?,
        };
        pair.settle(stage, &mut account)?;
    }
    account.note(stage);
    Ok(())
}

fn established(loss: Loss, family: Family, stage: &Stage) -> Result<Pair> {
    let mut pair = Pair::warm(stage, family)?;
    let data = Rule::new(1, Segment::Data).to(pair.port);
    let (segments, rule) = match loss {
        Loss::Middle => (SEGMENTS, data.kth(MIDDLE)),
        Loss::FirstOfTwo => (2, data.kth(1)),
        Loss::Lone => (1, data.kth(1)),
        Loss::Tail => {
            let skip = SEGMENTS as u32 - 2;
            (
                SEGMENTS,
                Rule {
                    skip,
                    drop: 2,
                    ..data
                },
            )
        }
        Loss::Acks => (1, Rule::new(1, Segment::PureAck).from(pair.port)),
        Loss::Everything | Loss::Syn | Loss::SynAck => (TIMED_OUT, data),
    };
    let before = TcpInfo::of(&pair.client)?.data_segs_out;
    stage.view().set_rules(&[rule])?;
    stage.act(FLIGHT, json!({ "segments": segments }));
    pair.send(segments)?;
    match loss {
        // What the last time-out sent may still be on its way: it is to be lost as well.
        Loss::Everything => stage.wait("the time-outs have come", || {
            let info = TcpInfo::of(&pair.client)?;
            let lost = stage.view().rule_counts()?.first().map(|its| its.dropped);
            let sent = u64::from(info.data_segs_out - before);
            Ok((info.backoff >= TIMEOUTS && lost == Some(sent)).then_some(()))
        })?,
        // The segment's own, and that of one resend.
        Loss::Acks => stage.wait("two acknowledgements are lost", || {
            let counts = stage.view().rule_counts()?;
            Ok(counts
                .first()
                .is_some_and(|its| its.dropped >= 2)
                .then_some(()))
        })?,
        _ => {}
    }
    if matches!(loss, Loss::Everything | Loss::Acks) {
        stage.view().set_rules(&[])?;
    }
    Ok(pair)
}

fn handshake(loss: Loss, family: Family, stage: &Stage) -> Result<Pair> {
    let (listener, address) = listen(family)?;
    let syn = Rule::new(1, Segment::Syn).to(address.port());
    let syn_ack = Rule::new(2, Segment::SynAck).from(address.port());
    let rules: &[Rule] = match loss {
        Loss::Syn => &[syn.kth(1)],
        _ => &[Rule { skip: 1, ..syn }, syn_ack.kth(1)],
    };
    stage.view().set_rules(rules)?;
    stage.act(FLIGHT, json!({ "segments": 0 }));
    let mut pair = Door::knock(listener, address)?.enter(stage)?;
    stage.view().set_rules(&[])?;
    pair.send(1)?;
    Ok(pair)
}
