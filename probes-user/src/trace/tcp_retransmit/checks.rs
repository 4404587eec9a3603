//! Independent counts of one case that must agree with the resends seen: the namespace's, the sockets', the wire's.

use super::cause::Cause;
use super::flow::{ACK, SYN, Seen, Wire};
use super::lab::SETTLED;
use super::ties::Resend;
use crate::trace::scripted::CaseLog;

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub what: &'static str,
    pub ours: u64,
    pub theirs: u64,
    /// Whose word theirs is.
    pub witness: &'static str,
    /// It may count more: of what the hooks do not see.
    pub at_least: bool,
}

impl Check {
    pub fn agrees(&self) -> bool {
        self.ours == self.theirs || (self.at_least && self.ours < self.theirs)
    }

    pub fn told(&self) -> String {
        let Check {
            what,
            ours,
            theirs,
            witness,
            ..
        } = self;
        format!("{what}: {ours} traced, {theirs} by {witness}")
    }
}

pub fn checks(log: &CaseLog, resends: &[Resend], wire: &Wire) -> Vec<Check> {
    let count = |causes: &[Cause]| {
        let sent = resends.iter().filter(|its| its.err == 0);
        sent.filter(|its| causes.contains(&its.cause)).count() as u64
    };
    let nstat = |what, causes: &[Cause], name| Check {
        what,
        ours: count(causes),
        theirs: log.counter(name),
        witness: name,
        at_least: false,
    };
    let mut checks = vec![
        nstat("segments resent", &Cause::ALL, "TcpRetransSegs"),
        nstat(
            "handshake resends",
            &[Cause::Syn, Cause::SynAck],
            "TcpExtTCPSynRetrans",
        ),
        Check {
            // A probe of data never sent before is no resend.
            at_least: true,
            ..nstat("probes", &[Cause::TailProbe], "TcpExtTCPLossProbes")
        },
        nstat(
            "in recovery",
            &[Cause::Fast, Cause::RackTimer],
            "TcpExtTCPFastRetrans",
        ),
        nstat(
            "after a time-out",
            &[Cause::AfterRto],
            "TcpExtTCPSlowStartRetrans",
        ),
        nstat(
            "time-outs",
            &[Cause::Rto, Cause::Syn, Cause::SynAck],
            "TcpExtTCPTimeouts",
        ),
    ];
    let own = log
        .said(SETTLED, "total_retrans")
        .and_then(serde_json::Value::as_u64);
    checks.push(Check {
        what: "of the clients' sockets",
        ours: resends
            .iter()
            .filter(|its| its.cause != Cause::SynAck && its.err == 0)
            .count() as u64,
        theirs: own.unwrap_or(u64::MAX),
        witness: "tcpi_total_retrans",
        at_least: false,
    });
    checks.push(Check {
        what: "copies on the wire",
        ours: resends.iter().filter(|its| its.err == 0).count() as u64,
        theirs: wire.flows().map(|(_, seen)| repeats(seen)).sum(),
        witness: "the surgeon",
        at_least: false,
    });
    checks
}

/// Packets of one direction whose first byte was on the wire before.
fn repeats(seen: &[Seen]) -> u64 {
    let again = |(at, one): (usize, &Seen)| {
        let range = one.range();
        let first = range.start;
        // A client's SYN and the SYN-ACK of another connection cannot meet: a direction is one connection's.
        range.holds(first) && seen[..at].iter().any(|other| other.range().holds(first))
    };
    seen.iter()
        .enumerate()
        .filter(|its| again((its.0, its.1)))
        .count() as u64
}

/// SYN-ACKs and SYNs that a case shows at all: the positive control of the surgeon.
pub fn handshakes(wire: &Wire) -> usize {
    let both = SYN | ACK;
    let synack = |seen: &&Seen| seen.packet.flags & both == both;
    wire.flows()
        .map(|(_, seen)| seen.iter().filter(synack).count())
        .sum()
}
