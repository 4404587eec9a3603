//! syn-retry: a SYN that nobody answers. When is it sent again, how often, and when does connect() give up?
//!
//! From the surgeon (every SYN that came by and was lost), `tcp_retransmit_skb`, the socket's states and its
//! timer. What could fool it: a machine that stalls (the timer's own jiffies tell it apart), and a compressed
//! run that would not be the kernel's law (only the first timeout is set; all others must follow from it).

mod fold;
mod script;
#[cfg(test)]
mod tests;

use anyhow::Result;
use serde_json::json;

use super::backoff::pace::{Asked, OPTIONS};
use crate::evidence::Claim;
use crate::lab::Lab;
use crate::trace::scripted::JudgedAtEnd;
use crate::trace::{Context, Fold, LabOption, LabOptions, Trace, Watching};

pub const SCHEDULE: &str = "syn-retry/schedule";
pub const GIVES_UP: &str = "syn-retry/gives-up";

static CLAIMS: [Claim; 2] = [
    Claim {
        id: SCHEDULE,
        number: "waits_measured",
        statement: "A SYN without an answer is sent again six times; the waits after the seven SYNs are 1, \
                    2, 3, 6, 16, 32 and 64 times the initial timeout of 1 s.",
        holds_if: "on IPv4 and IPv6, as many SYNs as that and each wait as long: at most 12.5%, two jiffies \
                   and 20 ms longer (250 ms where the armed timer says what was meant), and the timer armed \
                     with so many jiffies (less than a quarter fewer where the wait is as long: it was read \
                     late); with --retries, as far as the row goes",
        refuted_if: "another number of SYNs, a timer armed with something else, or, where timers are not \
                     seen, a shorter wait; waits that are only longer refute it when the whole row is that of \
                     the sysctls, else they are inconclusive, and so are fewer SYNs in all the time of the \
                     retries, and a run that contradicts its counters",
    },
    Claim {
        id: GIVES_UP,
        number: "real_time_s",
        statement: "connect() to a host that never answers fails with ETIMEDOUT when the wait after the last \
                    SYN is over: after the sum of all waits that the sysctls give.",
        holds_if: "on IPv4 and IPv6, errno is ETIMEDOUT, after as many SYNs as the sysctls give, and connect() took the sum of the waits computed from \
                   tcp_syn_retries, tcp_syn_linear_timeouts and tcp_rto_max_ms, within the tolerance of its \
                   timers",
        refuted_if: "another errno, a shorter time, or another number of SYNs; a time that is only longer is \
                     inconclusive, and so are fewer SYNs, each timer armed as the sysctls give, in all that time",
    },
];

pub struct SynRetry;

pub static SYN_RETRY: SynRetry = SynRetry;

impl Trace for SynRetry {
    fn name(&self) -> &'static str {
        "syn-retry"
    }

    fn summary(&self) -> &'static str {
        "when an unanswered SYN is sent again, how often, and when connect() gives up"
    }

    fn claims(&self) -> &'static [Claim] {
        &CLAIMS
    }

    fn hooks(&self) -> &'static [&'static str] {
        &[
            "surgeon",
            "tcp_retransmit_skb",
            "tcp_state",
            "timer_start",
            "inet_sk_error_report",
        ]
    }

    fn needs(&self) -> &'static [&'static str] {
        &["surgeon", "tcp_retransmit_skb", "tcp_state"]
    }

    fn options(&self) -> &'static [LabOption] {
        OPTIONS
    }

    fn examples(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("--full", "in the kernel's own time: some four minutes"),
            (
                "--retries 3 --variant v6",
                "another tcp_syn_retries, IPv6 only",
            ),
        ]
    }

    fn settings(&self) -> &'static [&'static str] {
        &[
            "net.ipv4.tcp_syn_retries",
            "net.ipv4.tcp_syn_linear_timeouts",
            "net.ipv4.tcp_rto_max_ms",
        ]
    }

    fn watching(&self) -> Watching {
        Watching::Nothing
    }

    fn page(&self) -> &'static str {
        include_str!("../../../../docs/traces/syn-retry.md")
    }

    fn lab(&self, options: &LabOptions) -> Result<Box<dyn Lab>> {
        script::lab(options)
    }

    fn lab_options(&self, options: &LabOptions) -> Result<serde_json::Value> {
        Ok(json!(Asked::of(options)?))
    }

    fn fold(&self, _context: &Context) -> Box<dyn Fold> {
        Box::new(JudgedAtEnd::by(fold::judge))
    }
}
