//! Judges the cases: the row of SYNs against the notes and against the law of the namespace's sysctls, and
//! what connect() said against both.

use probes_common::tcp::{PACKET_DROPPED, SockId, TIMER_STARTED, TIMER_WRITE};
use serde_json::Value;

use super::script::{CONNECT, CONTROL, LOST, RETURNED};
use super::{CLAIMS, GIVES_UP, SCHEDULE};
use crate::evidence::{ClaimResult, Finding, Ledger};
use crate::stream::Body;
use crate::trace::backoff::fit::{Fit, Row, differs, fit, ms, total_bounds};
use crate::trace::backoff::limits::Limits;
use crate::trace::backoff::tables::{
    Check, checks_table, disagreement, missed_remarks, schedule_rows, schedule_table, speed_remark,
    units,
};
use crate::trace::backoff::verdict::{self, Verdict};
use crate::trace::backoff::{CLIENT_PORT, COUNTED, SERVER_PORT, law};
use crate::trace::scripted::CaseLog;
use crate::trace::{Ending, Outcome};

const SYN: u8 = 2;
const ACK: u8 = 16;
const ETIMEDOUT: i64 = 110;
const STATE_SYN_SENT: u8 = 2;
const STATE_CLOSE: u8 = 7;

pub fn judge(logs: &[&CaseLog], ending: &Ending) -> Outcome {
    let cases: Vec<(&str, Result<Attempt, String>)> = logs
        .iter()
        .map(|log| (log.label.as_str(), Attempt::of(log)))
        .collect();
    let blocked = ending.blocks(&["SkbDrop"]);
    let findings = CLAIMS.iter().map(|claim| -> Finding {
        if let Some((result, why)) = &blocked {
            return verdict::of(claim, Verdict::new(*result, why.clone()));
        }
        let judged = cases.iter().map(|(label, attempt)| {
            let verdict = match attempt {
                Err(why) => Verdict::inconclusive(why.clone()),
                Ok(attempt) if claim.id == SCHEDULE => attempt.schedule(),
                Ok(attempt) => {
                    debug_assert_eq!(claim.id, GIVES_UP);
                    attempt.gives_up()
                }
            };
            (*label, verdict)
        });
        verdict::finding(claim, judged.collect())
    });
    Outcome {
        findings: findings.collect(),
        ledger: ledger(&cases),
    }
}

fn ledger(cases: &[(&str, Result<Attempt, String>)]) -> Ledger {
    let judged: Vec<(&str, &Attempt)> = cases
        .iter()
        .filter_map(|(label, attempt)| Some((*label, attempt.as_ref().ok()?)))
        .collect();
    let mut schedule = schedule_table("SYN");
    for (label, its) in &judged {
        schedule_rows(
            &mut schedule,
            label,
            &its.row,
            &its.law,
            &its.notes,
            &its.limits,
        );
    }
    let checks: Vec<(&str, &[Check])> = judged
        .iter()
        .map(|(label, its)| (*label, its.checks.as_slice()))
        .collect();
    let mut remarks = Vec::new();
    if let Some((_, first)) = judged.first() {
        remarks.push(speed_remark(&first.limits));
        remarks.push(first.law_remark());
    }
    let all_checks = judged.iter().flat_map(|(_, its)| &its.checks);
    remarks.extend(missed_remarks(all_checks));
    Ledger {
        tables: vec![schedule, checks_table(&checks)],
        remarks,
        timeline: Vec::new(),
    }
}

/// One connect() into the black hole.
#[derive(Debug, Clone, PartialEq)]
struct Attempt {
    limits: Limits,
    row: Row,
    law: Vec<u64>,
    notes: Vec<u64>,
    errno: i64,
    took_ns: u64,
    checks: Vec<Check>,
}

fn ours(id: &SockId) -> bool {
    id.local_port == CLIENT_PORT && id.remote_port == SERVER_PORT
}

