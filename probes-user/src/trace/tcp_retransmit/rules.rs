//! How each sentence is judged on one case. What is counted is exact; of times only "not sooner" is judged, for
//! timers go off late on a busy machine, and what they were armed for is known to the jiffy.

use serde_json::json;

use super::case::Judged;
use super::cause::Cause;
use super::ties::{Resend, Tie};
use super::verdict::{Clock, Numbers, Said};

const SECOND: u64 = 1_000_000_000;
/// Back-off steps that are looked for.
const STEPS: usize = 3;
/// Jiffies that the kernel adds to two round-trip times, and one for rounding.
const PROBE_SLACK: u64 = 3;

/// A tail-loss probe goes out on silence: one that nothing explains is counted, and refutes nothing.
pub fn tied(case: &Judged, _: &Clock, numbers: &mut Numbers) -> Said {
    let untied = |its: &&Resend| its.tie == Tie::Nothing;
    let probes = case
        .resends
        .iter()
        .filter(untied)
        .filter(|its| its.cause == Cause::TailProbe);
    let lost = |tie: fn(&Tie) -> bool| case.resends.iter().filter(|its| tie(&its.tie)).count();
    let of_segment = lost(|tie| matches!(tie, Tie::SegmentLost { .. }));
    let of_ack = lost(|tie| matches!(tie, Tie::AckLost { .. }));
    numbers.insert("resend_count".to_owned(), json!(case.resends.len()));
    numbers.insert("segment_lost_count".to_owned(), json!(of_segment));
    numbers.insert("ack_lost_count".to_owned(), json!(of_ack));
    numbers.insert("probe_without_loss_count".to_owned(), json!(probes.count()));
    if case.resends.is_empty() {
        return Said::inconclusive("nothing was resent although segments were dropped");
    }
    let mut others = case
        .resends
        .iter()
        .filter(untied)
        .filter(|its| its.cause != Cause::TailProbe);
    match others.next() {
        Some(its) => Said::refuted(format!(
            "a resend ({}) of bytes {} to {} although nothing of them was dropped",
            its.cause.name(),
            its.range.start,
            its.range.end
        )),
        None => Said::holds(""),
    }
}

pub fn backs_off(case: &Judged, clock: &Clock, numbers: &mut Numbers) -> Said {
    let timed: Vec<&Resend> = by(case, Cause::Rto).collect();
    numbers.insert("rto_count".to_owned(), json!(timed.len()));
    // More of them when the lab, stalled, was late to let segments through: each is judged.
    if timed.len() < STEPS {
        return Said::inconclusive(format!("{} time-outs instead of {STEPS}", timed.len()));
    }
    // `icsk_rto` is the wait that ended; the timer's own start is the second witness.
    let waits: Vec<u64> = timed.iter().map(|its| u64::from(its.rto)).collect();
    let most = clock.jiffies(case.rto_max_ns());
    let last = waits.last().map_or(0, |last| (2 * last).min(most));
    let mut armed: Vec<u64> = timed.iter().filter_map(|its| its.waited).collect();
    armed.extend(timed.last().and_then(|its| its.armed));
    if armed.len() != timed.len() + 1 {
        return Said::inconclusive("a wait's start was not seen");
    }
    let told: Vec<f64> = armed.iter().map(|wait| ms(clock.ns(*wait))).collect();
    let measured: Vec<f64> = timed
        .iter()
        .filter_map(|its| its.waited_ns)
        .map(ms)
        .collect();
    let rto: Vec<f64> = waits.iter().map(|wait| ms(clock.ns(*wait))).collect();
    numbers.insert("rto_ms".to_owned(), json!(rto));
    numbers.insert("armed_ms".to_owned(), json!(told));
    numbers.insert("waited_ms".to_owned(), json!(measured));
    let steps: Vec<u8> = timed.iter().map(|its| its.backoff).collect();
    if !steps.iter().copied().eq((0..).take(steps.len())) {
        return Said::refuted(format!("back-off steps {steps:?}"));
    }
    if clock.ns(waits[0]) < case.rto_min_ns() {
        return Said::refuted(format!("the first wait is {} ms", rto[0]));
    }
    let doubles = |pair: &[u64]| pair[1] == (2 * pair[0]).min(most);
    if !waits.windows(2).all(doubles) {
        return Said::refuted(format!("waits of {} ms", list(&rto)));
    }
    let due = waits.iter().copied().chain([last]);
    if !armed
        .iter()
        .zip(due)
        .all(|(armed, due)| as_armed(*armed, due))
    {
        return Said::refuted(format!(
            "waits of {} ms armed for {} ms",
            list(&rto),
            list(&told)
        ));
    }
    if let Some(its) = timed.iter().find(|its| early(its, clock)) {
        return Said::refuted(format!("step {} came before its time", its.backoff));
    }
    Said::holds(format!(
        "waits armed for {} ms, measured {} ms",
        list(&told),
        list(&measured)
    ))
}

