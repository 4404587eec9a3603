//! tcp-retransmit: every segment that is sent again, why, and which loss it answers.
//!
//! From `tcp_retransmit_skb` (with the socket's state and the kernel stack), `tcp_retransmit_synack`, the timers
//! of TCP, and in the lab from the surgeon, which loses chosen packets on arrival and tells all it sees. What
//! could fool it: functions inlined on some kernels (see [`cause`]), a resend whose packet passes the surgeon
//! before the tracepoint fires (see [`ties`]), packets lost on the way out, which the tracepoint does not tell.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{Context, Fold, LabOptions, Mode, Trace, Watching};
use crate::evidence::Claim;
use crate::exit::usage;
use crate::kernel::jiffy_ns;
use crate::lab::Lab;

mod case;
mod cause;
mod checks;
mod claims;
mod flow;
mod fold;
mod lab;
mod ledger;
mod losses;
mod rules;
mod seq;
#[cfg(test)]
mod tests;
mod ties;
mod verdict;
mod watch;

const HOOKS: &[&str] = &[
    "tcp_retransmit_skb",
    "tcp_retransmit_synack",
    "timer_start",
    "timer_expire_entry",
    "surgeon",
    "tcp_state",
    "tcp_destroy_sock",
];

/// Without these no verdict; the rest tells whose a socket is.
const NEEDS: &[&str] = &[
    "tcp_retransmit_skb",
    "tcp_retransmit_synack",
    "timer_start",
    "timer_expire_entry",
    "surgeon",
];

/// A busy connection starts its timer with every segment: too much for somebody's server.
const LAB_ONLY: &[&str] = &["timer_start", "timer_expire_entry", "surgeon"];

/// What the lab was asked for, and what its numbers are in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Plan {
    /// Labels.
    cases: Vec<String>,
    jiffy_ns: u64,
}

pub struct TcpRetransmit;

pub static TCP_RETRANSMIT: TcpRetransmit = TcpRetransmit;

impl Trace for TcpRetransmit {
    fn name(&self) -> &'static str {
        "tcp-retransmit"
    }

    fn summary(&self) -> &'static str {
        "why TCP sends a segment again: time-out, probe, recovery, SYN, SYN-ACK; and which loss it answers"
    }

    fn claims(&self) -> &'static [Claim] {
        &claims::CLAIMS
    }

    fn hooks(&self) -> &'static [&'static str] {
        HOOKS
    }

    fn needs(&self) -> &'static [&'static str] {
        NEEDS
    }

    fn lab_only(&self) -> &'static [&'static str] {
        LAB_ONLY
    }

    fn symbols(&self) -> &'static [&'static str] {
        &cause::SYMBOLS
    }

    fn examples(&self) -> &'static [(&'static str, &'static str)] {
        &[(
            "--variant everything",
            "only the time-outs, over IPv4 and IPv6",
        )]
    }

    fn settings(&self) -> &'static [&'static str] {
        &[
            "net.ipv4.tcp_early_retrans",
            "net.ipv4.tcp_recovery",
            "net.ipv4.tcp_reordering",
            "net.ipv4.tcp_rto_min_us",
            "net.ipv4.tcp_rto_max_ms",
            "net.ipv4.tcp_sack",
        ]
    }

    fn watching(&self) -> Watching {
        Watching::Sockets
    }

    fn page(&self) -> &'static str {
        include_str!("../../../../docs/traces/tcp-retransmit.md")
    }

    fn lab(&self, options: &LabOptions) -> Result<Box<dyn Lab>> {
        if lab::labels(options).is_empty() {
            return usage(format!(
                "no such variant; there are {}",
                lab::all().join(", ")
            ));
        }
        Ok(lab::open(options))
    }

    fn lab_options(&self, options: &LabOptions) -> Result<serde_json::Value> {
        let plan = Plan {
            cases: lab::labels(options),
            jiffy_ns: jiffy_ns(),
        };
        Ok(serde_json::to_value(plan)?)
    }

    fn fold(&self, context: &Context) -> Box<dyn Fold> {
        match context.mode {
            Mode::Lab => Box::new(fold::LabFold::new(context)),
            Mode::Watch => Box::new(watch::WatchFold::new(context)),
        }
    }
}
