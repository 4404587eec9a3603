//! From the facts of each case to findings.

use serde_json::{Map, Value, json};

use super::claims::{CHAIN, SWITCH_COST};
use super::facts::{self, HandOff, Link};
use super::hops::{self, Delay, Hop};
use super::marks::{self, Told};
use super::script::{APART, BUSY, FUTEX, MOVED, PIPE, SLEEP};
use crate::evidence::{Claim, ClaimResult, Finding, Histogram};
use crate::trace::herd::stack::{Cause, Classifier};
use crate::trace::scripted::{CaseLog, Cases};
use crate::trace::{Ending, LabOptions};

type Blocked = (ClaimResult, String);
type Numbers = Map<String, Value>;
type Settled = Result<(bool, String, Numbers), Blocked>;

pub fn judge(
    cases: &Cases,
    classifier: &Classifier,
    options: &LabOptions,
    ending: &Ending,
) -> Vec<Finding> {
    let asked = |labels: &[&str]| labels.iter().all(|label| options.wants(label));
    let mut findings = Vec::new();
    if asked(&[PIPE, FUTEX]) {
        let settled = blocks(ending).and_then(|()| switch_cost(cases));
        findings.push(finding(&SWITCH_COST, settled));
    }
    if asked(&[SLEEP, APART, BUSY, MOVED]) {
        let settled = blocks(ending).and_then(|()| chain(cases, classifier));
        findings.push(finding(&CHAIN, settled));
    }
    findings
}

fn blocks(ending: &Ending) -> Result<(), Blocked> {
    ending.blocks(&["Fork", "Exec", "Exit"]).map_or(Ok(()), Err)
}

fn finding(claim: &Claim, settled: Settled) -> Finding {
    let (result, because, numbers) = match settled {
        Ok((true, says, numbers)) => (ClaimResult::Holds, says, numbers),
        Ok((false, says, numbers)) => (ClaimResult::Refuted, says, numbers),
        Err((result, why)) => (result, why, Map::new()),
    };
    Finding {
        id: claim.id.to_owned(),
        result,
        statement: claim.statement.to_owned(),
        because,
        numbers,
    }
}

fn inconclusive<T>(why: String) -> Result<T, Blocked> {
    Err((ClaimResult::Inconclusive, why))
}

fn case<'a>(cases: &'a Cases, label: &str) -> Result<(&'a CaseLog, Told), Blocked> {
    let Some(log) = cases.find(label) else {
        return inconclusive(format!("the lab never came to case {label}"));
    };
    if log.named(marks::ONE_CPU).next().is_some() {
        let why = "this machine has one CPU, or allows one: nothing can be moved".to_owned();
        return Err((ClaimResult::Unsupported, why));
    }
    match marks::told(log) {
        Some(told) => Ok((log, told)),
        None => inconclusive(format!("case {label} did not come to its end")),
    }
}

fn switch_cost(cases: &Cases) -> Settled {
    let mut numbers = Map::new();
    let (mut says, mut holds) = (Vec::new(), true);
    for label in [PIPE, FUTEX] {
        let (log, told) = case(cases, label)?;
        let Some(all) = facts::hand_offs(&log.events, &told).filter(|all| !all.is_empty()) else {
            return inconclusive(format!("{label}: a turn has no stamps"));
        };
        if !facts::counts_agree(&log.events, &told) {
            return inconclusive(format!(
                "{label}: the switches seen are not those that the kernel counted of its tasks"
            ));
        }
        let clean: Vec<&HandOff> = all.iter().filter(|one| one.clean()).collect();
        if clean.len() * 2 < all.len() {
            return inconclusive(format!(
                "{label}: somebody else had the CPU in {} of {} hand-offs",
                all.len() - clean.len(),
                all.len()
            ));
        }
        let switches: u64 = clean.iter().map(|one| one.direct).sum();
        let exact = clean
            .iter()
            .filter(|one| one.direct == 2 && one.sleeps == [1, 1]);
        let exact = exact.count();
        holds &= exact == clean.len();
        let ratio = switches as f64 / clean.len() as f64;
        says.push(format!(
            "{label}: {exact} of {} hand-offs cost two switches, {ratio:.2} on average",
            clean.len()
        ));
        let took: Histogram = histogram(clean.iter().map(|one| one.took));
        for (key, value) in [
            ("switches_ratio", json!(ratio)),
            ("handoffs_count", json!(all.len())),
            ("undisturbed_count", json!(clean.len())),
            ("exact_count", json!(exact)),
            ("took_p50_ns", json!(took.quantile(0.5))),
        ] {
            numbers.insert(format!("{label}_{key}"), value);
        }
    }
    Ok((holds, says.join("; "), numbers))
}

pub fn histogram(values: impl Iterator<Item = u64>) -> Histogram {
    let mut histogram = Histogram::default();
    values.for_each(|value| histogram.add(value));
    histogram
}

fn links(
    cases: &Cases,
    label: &str,
    classifier: &Classifier,
) -> Result<(Told, Vec<Link>), Blocked> {
    let (log, told) = case(cases, label)?;
    match facts::links(&log.events, &told, classifier) {
        Some(links) if !links.is_empty() => Ok((told, links)),
        _ => inconclusive(format!("{label}: wakings are missing, or too many")),
    }
}

/// Found as a chain, at the time that the tasks' own stamps allow, with its delays split in order.
fn right(link: &Link, told: &Told, turn: usize) -> bool {
    let in_order = |hop: &Hop| match (hop.queued, hop.running) {
        (Some(queued), Some(running)) => hop.waking <= queued && queued <= running,
        _ => false,
    };
    let [a, b, _] = told.tasks.as_slice() else {
        return false;
    };
    let fits = match (a.turns.get(turn), b.turns.get(turn)) {
        (Some(a), Some(b)) => link.time_fits(a, b),
        _ => false,
    };
    link.linked && link.inside && fits && link.hops.iter().all(in_order)
}

