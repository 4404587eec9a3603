//! From the facts of the cases to findings. Pure; a claim whose cases were not asked for has none.

use serde_json::{Map, Value, json};

use super::claims::{CLAIMS, FEW};
use super::facts::{Carried, Facts, Unfit};
use super::marks::{
    DIRECT_WRITES, FIRST_READ, PAGE, RANDOM_READS, SEQUENTIAL_READS, SEQUENTIAL_WRITES, WRITERS,
};
use crate::evidence::{Claim, ClaimResult, Finding};

pub type Cases = Vec<(String, Result<Facts, Unfit>)>;
/// Does it hold on this disk, in words, with numbers; Err = the evidence does not suffice.
type Judged = Result<(bool, String, Map<String, Value>), String>;

const RULES: [fn(&Facts) -> Judged; CLAIMS.len()] = [merges, reads_ahead, true_dirtier];
/// The hook that the last claim rests on.
const DIRTY: &str = "block_inode_dirty";

/// `blocked` is what keeps every claim from being settled, `attached` the programs that there are.
pub fn judge(
    cases: &Cases,
    blocked: Option<&(ClaimResult, String)>,
    attached: &[String],
) -> Vec<Finding> {
    CLAIMS
        .iter()
        .zip(RULES)
        .map(|(claim, rule)| {
            let missing = claim.id == CLAIMS[2].id && !attached.iter().any(|name| name == DIRTY);
            let (result, because, numbers) = match blocked {
                Some((result, why)) => (*result, why.clone(), Map::new()),
                None if missing => {
                    let why = format!("{DIRTY} did not attach");
                    (ClaimResult::Unsupported, why, Map::new())
                }
                None => whole(cases, rule),
            };
            finding(claim, result, because, numbers)
        })
        .collect()
}

fn finding(
    claim: &Claim,
    result: ClaimResult,
    because: String,
    numbers: Map<String, Value>,
) -> Finding {
    Finding {
        id: claim.id.to_owned(),
        result,
        statement: claim.statement.to_owned(),
        because,
        numbers,
    }
}

/// On all disks. What one disk refutes is refuted, whatever the others lack.
fn whole(cases: &Cases, rule: fn(&Facts) -> Judged) -> (ClaimResult, String, Map<String, Value>) {
    let (mut said, mut numbers) = (Vec::new(), Map::new());
    let (mut holds, mut unfit, mut lacking) = (true, None, None);
    for (label, facts) in cases {
        let judged = match facts {
            Err(Unfit::Lacks(why)) => {
                lacking = Some(why.clone());
                continue;
            }
            Err(Unfit::Broken(why)) => Err(why.clone()),
            Ok(facts) => match facts.disagreement() {
                Some(why) => Err(why),
                None => rule(facts).map_err(|why| format!("{label}: {why}")),
            },
        };
        match judged {
            Err(why) => unfit = Some(why),
            Ok((one, because, its)) => {
                holds &= one;
                said.push(format!("{label}: {because}"));
                let named = its
                    .into_iter()
                    .map(|(key, value)| (format!("{label}_{key}"), value));
                numbers.extend(named);
            }
        }
    }
    let because = said.join("; ");
    match (unfit, lacking) {
        _ if !holds => (ClaimResult::Refuted, because, numbers),
        (Some(why), _) => (ClaimResult::Inconclusive, why, numbers),
        (None, Some(why)) => (ClaimResult::Unsupported, why, numbers),
        (None, None) if said.is_empty() => {
            let why = "no case was run".to_owned();
            (ClaimResult::Inconclusive, why, numbers)
        }
        (None, None) => (ClaimResult::Holds, because, numbers),
    }
}

fn numbers(of: &[(&str, u64)]) -> Map<String, Value> {
    let named = of
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)));
    named.collect()
}

/// A part whose calls must have become one request of one page each.
fn single(control: &Carried) -> Result<(), String> {
    let part = &control.part;
    if control.count() == part.calls && control.bytes() == part.bytes {
        return Ok(());
    }
    Err(format!(
        "the control fails: {} {} became {} requests of {} bytes",
        part.calls,
        part.name,
        control.count(),
        control.bytes()
    ))
}

fn merges(facts: &Facts) -> Judged {
    single(facts.one(DIRECT_WRITES)?)?;
    let its = facts.one(SEQUENTIAL_WRITES)?;
    if its.bytes() != its.part.bytes {
        return Err(format!(
            "{} of {} bytes were carried",
            its.bytes(),
            its.part.bytes
        ));
    }
    let because = format!(
        "{} writes left in {} requests of up to {} KiB",
        its.part.calls,
        its.count(),
        its.largest() / 1024
    );
    let holds = its.count() * FEW <= its.part.calls;
    let numbers = numbers(&[
        ("writes_count", its.part.calls),
        ("requests_count", its.count()),
        ("largest_bytes", u64::from(its.largest())),
    ]);
    Ok((holds, because, numbers))
}

fn reads_ahead(facts: &Facts) -> Judged {
    single(facts.one(RANDOM_READS)?)?;
    let (first, rest) = (facts.one(FIRST_READ)?, facts.one(SEQUENTIAL_READS)?);
    let read = first.part.bytes + rest.part.bytes;
    if first.bytes() < PAGE || first.bytes() + rest.bytes() < read {
        return Err(format!(
            "{} of {read} bytes came from the disk",
            first.bytes() + rest.bytes()
        ));
    }
    let because = format!(
        "the first {} KiB brought in {}, {} reads took {} requests",
        first.part.bytes / 1024,
        first.bytes() / 1024,
        rest.part.calls,
        rest.count()
    );
    let holds = first.bytes() > first.part.bytes && rest.count() * FEW <= rest.part.calls;
    let numbers = numbers(&[
        ("first_read_bytes", first.bytes()),
        ("reads_count", rest.part.calls),
        ("requests_count", rest.count()),
        ("marked_read_ahead_count", first.ahead() + rest.ahead()),
    ]);
    Ok((holds, because, numbers))
}

fn true_dirtier(facts: &Facts) -> Judged {
    let (mut requests, mut wrong, mut own) = (0, 0, 0);
    let mut submitters = Vec::new();
    let mut writers = 0;
    for its in facts.of(WRITERS) {
        writers += 1;
        if its.bytes() != its.part.bytes {
            let (carried, wrote) = (its.bytes(), its.part.bytes);
            return Err(format!(
                "{carried} of {wrote} bytes of {} were carried",
                its.part.comm
            ));
        }
        requests += its.count();
        let not_named = its
            .requests
            .iter()
            .filter(|r| r.dirtier.pid != its.part.pid);
        wrong += not_named.count();
        own += its
            .requests
            .iter()
            .filter(|r| r.submitter.pid == its.part.pid)
            .count();
        submitters.extend(its.names(|request| request.submitter.comm));
    }
    if requests == 0 {
        return Err("nothing was written back".to_owned());
    }
    submitters.sort();
    submitters.dedup();
    let because = format!(
        "{requests} requests of {writers} writers, submitted by {}, {own} by a writer; {wrong} with another \
         name",
        submitters.join(" and ")
    );
    let numbers = numbers(&[
        ("requests_count", requests),
        ("submitted_by_writer_count", own as u64),
        ("misnamed_count", wrong as u64),
    ]);
    Ok((own == 0 && wrong == 0, because, numbers))
}
