//! From the facts of the cases to findings. Pure; a claim whose cases were not asked for has none.

use serde_json::{Map, Value, json};

use super::claims::CLAIMS;
use super::facts::Facts;
use super::marks::Segment;
use crate::evidence::{ClaimResult, Finding};
use crate::lab::queue::socket::{CLOSE, ESTABLISHED};
use crate::trace::rules::{self, Judged, Rule};

pub type Cases = rules::Cases<Facts>;

const RULES: [Rule<Facts>; CLAIMS.len()] = [("/abort-0/", drops), ("/abort-1/", aborts)];
const EVIDENCE: &str = "packets, resends, request timers and the namespace's counters";

/// `blocked` is what keeps every claim from being settled.
pub fn judge(cases: &Cases, blocked: Option<&(ClaimResult, String)>) -> Vec<Finding> {
    rules::judge(&CLAIMS, &RULES, cases, blocked, EVIDENCE)
}

/// The sum over the cases of one kind of segment.
#[derive(Default)]
struct Sum {
    cases: u64,
    overflows: u64,
    established: u64,
    reset: u64,
    half_open: u64,
    resends: u64,
    resets: u64,
    accepted: u64,
}

fn sum(cases: &[&Facts], segment: Segment) -> Sum {
    let mut sum = Sum::default();
    for facts in cases.iter().filter(|its| its.limits.segment == segment) {
        let last = facts.last();
        sum.cases += 1;
        sum.overflows += facts.overflows();
        sum.established += u64::from(last.client == ESTABLISHED);
        let told = (facts.met.client, facts.met.error) == (CLOSE, libc::ECONNRESET);
        sum.reset += u64::from(told);
        sum.half_open += last.half_open;
        sum.resends += facts.synacks_after;
        sum.resets += facts.resets;
        sum.accepted += u64::from(last.waiting > facts.full.waiting);
    }
    sum
}

impl Sum {
    fn numbers(&self) -> Map<String, Value> {
        let all = [
            ("cases_count", self.cases),
            ("overflows_count", self.overflows),
            ("established_count", self.established),
            ("econnreset_count", self.reset),
            ("half_open_count", self.half_open),
            ("synacks_resent_count", self.resends),
            ("resets_count", self.resets),
        ];
        all.into_iter()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect()
    }
}

/// What became of the two other segments, for comparison.
fn others(cases: &[&Facts], numbers: &mut Map<String, Value>) -> String {
    let mut said = String::new();
    for (segment, words) in [
        (Segment::Syn, "a SYN"),
        (Segment::CookieAck, "a cookie's ACK"),
    ] {
        let sum = sum(cases, segment);
        if sum.cases == 0 {
            continue;
        }
        let key = segment.name().replace('-', "_");
        numbers.insert(format!("{key}_resets_count"), json!(sum.resets));
        numbers.insert(format!("{key}_synacks_count"), json!(sum.resends));
        said.push_str(&format!(
            "; {words} at a full queue got {} RST, {} SYN-ACK",
            sum.resets, sum.resends
        ));
    }
    said
}

fn drops(cases: &[&Facts]) -> Judged {
    let sum = sum(cases, Segment::Ack);
    if sum.cases == 0 {
        return Err("the case of a final ACK was not run".to_owned());
    }
    let mut numbers = sum.numbers();
    let because = format!(
        "{} of {} clients ESTABLISHED, {} half-open on the server after {} overflows; {} SYN-ACKs resent, \
         {} RST{}",
        sum.established,
        sum.cases,
        sum.half_open,
        sum.overflows,
        sum.resends,
        sum.resets,
        others(cases, &mut numbers)
    );
    let all = [sum.established, sum.half_open]
        .iter()
        .all(|n| *n == sum.cases);
    let each = cases
        .iter()
        .filter(|its| its.limits.segment == Segment::Ack);
    let resent = each.clone().all(|its| its.synacks_after > 0);
    // The kernel's own word for a resend must agree with the packets.
    if each.clone().any(|its| its.resends != its.synacks_after) {
        return Err(format!("resends and packets disagree: {because}"));
    }
    let result = if all && resent && sum.resets == 0 && sum.accepted == 0 {
        ClaimResult::Holds
    } else {
        ClaimResult::Refuted
    };
    Ok((result, because, numbers))
}

fn aborts(cases: &[&Facts]) -> Judged {
    let sum = sum(cases, Segment::Ack);
    if sum.cases == 0 {
        return Err("the case of a final ACK was not run".to_owned());
    }
    let mut numbers = sum.numbers();
    let because = format!(
        "{} RST to {} clients after {} overflows, {} told ECONNRESET, {} half-open left{}",
        sum.resets,
        sum.cases,
        sum.overflows,
        sum.reset,
        sum.half_open,
        others(cases, &mut numbers)
    );
    let mut each = cases
        .iter()
        .filter(|its| its.limits.segment == Segment::Ack);
    let whole = each.all(|its| its.resets > 0) && sum.reset == sum.cases && sum.half_open == 0;
    let result = if whole {
        ClaimResult::Holds
    } else {
        ClaimResult::Refuted
    };
    Ok((result, because, numbers))
}