pub fn tail(case: &Judged, clock: &Clock, numbers: &mut Numbers) -> Said {
    let [other, last] = case.lost.as_slice() else {
        return Said::inconclusive(format!(
            "{} segments were dropped instead of 2",
            case.lost.len()
        ));
    };
    let Some(first) = case.resends.first() else {
        return Said::refuted("nothing was resent");
    };
    if first.cause != Cause::TailProbe {
        return Said::refuted(format!("the first resend is {}", first.cause.name()));
    }
    if first.range.end != last.range.end {
        return Said::refuted("the probe is not the last segment");
    }
    if let Some(its) = by(case, Cause::Rto).next() {
        return Said::refuted(format!("a time-out, step {}", its.backoff));
    }
    let Some(armed) = first.waited else {
        return Said::inconclusive("the probe's timer was not seen to start");
    };
    let two_rtt = clock.jiffies(2_000 * u64::from(first.srtt_us));
    let waited = first.time - last.time;
    numbers.insert("armed_jiffies".to_owned(), json!(armed));
    numbers.insert("srtt_us".to_owned(), json!(first.srtt_us));
    numbers.insert("waited_ms".to_owned(), json!(ms(waited)));
    if armed > two_rtt + PROBE_SLACK {
        return Said::refuted(format!("the probe is armed for {} ms", ms(clock.ns(armed))));
    }
    let recovered = case.resends.iter().any(|its| {
        its.range.start == other.range.start && matches!(its.cause, Cause::Fast | Cause::RackTimer)
    });
    if !recovered {
        return Said::refuted("the segment before it was not resent in recovery");
    }
    Said::holds(format!(
        "a probe after {} ms (srtt {} µs, armed for {} ms)",
        ms(waited),
        first.srtt_us,
        ms(clock.ns(armed))
    ))
}

pub fn lone(case: &Judged, clock: &Clock, numbers: &mut Numbers) -> Said {
    let ([lost], Some(first)) = (case.lost.as_slice(), case.resends.first()) else {
        return Said::inconclusive("not one segment dropped and resent");
    };
    let waited = first.time - lost.time;
    numbers.insert("waited_ms".to_owned(), json!(ms(waited)));
    let told = format!("{} after {} ms", first.cause.name(), ms(waited));
    match short(waited + clock.jiffy_ns, case.rto_min_ns()) {
        true => Said::refuted(told),
        false => Said::holds(told),
    }
}

pub fn fast(case: &Judged, _: &Clock, numbers: &mut Numbers) -> Said {
    if let Err(said) = flights(case) {
        return said;
    }
    if let Some(its) = by(case, Cause::Rto).next() {
        return Said::refuted(format!("a time-out, step {}", its.backoff));
    }
    let (mut waits, mut causes) = (Vec::new(), Vec::new());
    for lost in &case.lost {
        let of_it = |its: &&Resend| its.flow == lost.flow && its.range.holds(lost.range.start);
        let its: Vec<&Resend> = case.resends.iter().filter(of_it).collect();
        match its.as_slice() {
            [one] if matches!(one.cause, Cause::Fast | Cause::RackTimer) => {
                waits.push(ms(one.time - lost.time));
                causes.push(one.cause.name());
            }
            [one] => {
                return Said::refuted(format!("a dropped segment resent by {}", one.cause.name()));
            }
            several => {
                return Said::refuted(format!("a dropped segment resent {} times", several.len()));
            }
        }
    }
    numbers.insert("waited_ms".to_owned(), json!(waits));
    numbers.insert("recovered_count".to_owned(), json!(waits.len()));
    Said::holds(format!(
        "{} of {}, after {} ms",
        waits.len(),
        case.lost.len(),
        list(&waits)
    ))
}

pub fn three(case: &Judged, _: &Clock, numbers: &mut Numbers) -> Said {
    if let Err(said) = flights(case) {
        return said;
    }
    let mut causes = Vec::new();
    let mut waits = Vec::new();
    for lost in &case.lost {
        let first = case
            .resends
            .iter()
            .find(|its| its.flow == lost.flow && its.range.holds(lost.range.start));
        let Some(first) = first else {
            return Said::inconclusive("a dropped segment was not resent");
        };
        causes.push(first.cause);
        waits.push(ms(first.time - lost.time));
    }
    numbers.insert("waited_ms".to_owned(), json!(waits));
    let sooner = causes.iter().filter(|cause| **cause != Cause::Rto).count();
    numbers.insert("before_rto_count".to_owned(), json!(sooner));
    let mut names: Vec<&str> = causes.iter().map(|cause| cause.name()).collect();
    names.dedup();
    let told = format!("resent by {} after {} ms", names.join(", "), list(&waits));
    match sooner {
        0 => Said::holds(told),
        _ => Said::refuted(format!("{told}, one later segment telling of each")),
    }
}

