//! From the facts of the cases to findings. Pure; a claim whose cases were not asked for has none.

use serde_json::{Map, Value, json};

use super::claims::CLAIMS;
use super::facts::{COOKIES_SENT, COOKIES_VALID, FULL_DROP, Facts, Phase};
use super::marks::{Attempts, FloodMark};
use crate::evidence::{ClaimResult, Finding};
use crate::trace::rules::{self, Judged, Rule};

pub type Cases = rules::Cases<Facts>;

const RULES: [Rule<Facts>; CLAIMS.len()] = [
    ("cookies-0/", refuses),
    ("cookies-1/", when_full),
    ("cookies-2/", always),
    ("options/", super::options::lose),
    ("limit/", super::limits::binding),
];

/// `blocked` is what keeps every claim from being settled.
pub fn judge(
    cases: &Cases,
    blocked: Option<&(ClaimResult, String)>,
    evidence: &str,
) -> Vec<Finding> {
    rules::judge(&CLAIMS, &RULES, cases, blocked, evidence)
}

/// The sum over both families.
#[derive(Default)]
struct Sum {
    tries: u64,
    through: u64,
    answered: u64,
    requests: u64,
    full_drops: u64,
    cookies_sent: u64,
    cookies_valid: u64,
    half_open: u64,
}

impl Sum {
    fn add(&mut self, phase: &Phase) {
        let told = &phase.told;
        self.tries += told.tries.len() as u64;
        self.through += told.came_through() as u64;
        self.answered += phase.answered;
        self.requests += phase.requests;
        self.full_drops += told.counter(FULL_DROP);
        self.cookies_sent += told.counter(COOKIES_SENT);
        self.cookies_valid += told.counter(COOKIES_VALID);
    }

    fn numbers(&self) -> Map<String, Value> {
        let all = [
            ("tries_count", self.tries),
            ("came_through_count", self.through),
            ("answered_count", self.answered),
            ("request_timers_count", self.requests),
            ("queue_full_drops_count", self.full_drops),
            ("cookies_sent_count", self.cookies_sent),
            ("cookies_valid_count", self.cookies_valid),
            ("half_open_count", self.half_open),
        ];
        all.into_iter()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect()
    }
}

/// The genuine connections after the flood, the queue having been full before and after them.
fn at_full_queue(facts: &Facts) -> Result<(&Phase, &FloodMark), String> {
    let label = &facts.label;
    let missing = || format!("{label}: a step is missing");
    let attempts = facts.attempts.as_ref().ok_or_else(missing)?;
    let flood = facts.flood.as_ref().ok_or_else(missing)?;
    facts.control.as_ref().ok_or_else(missing)?;
    let Attempts {
        half_open_before,
        half_open_after,
        ..
    } = attempts.told;
    let held = flood.half_open;
    if held == 0 || (half_open_before, half_open_after) != (held, held) {
        return Err(format!(
            "{label}: the queue did not stay full: {held} half-open after the flood, then \
             {half_open_before} and {half_open_after}"
        ));
    }
    Ok((attempts, flood))
}

fn refuses(cases: &[&Facts]) -> Judged {
    let mut sum = Sum::default();
    for facts in cases {
        let (attempts, flood) = at_full_queue(facts)?;
        sum.add(attempts);
        sum.half_open += flood.half_open;
    }
    let because = format!(
        "at {} half-open entries {} of {} genuine connections came through, {} were sent a SYN-ACK; \
         {} SYNs counted as dropped by a full queue",
        sum.half_open, sum.through, sum.tries, sum.answered, sum.full_drops
    );
    if sum.through > 0 || sum.answered > 0 {
        return Ok((ClaimResult::Refuted, because, sum.numbers()));
    }
    if sum.full_drops < sum.tries {
        return Err(format!("no counter says why they were refused: {because}"));
    }
    Ok((ClaimResult::Holds, because, sum.numbers()))
}

fn when_full(cases: &[&Facts]) -> Judged {
    let mut sum = Sum::default();
    for facts in cases {
        let (attempts, flood) = at_full_queue(facts)?;
        sum.add(attempts);
        sum.half_open += flood.half_open;
        let control = facts.control.as_ref().map_or(0, |its| its.requests);
        if control != 1 {
            return Err(format!(
                "{}: no timer for the request before the flood",
                facts.label
            ));
        }
    }
    let because = format!(
        "at {} half-open entries {} of {} genuine connections came through: {} cookies sent, {} valid, \
         {} new entries",
        sum.half_open, sum.through, sum.tries, sum.cookies_sent, sum.cookies_valid, sum.requests
    );
    if sum.through < sum.tries {
        return Ok((ClaimResult::Refuted, because, sum.numbers()));
    }
    if sum.cookies_valid != sum.tries || sum.requests > 0 {
        return Err(format!("they came through by something else: {because}"));
    }
    Ok((ClaimResult::Holds, because, sum.numbers()))
}

fn always(cases: &[&Facts]) -> Judged {
    let mut sum = Sum::default();
    let mut spoofed = 0;
    for facts in cases {
        let steps = (
            &facts.contrast,
            &facts.control,
            &facts.attempts,
            &facts.flood,
        );
        let (Some(contrast), Some(control), Some(attempts), Some(flood)) = steps else {
            return Err(format!("{}: a step is missing", facts.label));
        };
        if contrast.requests != 1 || contrast.told.counter(COOKIES_SENT) != 0 {
            return Err(format!(
                "{}: with tcp_syncookies 1 and an empty queue {} request timers and {} cookies",
                facts.label,
                contrast.requests,
                contrast.told.counter(COOKIES_SENT)
            ));
        }
        sum.add(control);
        sum.add(attempts);
        sum.half_open += flood.half_open;
        spoofed += flood.sent;
    }
    let because = format!(
        "{} of {} genuine connections came through, {} valid cookies, {} request timers for them; \
         {spoofed} spoofed SYNs left {} half-open; with tcp_syncookies 1 a request timer, no cookie",
        sum.through, sum.tries, sum.cookies_valid, sum.requests, sum.half_open
    );
    if sum.cookies_valid < sum.through || sum.requests > 0 || sum.half_open > 0 {
        return Ok((ClaimResult::Refuted, because, sum.numbers()));
    }
    if sum.through < sum.tries {
        return Err(format!("not all came through: {because}"));
    }
    Ok((ClaimResult::Holds, because, sum.numbers()))
}