impl Attempt {
    fn of(log: &CaseLog) -> Result<Attempt, String> {
        let said = |name: &str, field: &str| {
            let value = log.said(name, field).and_then(Value::as_i64);
            value.ok_or_else(|| format!("the script did not say {field} of {name}"))
        };
        let limits = Limits::of(log).ok_or("the script did not say its limits")?;
        let linear = limits.linear.unwrap_or_default();
        if log.ended_at.is_none() {
            return Err("the script did not come to its end".to_owned());
        }
        if said(CONTROL, "errno")? != 0 {
            return Err("the server did not answer without the black hole either".to_owned());
        }
        Ok(Attempt {
            row: row(log),
            law: law::syn(limits.first_ns, limits.retries, linear, limits.longest_ns()),
            notes: law::notes(limits.first_ns, limits.retries),
            errno: said(RETURNED, "errno")?,
            took_ns: said(RETURNED, "took_ns")?.unsigned_abs(),
            checks: checks(log, said(LOST, "dropped")?.unsigned_abs()),
            limits,
        })
    }

    fn schedule(&self) -> Verdict {
        let (retries, linear) = (self.limits.retries, self.limits.linear);
        let count = self.row.sends.len();
        let verdict = |result, because| {
            Verdict::new(result, because)
                .number("syns_count", count)
                .number("retries_count", retries)
                .number("linear_count", linear)
                .number("initial_timeout_ns", self.limits.first_ns)
                .number("waits_measured", units(&self.row.waits(), &self.limits))
                .number("waits_by_law", units(&self.law, &self.limits))
        };
        let doubt = |why: String| verdict(ClaimResult::Inconclusive, why);
        if let Some(why) = disagreement(&self.checks) {
            return doubt(format!("counts disagree: {why}"));
        }
        if let Some(why) = self.out_of_time() {
            return doubt(why);
        }
        let by_law = units(&self.law, &self.limits);
        match (self.fit(&self.notes), self.fit(&self.law)) {
            (Fit::Yes, Fit::Yes) => doubt("too few SYNs to tell the laws apart".to_owned()),
            (Fit::Yes, _) => {
                let text = format!("{count} SYNs, waits {by_law} s");
                verdict(ClaimResult::Holds, text)
            }
            (_, Fit::Yes) => {
                let text = format!("{count} SYNs, waits {by_law} s, as {}", self.sysctls());
                verdict(ClaimResult::Refuted, text)
            }
            (Fit::Unsure(why), _) | (_, Fit::Unsure(why)) => doubt(why),
            (Fit::No(notes), Fit::No(law)) => {
                let text =
                    format!("by the notes: {notes}; and not by the sysctls' law either: {law}");
                verdict(ClaimResult::Refuted, text)
            }
        }
    }

    /// An expiry also ends the attempt when the time of all retries has passed (`retransmits_timed_out`,
    /// net/ipv4/tcp_timer.c): timers that a stalled machine serves late leave fewer SYNs, each armed by the law.
    fn out_of_time(&self) -> Option<String> {
        let (count, meant) = (self.row.sends.len(), self.law.len());
        let limits = &self.limits;
        let limit = law::time_limit(limits.first_ns, limits.retries, limits.longest_ns());
        let by_law = differs(&self.law, &self.row, limits).is_none();
        let late = count < meant && self.errno == ETIMEDOUT && by_law && self.took_ns >= limit;
        late.then(|| {
            format!(
                "{count} SYNs instead of {meant}: timers came late, and {} ms had passed, the time of all retries",
                ms(self.took_ns)
            )
        })
    }

    fn fit(&self, law: &[u64]) -> Fit {
        fit(law, &self.row, &self.limits)
    }

    fn gives_up(&self) -> Verdict {
        let sum: u64 = self.law.iter().sum();
        let (least, most) = total_bounds(&self.law, &self.limits, !self.row.armed.is_empty());
        let (real, took) = (self.limits.real_s(sum), ms(self.took_ns));
        let (count, meant) = (self.row.sends.len(), self.law.len());
        let told = format!(
            "errno {} after {count} SYNs and {took} ms, not {meant} and {} ms",
            self.errno,
            ms(sum)
        );
        let verdict = if let Some(why) = disagreement(&self.checks) {
            Verdict::inconclusive(format!("counts disagree: {why}"))
        } else if let Some(why) = self.out_of_time() {
            Verdict::inconclusive(why)
        } else if self.errno != ETIMEDOUT || self.took_ns < least || count != meant {
            Verdict::new(ClaimResult::Refuted, told)
        } else if self.took_ns > most {
            Verdict::inconclusive(told)
        } else {
            let (sum, sysctls) = (ms(sum), self.sysctls());
            let text =
                format!("ETIMEDOUT after {took} ms; {sum} ms, in real time {real} s, {sysctls}");
            Verdict::new(ClaimResult::Holds, text)
        };
        verdict
            .number("errno", self.errno)
            .number("took_ns", self.took_ns)
            .number("by_law_ns", sum)
            .number("real_time_s", real)
    }