/// As many drops as flights: the surgeon lost exactly one segment of each.
fn flights(case: &Judged) -> Result<(), Said> {
    let flights = super::lab::FLIGHTS;
    match case.lost.len() {
        lost if lost == flights => Ok(()),
        lost => Err(Said::inconclusive(format!(
            "{lost} segments dropped instead of {flights}"
        ))),
    }
}

pub fn syn(case: &Judged, clock: &Clock, numbers: &mut Numbers) -> Said {
    let its: Vec<&Resend> = by(case, Cause::Syn).collect();
    one_second(&its, clock, numbers)
}

pub fn syn_ack(case: &Judged, clock: &Clock, numbers: &mut Numbers) -> Said {
    let its: Vec<&Resend> = by(case, Cause::SynAck).collect();
    if let [one] = its.as_slice()
        && !one.timer_expired
    {
        return Said::refuted("no timer of the request's went off");
    }
    one_second(&its, clock, numbers)
}

fn one_second(resends: &[&Resend], clock: &Clock, numbers: &mut Numbers) -> Said {
    let [one] = resends else {
        return Said::refuted(format!("resent {} times", resends.len()));
    };
    let (Some(armed), Some(lost)) = (one.waited, one.tie.lost_at()) else {
        return Said::inconclusive("its timer was not seen to start, or its drop was not seen");
    };
    let waited = ms(one.time - lost);
    numbers.insert("armed_ms".to_owned(), json!(ms(clock.ns(armed))));
    numbers.insert("waited_ms".to_owned(), json!(waited));
    let told = format!("after {waited} ms, armed for {} ms", ms(clock.ns(armed)));
    if !as_armed(armed, clock.jiffies(SECOND)) || early(one, clock) {
        return Said::refuted(told);
    }
    Said::holds(told)
}

pub fn needless(case: &Judged, _: &Clock, numbers: &mut Numbers) -> Said {
    let resends = case.resends.len() as u64;
    let needless = case.resends.iter().filter(|its| its.needless).count() as u64;
    let told = case.counter("TcpExtTCPDSACKOldSent");
    let heard = case.counter("TcpExtTCPDSACKRecv");
    numbers.insert("resend_count".to_owned(), json!(resends));
    numbers.insert("needless_count".to_owned(), json!(needless));
    numbers.insert("dsack_sent_count".to_owned(), json!(told));
    numbers.insert("dsack_heard_count".to_owned(), json!(heard));
    // The first acknowledgement that was dropped carried none: of the segment itself.
    let unheard = case.acks_dropped.saturating_sub(1);
    numbers.insert("dsack_lost_count".to_owned(), json!(unheard));
    let say = format!(
        "{needless} of {resends} resends needless, {told} D-SACKs sent, {unheard} dropped, {heard} heard"
    );
    if resends == 0 {
        return Said::inconclusive("nothing was resent although acknowledgements were dropped");
    }
    if needless == resends && told == resends && heard >= 1 && heard + unheard == told {
        Said::holds(say)
    } else {
        Said::refuted(say)
    }
}

fn by(case: &Judged, cause: Cause) -> impl Iterator<Item = &Resend> {
    case.resends.iter().filter(move |its| its.cause == cause)
}

/// More than a quarter short. On a machine that stalls a wait is seen to begin late, and jiffies, in which the
/// timer counts, catch up with the clock afterwards; a resend by another cause comes orders of magnitude sooner.
fn short(wait: u64, due: u64) -> bool {
    wait < due - due / 4
}

fn early(its: &Resend, clock: &Clock) -> bool {
    match (its.waited, its.waited_ns) {
        (Some(armed), Some(waited)) => short(waited + clock.jiffy_ns, clock.ns(armed)),
        _ => false,
    }
}

/// What is left of a wait is read when its timer starts.
fn as_armed(armed: u64, due: u64) -> bool {
    armed <= due + 1 && !short(armed, due)
}

fn list(values: &[f64]) -> String {
    let values: Vec<String> = values.iter().map(f64::to_string).collect();
    values.join(", ")
}

/// Milliseconds with three digits.
pub fn ms(ns: u64) -> f64 {
    (ns as f64 / 1e3).round() / 1e3
}
