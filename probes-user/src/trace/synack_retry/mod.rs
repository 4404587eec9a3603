//! synack-retry: the ACK that ends a handshake is lost. What does the server do, and what does the client know?
//!
//! From the surgeon (SYN-ACKs that came by, ACKs that were lost), `tcp_retransmit_synack`, the request's timer
//! and the namespace's tables. What could fool it: data carries the ACK too (it is lost as well, and a
//! contrast shows what it does), and a reset that nobody looks for (one is provoked at the end).

mod case;
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

pub const RESENDS: &str = "synack-retry/resends";
pub const ESTABLISHED: &str = "synack-retry/client-thinks-established";

static CLAIMS: [Claim; 2] = [
    Claim {
        id: RESENDS,
        number: "waits_measured",
        statement: "A server that misses the final ACK sends its SYN-ACK again tcp_synack_retries times, after \
                    the initial timeout of 1 s and then after twice the last wait, and forgets the request one \
                    more such wait later.",
        holds_if: "on IPv4 and IPv6, as many SYN-ACKs as that and each wait as long: at most 12.5%, two jiffies \
                   and 20 ms longer (250 ms where the armed timer says what was meant), and the request's \
                   timer armed with so many jiffies (less than a quarter fewer where the wait is as long: read late)",
        refuted_if: "another number of SYN-ACKs, a timer armed with something else, or, where timers are not \
                     seen, a shorter wait; a wait that is only longer is inconclusive, and so is a run that \
                     contradicts its own counters",
    },
    Claim {
        id: ESTABLISHED,
        number: "resets_before_write_count",
        statement: "All that time, and after the server has forgotten the request, the client holds the \
                    connection for established; nothing tells it otherwise until it writes.",
        holds_if: "on IPv4 and IPv6, connect() succeeds, TCP_INFO shows ESTABLISHED at every look while the \
                   server's request is half-open and after it is gone, no reset and no error reach the client \
                   until it writes, and its write is answered with a reset",
        refuted_if: "connect() fails, another state at a look, or a reset or an error before the client writes; \
                     inconclusive if the request was never seen half-open or the last reset not at all",
    },
];

pub struct SynackRetry;

pub static SYNACK_RETRY: SynackRetry = SynackRetry;

impl Trace for SynackRetry {
    fn name(&self) -> &'static str {
        "synack-retry"
    }

    fn summary(&self) -> &'static str {
        "what server and client do when the ACK that ends their handshake is lost"
    }

    fn claims(&self) -> &'static [Claim] {
        &CLAIMS
    }

    fn hooks(&self) -> &'static [&'static str] {
        &[
            "surgeon",
            "tcp_retransmit_synack",
            "tcp_state",
            "timer_start",
            "timer_expire_entry",
            "inet_sk_error_report",
        ]
    }

    fn needs(&self) -> &'static [&'static str] {
        &["surgeon", "tcp_retransmit_synack", "tcp_state"]
    }

    fn options(&self) -> &'static [LabOption] {
        OPTIONS
    }

    fn examples(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("--full", "in the kernel's own time: some two minutes"),
            (
                "--retries 3 --variant v6",
                "another tcp_synack_retries, IPv6 only",
            ),
        ]
    }

    fn settings(&self) -> &'static [&'static str] {
        &["net.ipv4.tcp_synack_retries", "net.ipv4.tcp_rto_max_ms"]
    }

    fn watching(&self) -> Watching {
        Watching::Nothing
    }

    fn page(&self) -> &'static str {
        include_str!("../../../../docs/traces/synack-retry.md")
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
