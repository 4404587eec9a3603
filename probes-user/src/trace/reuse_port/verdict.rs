//! From cases to findings; a claim is settled on IPv4 and IPv6, and one refutation refutes it.

use crate::lab::family::Family;
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::binds::{IN_USE, Role, STEPS};
use super::marks::Sample;
use super::result::{CaseResult, SampleResult};
use super::tuples::Kind;
use super::{BALANCE, BY_HASH, CRITICAL, ROUNDS, SAME_UID, SOCKETS, WHOLE_TUPLE, label};
use crate::evidence::statistics::{chi_square, rounded};
use crate::evidence::{Claim, ClaimResult, Finding};
use crate::trace::Ending;

/// Records of these kinds take no part in a verdict of the scripts.
const NOT_USED: &[&str] = &["WaitWake", "Exec", "Fork"];

type Numbers = Map<String, Value>;
type Judged = (ClaimResult, String);
type Rule = fn(&CaseResult, &mut Numbers) -> Judged;

pub fn judge(asked: &[String], cases: &[CaseResult], ending: &Ending) -> Vec<Finding> {
    let rules: [(&Claim, &str, &[Family], Rule); 4] = [
        (&BALANCE, "balance", &Family::BOTH, balance),
        (&SAME_UID, "same-uid", &Family::BOTH, same_uid),
        (&BY_HASH, "by-hash", &Family::BOTH, by_hash),
        (&WHOLE_TUPLE, "by-hash", &[Family::V4], whole_tuple),
    ];
    let settled = rules.iter().filter_map(|(claim, what, families, rule)| {
        let families = families
            .iter()
            .copied()
            .filter(|family| asked.contains(&label(what, *family)));
        let parts: Vec<(Family, Judged, Numbers)> = families
            .map(|family| {
                let mut numbers = Numbers::new();
                let case = usable(&label(what, family), cases, ending);
                let judged = case.map_or_else(|blocked| blocked, |case| rule(case, &mut numbers));
                (family, judged, numbers)
            })
            .collect();
        (!parts.is_empty()).then(|| finding(claim, &parts))
    });
    settled.collect()
}

fn finding(claim: &Claim, parts: &[(Family, Judged, Numbers)]) -> Finding {
    let order = [
        ClaimResult::Refuted,
        ClaimResult::Unsupported,
        ClaimResult::Inconclusive,
    ];
    let result = order
        .into_iter()
        .find(|result| parts.iter().any(|(_, (its, _), _)| its == result))
        .unwrap_or(ClaimResult::Holds);
    let because = parts
        .iter()
        .map(|(family, (_, why), _)| format!("{}: {why}", family.name()));
    let numbers = parts.iter().flat_map(|(family, _, numbers)| {
        numbers
            .iter()
            .map(|(key, value)| (format!("{}_{key}", family.name()), value.clone()))
    });
    Finding {
        id: claim.id.to_owned(),
        result,
        statement: claim.statement.to_owned(),
        because: because.collect::<Vec<String>>().join("; "),
        numbers: numbers.collect(),
    }
}

/// The case, if all its evidence is there.
fn usable<'a>(
    name: &str,
    cases: &'a [CaseResult],
    ending: &Ending,
) -> Result<&'a CaseResult, Judged> {
    if let Some(blocked) = ending.blocks(NOT_USED) {
        return Err(blocked);
    }
    let case = cases.iter().find(|case| case.label == name);
    let Some(case) = case.filter(|case| case.ended) else {
        let why = if ending.interrupted {
            "interrupted before the end of it"
        } else {
            "the lab did not come to the end of it"
        };
        return Err(inconclusive(why));
    };
    match case
        .checks
        .iter()
        .find(|check| check.binding && !check.agrees())
    {
        Some(check) => Err(inconclusive(format!(
            "independent counts differ, {}",
            check.told()
        ))),
        None => Ok(case),
    }
}

fn balance(case: &CaseResult, numbers: &mut Numbers) -> Judged {
    let mut told = Vec::new();
    let mut last = None;
    for (sample, round) in case.samples.iter().zip(1..) {
        let counts = sample.counts();
        let Some(statistic) = chi_square(&counts) else {
            return inconclusive("positive control silent: no connection was accepted");
        };
        numbers.insert(
            format!("sample{round}_chi_square"),
            rounded(Some(statistic)),
        );
        numbers.insert(format!("sample{round}_by_socket_count"), json!(counts));
        let shares: Vec<String> = counts.iter().map(u64::to_string).collect();
        let count = sample.sample.count;
        told.push(format!(
            "{} of {count}, chi-square {statistic:.2}",
            shares.join(" + ")
        ));
        last = Some(statistic <= CRITICAL);
    }
    let told = told.join(", then ");
    match (last, case.samples.len()) {
        (Some(true), _) => (ClaimResult::Holds, told),
        (Some(false), 2..) => (ClaimResult::Refuted, told),
        _ => inconclusive(format!("no sample that decides: {told}")),
    }
}

/// What came of the tuples of one kind.
struct Replay {
    kind: Kind,
    count: u64,
    /// Tuples that reached one socket in all rounds.
    kept: u64,
    /// Sockets that were reached.
    reached: usize,
}