/// The CPU was its waker's until this moment.
fn waited_for(hop: &Hop, kept: u64) -> bool {
    let busy = matches!(hop.cause(), Delay::Waker | Delay::Busy);
    busy && kept != 0 && hop.running.is_some_and(|at| at >= kept)
}

fn was_moved(hop: &Hop) -> bool {
    let elsewhere = hop.last_cpu.is_none_or(|last| last != hop.cpu);
    hop.cause() == Delay::Migration && hop.place_agrees() && elsewhere
}

fn stayed(hop: &Hop) -> bool {
    matches!(hop.cause(), Delay::IdleExit | Delay::Busy) && hop.place_agrees()
}

struct Chains {
    turns: usize,
    right: usize,
    hops: Vec<Hop>,
    took: Histogram,
}

fn chains(
    cases: &Cases,
    label: &str,
    classifier: &Classifier,
) -> Result<(Chains, Vec<Link>), Blocked> {
    let (told, links) = links(cases, label, classifier)?;
    let is_right = |(turn, link): &(usize, &Link)| right(link, &told, *turn);
    let chains = Chains {
        turns: links.len(),
        right: links.iter().enumerate().filter(is_right).count(),
        hops: links.iter().flat_map(|link| link.hops.clone()).collect(),
        took: histogram(links.iter().map(|link| link.took)),
    };
    Ok((chains, links))
}

fn chain(cases: &Cases, classifier: &Classifier) -> Settled {
    let (apart, _) = chains(cases, APART, classifier)?;
    let (busy, links_of_busy) = chains(cases, BUSY, classifier)?;
    let (moved, _) = chains(cases, MOVED, classifier)?;
    let each = |link: &Link| {
        let hops = link.hops.iter().zip(link.kept);
        hops.filter(|(hop, kept)| waited_for(hop, *kept)).count()
    };
    let waited: usize = links_of_busy.iter().map(each).sum();
    let migrated = moved.hops.iter().filter(|hop| was_moved(hop)).count();
    let at_home = apart.hops.iter().filter(|hop| stayed(hop)).count();
    let first = links_of_busy.iter().map(|link| &link.hops[0]);
    let by_waker = first.filter(|hop| hop.cause() == Delay::Waker).count();
    let (naps, timer, asked) = naps(cases, classifier)?;

    let all = [&apart, &busy, &moved];
    let turns: usize = all.iter().map(|chains| chains.turns).sum();
    let found: usize = all.iter().map(|chains| chains.right).sum();
    let holds = found == turns
        && waited == busy.hops.len()
        && by_waker * 4 >= busy.turns * 3
        && migrated == moved.hops.len()
        && at_home == apart.hops.len()
        && timer == naps;
    let every: Vec<&Hop> = all.iter().flat_map(|chains| &chains.hops).collect();
    let causes = facts::causes(every.iter().copied());
    let idle = causes.get(&Delay::IdleExit).map_or(0, |(count, _)| *count);
    let mut says = format!(
        "{found} of {turns} chains found with their times; causes found: busy {waited} of {}, migration \
         {migrated} of {}, own CPU {at_home} of {} ({idle} by idle exit), timer {timer} of {naps}",
        busy.hops.len(),
        moved.hops.len(),
        apart.hops.len()
    );
    if idle == 0 {
        says += "; no idle exit: the CPUs were never idle";
    }
    let split = |part: fn(&Hop) -> Option<u64>| {
        let values = every.iter().filter_map(|hop| part(hop));
        json!(histogram(values).quantile(0.5))
    };
    let numbers = [
        ("chains_count", json!(turns)),
        ("chains_right_count", json!(found)),
        ("busy_right_count", json!(waited)),
        ("migration_right_count", json!(migrated)),
        ("own_cpu_right_count", json!(at_home)),
        ("idle_exit_count", json!(idle)),
        ("naps_count", json!(asked)),
        ("naps_seen_count", json!(naps)),
        ("timer_right_count", json!(timer)),
        ("hop_p50_ns", json!(apart.took.quantile(0.5))),
        ("waking_to_queued_p50_ns", split(Hop::to_queue)),
        ("queued_to_running_p50_ns", split(Hop::in_queue)),
    ];
    let numbers = numbers
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value));
    Ok((holds, says, numbers.collect()))
}

/// A kernel may hide a timer's interrupt as a whole; naps whose end was not seen are not judged.
pub fn enough(seen: usize, asked: usize) -> bool {
    seen * 4 >= asked * 3
}

/// Naps seen to their end, those of them ended by their timer in time, and all that the script took.
fn naps(cases: &Cases, classifier: &Classifier) -> Result<(usize, usize, usize), Blocked> {
    let (log, told) = case(cases, SLEEP)?;
    let hops = hops::hops(&log.events, classifier);
    let naps = facts::naps(&hops, &told);
    if !enough(naps.len(), told.turns) {
        return inconclusive(format!(
            "{SLEEP}: the wakings of {} of {} naps were seen",
            naps.len(),
            told.turns
        ));
    }
    let in_time = |(turn, hop): &&(&marks::Turn, &Hop)| {
        let ran = hop.running.is_some_and(|at| at <= turn.got);
        hop.by == Cause::Timer && hop.waking >= turn.until && ran
    };
    Ok((naps.len(), naps.iter().filter(in_time).count(), told.turns))
}