    fn sysctls(&self) -> String {
        let retries = format!("tcp_syn_retries {}", self.limits.retries);
        match self.limits.linear {
            Some(linear) => format!("{retries} and tcp_syn_linear_timeouts {linear} say"),
            None => format!("{retries} says, without linear timeouts"),
        }
    }

    fn law_remark(&self) -> String {
        let sum = self.limits.real_s(self.law.iter().sum());
        let last = self
            .law
            .split_last()
            .map_or(0, |(_, before)| before.iter().sum());
        let last = self.limits.real_s(last);
        format!(
            "By the sysctls of this namespace the last SYN leaves after {last} s, and connect() fails after \
             {sum} s."
        )
    }
}

/// The SYNs as they came by, the timers between them, the end of the socket.
fn row(log: &CaseLog) -> Row {
    let begun = log
        .named(CONNECT)
        .next()
        .map_or(u64::MAX, |mark| mark.ktime);
    let mut row = Row::default();
    for event in log
        .events
        .iter()
        .filter(|event| event.header.ktime >= begun)
    {
        let at = event.header.ktime;
        match &event.body {
            Body::Packet(its)
                if (its.source_port, its.dest_port) == (CLIENT_PORT, SERVER_PORT)
                    && its.flags & (SYN | ACK) == SYN
                    && its.verdict == PACKET_DROPPED =>
            {
                row.sends.push(at);
            }
            Body::TcpTimer(its)
                if ours(&its.id) && (its.which, its.action) == (TIMER_WRITE, TIMER_STARTED) =>
            {
                row.arm(its.retransmits, its.timeout);
            }
            Body::TcpState(its)
                if ours(&its.id) && (its.old, its.new) == (STATE_SYN_SENT, STATE_CLOSE) =>
            {
                row.ended_at = Some(at);
            }
            _ => {}
        }
    }
    // Where the event was kept from us, connect() tells it, a little later.
    let returned = log.named(RETURNED).next().map(|mark| mark.ktime);
    row.ended_at = row.ended_at.or(returned);
    row
}

/// Everybody who counted: the surgeon by event and by counter, the tracepoint, the namespace.
fn checks(log: &CaseLog, dropped: u64) -> Vec<Check> {
    let count = |matches: &dyn Fn(&Body) -> bool| {
        log.events
            .iter()
            .filter(|event| matches(&event.body))
            .count() as u64
    };
    let packets = row(log).sends.len() as u64;
    let resent =
        count(&|body| matches!(body, Body::TcpRetransmit(its) if ours(&its.id) && its.err == 0));
    let errors = count(&|body| matches!(body, Body::SockError(its) if ours(&its.id)));
    let counted = |name: &str| {
        let value = log.said(COUNTED, name).and_then(Value::as_u64);
        value.unwrap_or_default()
    };
    vec![
        Check {
            what: "SYNs",
            counts: vec![
                ("packets", packets),
                ("surgeon's counter", dropped),
                ("TcpExtTCPTimeouts", counted("TcpExtTCPTimeouts")),
            ],
            events: None,
        },
        Check {
            what: "resends",
            counts: vec![
                ("packets", packets.saturating_sub(1)),
                ("TcpExtTCPSynRetrans", counted("TcpExtTCPSynRetrans")),
                ("TcpRetransSegs", counted("TcpRetransSegs")),
            ],
            events: Some(("tcp_retransmit_skb", resent)),
        },
        Check {
            what: "failed attempts",
            counts: vec![
                ("connect()", 1),
                ("TcpAttemptFails", counted("TcpAttemptFails")),
            ],
            events: (errors > 0).then_some(("inet_sk_error_report", errors)),
        },
    ]
}