fn replays(case: &CaseResult) -> Result<Vec<Replay>, Judged> {
    let family = case.samples.first().map(|its| its.sample.family);
    let mut all = Vec::new();
    for kind in family.map_or(&[][..], Kind::of) {
        let of_kind = |its: &&SampleResult| its.sample.kind == *kind;
        let rounds: Vec<&SampleResult> = case.samples.iter().filter(of_kind).collect();
        if !complete(&rounds) {
            let why = format!("tuples of kind {} were not replayed", kind.name());
            return Err(inconclusive(why));
        }
        let (kept, reached) = replay(&rounds);
        all.push(Replay {
            kind: *kind,
            count: rounds[0].sample.count.into(),
            kept,
            reached,
        });
    }
    if all.is_empty() {
        return Err(inconclusive("no tuple was replayed"));
    }
    Ok(all)
}

fn by_hash(case: &CaseResult, numbers: &mut Numbers) -> Judged {
    let all = match replays(case) {
        Ok(all) => all,
        Err(blocked) => return blocked,
    };
    for its in &all {
        let name = its.kind.name();
        numbers.insert(format!("{name}_tuples_count"), json!(its.count));
        numbers.insert(format!("{name}_same_socket_count"), json!(its.kept));
    }
    let told = all.iter().map(|its| {
        let Replay {
            kind, count, kept, ..
        } = its;
        format!("{kept} of {count} that differ in {}", kind.name())
    });
    let told: Vec<String> = told.collect();
    let told = format!(
        "tuples with one socket in {ROUNDS} rounds: {}",
        told.join(", ")
    );
    let spread = |its: &Replay| its.kind == Kind::Ports && its.reached == usize::from(SOCKETS);
    if all.iter().any(|its| its.kept < its.count) {
        (ClaimResult::Refuted, told)
    } else if all.iter().any(spread) {
        (ClaimResult::Holds, told)
    } else {
        inconclusive(format!(
            "control: other client ports did not reach all sockets; {told}"
        ))
    }
}

fn whole_tuple(case: &CaseResult, numbers: &mut Numbers) -> Judged {
    let all = match replays(case) {
        Ok(all) => all,
        Err(blocked) => return blocked,
    };
    let told = all.iter().map(|its| {
        let Replay {
            kind,
            count,
            reached,
            ..
        } = its;
        numbers.insert(format!("{}_sockets_count", kind.name()), json!(reached));
        format!("{count} that differ in {} reached {reached}", kind.name())
    });
    let told = format!("sockets: {}", told.collect::<Vec<_>>().join(", "));
    let least = all.iter().map(|its| its.reached).min().unwrap_or(0);
    match least {
        0 => inconclusive("no tuple was replayed"),
        1 => (ClaimResult::Refuted, told),
        _ if least == usize::from(SOCKETS) => (ClaimResult::Holds, told),
        _ => inconclusive(told),
    }
}

/// All rounds, of the same tuples.
fn complete(rounds: &[&SampleResult]) -> bool {
    let same = |its: &&SampleResult| {
        let first: &Sample = &rounds[0].sample;
        (its.sample.seed, its.sample.count) == (first.seed, first.count) && its.reached.is_some()
    };
    let numbers: BTreeSet<u32> = rounds.iter().map(|its| its.sample.round).collect();
    rounds.len() == ROUNDS as usize && numbers.len() == rounds.len() && rounds.iter().all(same)
}

/// Tuples that reached one socket in all rounds, and the sockets that the first round reached.
pub fn replay(rounds: &[&SampleResult]) -> (u64, usize) {
    let rows: Vec<&[u8]> = rounds
        .iter()
        .filter_map(|its| its.reached.as_deref())
        .collect();
    let Some(first) = rows.first() else {
        return (0, 0);
    };
    let kept = first
        .iter()
        .enumerate()
        .filter(|(at, socket)| rows.iter().all(|row| row.get(*at) == Some(socket)));
    (
        kept.count() as u64,
        first.iter().collect::<BTreeSet<_>>().len(),
    )
}

fn same_uid(case: &CaseResult, numbers: &mut Numbers) -> Judged {
    let mut wrong = Vec::new();
    for step in &STEPS {
        let Some(bound) = case.binds.iter().find(|its| its.step == step.name) else {
            return inconclusive(format!("bind() by {} was not tried", step.text));
        };
        let key = format!("{}_errno", step.name.replace('-', "_"));
        numbers.insert(key, json!(bound.errno));
        let refused = match bound.errno {
            0 => false,
            IN_USE => true,
            errno => {
                let why = format!("bind() by {} answered errno {errno}", step.text);
                return inconclusive(why);
            }
        };
        if step.role == Role::Control && refused {
            return inconclusive(format!("control: bind() by {} was refused", step.text));
        }
        let right = refused == (step.role == Role::Refused);
        if !right {
            let came = if refused {
                "was refused"
            } else {
                "got the port"
            };
            wrong.push(format!("{} {came}", step.text));
        } else if bound.listening != step.listening {
            let why = format!("after bind() by {} /proc/net/tcp names ", step.text);
            return inconclusive(format!("{why}{:?} as owners", bound.listening));
        }
    }
    if wrong.is_empty() {
        let why = "a second socket of the same uid got the port; another uid, one without the option and one after \
            such a one got EADDRINUSE";
        (ClaimResult::Holds, why.to_owned())
    } else {
        (ClaimResult::Refuted, wrong.join(", "))
    }
}

fn inconclusive(why: impl Into<String>) -> Judged {
    (ClaimResult::Inconclusive, why.into())
}
