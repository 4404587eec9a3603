//! The verdicts, from the logs of the cases: pure.
//!
//! The kernel's own table of sockets, read by the script after every step, must say of both ends what the
//! events say; else nothing is settled.

use probes_common::tcp::{TIMER_STARTED, TIMER_TIME_WAIT};
use serde_json::{Map, Value, json};

use super::script::{ACTION, CALL, CLOCK, KILLED, PAIR, SEEN, SKIPPED};
use super::{ACTIVE_CLOSER, KILLED as KILLED_CLAIM, SIXTY_SECONDS};
use crate::evidence::ClaimResult;
use crate::kernel::tcp::{CLOSE, CLOSE_WAIT, ESTABLISHED, FIN_WAIT1, TIME_WAIT, state_name};
use crate::stream::{Body, Item, Mark};
use crate::trace::scripted::CaseLog;
use crate::trace::tcp::flow::Flow;
use crate::trace::tcp::flows::Flows;

/// What TIME_WAIT is claimed to last, s, and how far from it still counts.
const CLAIMED: f64 = 60.0;
const NEAR: f64 = 0.01;
/// The timer wheel is late by up to an eighth; a second for a busy machine.
const LATE: f64 = CLAIMED * 0.125 + 1.0;
const ECONNRESET: u64 = 104;

/// A verdict with its numbers.
pub struct Verdict {
    pub claim: &'static str,
    pub result: ClaimResult,
    pub because: String,
    pub numbers: Map<String, Value>,
}

/// A case with its connection's two ends followed.
pub struct Played<'a> {
    pub log: &'a CaseLog,
    pub client: Flow,
    pub server: Flow,
    /// Every socket of the case, these two included.
    pub all: Vec<Flow>,
    /// The last connection's begin; what lies before were other tries.
    since: u64,
    tick_ns: u64,
}

/// One end, as the kernel's table had it.
struct Seen<'a> {
    when: &'a str,
    end: &'static str,
    flow: &'a Flow,
    state: u8,
    /// Begin and end of the look.
    time: (u64, u64),
}

impl<'a> Played<'a> {
    /// # Errors
    /// What is missing or does not fit, in words.
    pub fn of(log: &'a CaseLog) -> Result<Played<'a>, String> {
        if log.ended_at.is_none() {
            return Err("did not come to its end".to_owned());
        }
        let pair = log.named(PAIR).last().ok_or("made no connection")?;
        let port = |name: &str| pair.data.get(name).and_then(Value::as_u64).unwrap_or(0);
        let tick = log.said(CLOCK, "tick_ns").and_then(Value::as_u64);
        let mut flows = Flows::default();
        for event in &log.events {
            flows.item(&Item::Event(*event));
        }
        let mut all = flows.take_done();
        all.extend(flows.open().cloned());
        let find = |local: u64, remote: u64| {
            let here = |flow: &&Flow| {
                let ports = (flow.ends.local.port(), flow.ends.remote.port());
                (u64::from(ports.0), u64::from(ports.1)) == (local, remote)
            };
            all.iter().find(here).cloned()
        };
        let (client, server) = (port("client"), port("server"));
        let played = Played {
            log,
            client: find(client, server).ok_or("its client's end was not seen")?,
            server: find(server, client).ok_or("its server's end was not seen")?,
            since: pair.ktime,
            tick_ns: tick.ok_or("the kernel's tick is not known")?,
            all,
        };
        played.check()?;
        Ok(played)
    }

    pub fn ends(&self) -> [(&'static str, &Flow); 2] {
        [("client", &self.client), ("server", &self.server)]
    }

    fn check(&self) -> Result<(), String> {
        if let Some(fault) = self.all.iter().flat_map(|flow| &flow.faults).next() {
            return Err(format!("a socket's events do not fit: {fault}"));
        }
        for look in self.seen() {
            let (state, (from, to)) = (look.state, look.time);
            let mut changes = look.flow.path.iter().filter(|step| {
                let during = |since| from < since && since <= to;
                step.state == state && step.since.is_some_and(during)
            });
            let followed = state_at(look.flow, from);
            if followed != state && changes.next().is_none() {
                let (table, events) = (state_name(state), state_name(followed));
                let (when, end) = (look.when, look.end);
                return Err(format!(
                    "{when}: {end} is {table} in the table, {events} by events"
                ));
            }
        }
        for (what, counted, events) in self.counts() {
            if counted != events {
                return Err(format!("{what} grew by {counted}, the events say {events}"));
            }
        }
        Ok(())
    }

    fn seen(&self) -> Vec<Seen<'_>> {
        let mut seen = Vec::new();
        for mark in self.log.named(SEEN).filter(|mark| mark.ktime >= self.since) {
            let when = mark.data.get("when").and_then(Value::as_str).unwrap_or("");
            for (end, flow) in self.ends() {
                let state = mark
                    .data
                    .get(end)
                    .and_then(|its| its.get("state")?.as_u64());
                let state = state.and_then(|state| u8::try_from(state).ok());
                seen.push(Seen {
                    when,
                    end,
                    flow,
                    state: state.unwrap_or_default(),
                    time: looked(mark),
                });
            }
        }
        seen
    }

    /// The namespace's counters against the events: (name, counted, by events).
    pub fn counts(&self) -> Vec<(&'static str, u64, u64)> {
        let changes = |wanted: fn(u8, u8) -> bool| {
            let events = self.log.events.iter();
            let hits = events.filter(|event| match &event.body {
                Body::TcpState(its) => wanted(its.old, its.new),
                _ => false,
            });
            hits.count() as u64
        };
        let open = |old, new| matches!((old, new), (CLOSE, 2));
        let child = |old, new| matches!((old, new), (10, 3));
        let reset = |old, new| matches!((old, new), (ESTABLISHED | CLOSE_WAIT, CLOSE));
        let counter = |name| self.log.counter(name);
        vec![
            ("TcpActiveOpens", counter("TcpActiveOpens"), changes(open)),
            (
                "TcpPassiveOpens",
                counter("TcpPassiveOpens"),
                changes(child),
            ),
            ("TcpEstabResets", counter("TcpEstabResets"), changes(reset)),
        ]
    }

    /// The ends that closed before the other did, by what the script did.
    fn first_closers(&self) -> Vec<&'static str> {
        let of = |mark: &Mark| {
            let what = mark.data.get("what").and_then(Value::as_str)?;
            let by = mark.data.get("by").and_then(Value::as_str)?;
            matches!(what, "close" | "shutdown").then_some(if by == "client" {
                "client"
            } else {
                "server"
            })
        };
        if self.log.named(KILLED).next().is_some() {
            return vec!["client"];
        }
        let actions = self
            .log
            .named(ACTION)
            .filter(|mark| mark.ktime >= self.since);
        let closers: Vec<&'static str> = actions.filter_map(of).collect();
        let both = self.log.label.starts_with("simultaneous-close");
        closers.into_iter().take(if both { 2 } else { 1 }).collect()
    }

    /// Starts of TIME_WAIT timers of this connection: (time, s).
    fn timers(&self, state: u8) -> Vec<(u64, f64)> {
        let events = self
            .log
            .events
            .iter()
            .filter_map(|event| match &event.body {
                Body::TcpTimer(its)
                    if (its.which, its.action) == (TIMER_TIME_WAIT, TIMER_STARTED)
                        && its.id.state == state =>
                {
                    let seconds = its.timeout as f64 * self.tick_ns as f64 / 1e9;
                    Some((event.header.ktime, seconds))
                }
                _ => None,
            });
        events.collect()
    }

    /// What TIME_WAIT lasts by the table: what was left at each look, and what had passed since its start.
    fn by_table(&self) -> Vec<f64> {
        let mut lasts = Vec::new();
        for mark in self.log.named(SEEN).filter(|mark| mark.ktime >= self.since) {
            for (end, flow) in self.ends() {
                let Some(its) = mark.data.get(end) else {
                    continue;
                };
                let field = |name: &str| its.get(name).and_then(Value::as_u64);
                if field("state") == Some(u64::from(TIME_WAIT))
                    && let (Some(left), Some(began)) =
                        (field("expires_cs"), flow.entered(TIME_WAIT))
                {
                    let passed = looked(mark).1.saturating_sub(began) as f64 / 1e9;
                    lasts.push(left as f64 / 100.0 + passed);
                }
            }
        }
        lasts
    }
}

/// The state of a flow at a time.
fn state_at(flow: &Flow, at: u64) -> u8 {
    let mut before = flow
        .path
        .iter()
        .filter(|step| step.since.is_none_or(|since| since <= at));
    before.next_back().map_or(CLOSE, |step| step.state)
}

/// When the table was looked at.
fn looked(mark: &Mark) -> (u64, u64) {
    let time = |name: &str| mark.data.get(name).and_then(Value::as_u64);
    (
        time("from_ns").unwrap_or(mark.ktime),
        time("to_ns").unwrap_or(mark.ktime),
    )
}

/// All verdicts, over the cases that were played.
pub fn verdicts(played: &[Played<'_>], skipped: &[String]) -> Vec<Verdict> {
    vec![
        active_closer(played, skipped),
        sixty(played),
        killed(played),
    ]
}

/// Why a case could not be played, if it could not.
pub fn skipped(log: &CaseLog) -> Option<String> {
    let why = log.said(SKIPPED, "why")?.as_str()?;
    Some(format!("{}: {why}", log.label))
}

fn verdict(claim: &'static str, result: ClaimResult, because: String, numbers: Value) -> Verdict {
    let numbers = match numbers {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    Verdict {
        claim,
        result,
        because,
        numbers,
    }
}

fn settled(holds: bool) -> ClaimResult {
    if holds {
        ClaimResult::Holds
    } else {
        ClaimResult::Refuted
    }
}

fn active_closer(played: &[Played<'_>], skipped: &[String]) -> Verdict {
    let claim = ACTIVE_CLOSER;
    let closed: Vec<&Played<'_>> = played
        .iter()
        .filter(|case| !case.log.label.starts_with("killed-unread"))
        .collect();
    let waiting = |case: &Played<'_>| -> Vec<&'static str> {
        let ends = case.ends().into_iter();
        let waits = ends.filter(|(_, flow)| flow.was_in(TIME_WAIT));
        waits.map(|(end, _)| end).collect()
    };
    let wrong: Vec<String> = closed
        .iter()
        .filter(|case| {
            let mut first = case.first_closers();
            first.sort_unstable();
            waiting(case) != first
        })
        .map(|case| {
            let (label, first) = (&case.log.label, case.first_closers().join(" and "));
            let waits = waiting(case).join(" and ");
            format!("{label}: {first} closed first, in TIME_WAIT: {waits}")
        })
        .collect();
    let ends: usize = closed.iter().map(|case| waiting(case).len()).sum();
    let numbers = json!({
        "cases_count": closed.len(),
        "ends_in_time_wait_count": ends,
        "wrong_count": wrong.len(),
    });
    if closed.is_empty() || ends == 0 {
        let because = "no case with an orderly close was asked for".to_owned();
        return verdict(claim, ClaimResult::Inconclusive, because, numbers);
    }
    let mut because = match wrong.first() {
        Some(first) => format!(
            "{} of {} cases otherwise: {first}",
            wrong.len(),
            closed.len()
        ),
        None => format!(
            "in all {} cases the first closer alone, both in a simultaneous close ({ends} ends)",
            closed.len()
        ),
    };
    if !skipped.is_empty() && wrong.is_empty() {
        because.push_str(&format!("; not played: {}", skipped.join(", ")));
    }
    verdict(claim, settled(wrong.is_empty()), because, numbers)
}

fn sixty(played: &[Played<'_>]) -> Verdict {
    let claim = SIXTY_SECONDS;
    let near = |seconds: f64| (seconds - CLAIMED).abs() <= CLAIMED * NEAR;
    let of = |state: u8| -> Vec<f64> {
        let all = played.iter().flat_map(|case| case.timers(state));
        all.map(|(_, seconds)| seconds).collect()
    };
    let armed = of(TIME_WAIT);
    let table: Vec<f64> = played.iter().flat_map(Played::by_table).collect();
    let ran: Vec<f64> = played
        .iter()
        .flat_map(|case| case.all.iter())
        .filter_map(ran)
        .collect();
    let fin_timeout = played
        .iter()
        .filter(|case| case.log.label.starts_with("fin-timeout"));
    let set: Vec<f64> = fin_timeout
        .flat_map(|case| case.timers(TIME_WAIT))
        .map(|(_, seconds)| seconds)
        .collect();
    let extreme = |all: &[f64], pick: fn(f64, f64) -> f64| all.iter().copied().reduce(pick);
    let numbers = json!({
        "timers_count": armed.len(),
        "armed_min_s": extreme(&armed, f64::min),
        "armed_max_s": extreme(&armed, f64::max),
        "by_table_min_s": extreme(&table, f64::min),
        "by_table_max_s": extreme(&table, f64::max),
        "with_fin_timeout_set_count": set.len(),
        "ran_max_s": extreme(&ran, f64::max),
    });
    let open =
        |because: String, numbers| verdict(claim, ClaimResult::Inconclusive, because, numbers);
    if armed.is_empty() {
        let because = "no TIME_WAIT timer was seen to start";
        return match extreme(&table, f64::max) {
            None => open(because.to_owned(), numbers),
            // A closed socket is small from FIN_WAIT2 on.
            Some(lasts) => open(
                format!(
                    "{because}: in these cases it ran already for FIN_WAIT2, and was moved without an event \
                     (the table of sockets makes it {lasts:.1} s); half-close and fin-timeout show a start"
                ),
                numbers,
            ),
        };
    }
    let (armed_near, table_near) = (
        armed.iter().all(|s| near(*s)),
        table.iter().all(|s| near(*s)),
    );
    if table.is_empty() || armed_near != table_near {
        let because = "the table of sockets does not say what the timers say".to_owned();
        return open(because, numbers);
    }
    let ran_well = ran
        .iter()
        .all(|s| (CLAIMED * (1.0 - NEAR)..CLAIMED + LATE).contains(s));
    let low = extreme(&armed, f64::min).unwrap_or_default();
    let high = extreme(&armed, f64::max).unwrap_or_default();
    let mut because = format!("{} timers started for {low:.2} to {high:.2} s", armed.len());
    if !set.is_empty() {
        because.push_str(&format!(
            ", {} of them with tcp_fin_timeout set otherwise",
            set.len()
        ));
    }
    if let Some(longest) = extreme(&ran, f64::max) {
        because.push_str(&format!(
            "; {} ran out, after {longest:.1} s at most",
            ran.len()
        ));
    }
    verdict(claim, settled(armed_near && ran_well), because, numbers)
}

/// How long a TIME_WAIT lasted that ran out, s.
fn ran(flow: &Flow) -> Option<f64> {
    let small = flow.time_wait?;
    let expired = small.expired.filter(|_| small.state == TIME_WAIT)?;
    Some(expired.saturating_sub(small.started) as f64 / 1e9)
}

fn killed(played: &[Played<'_>]) -> Verdict {
    let claim = KILLED_CLAIM;
    let mut wrong = Vec::new();
    let mut ends = [0_u32; 2];
    let cases = played
        .iter()
        .filter(|case| case.log.label.starts_with("killed"));
    for case in cases {
        let unread = case.log.label.starts_with("killed-unread");
        ends[usize::from(unread)] += 1;
        if let Err(what) = closes(case, unread) {
            wrong.push(format!("{}: {what}", case.log.label));
        }
    }
    let numbers = json!({
        "closed_by_fin_count": ends[0],
        "closed_by_reset_count": ends[1],
        "wrong_count": wrong.len(),
    });
    if ends.contains(&0) && wrong.is_empty() {
        let because = "not both with and without unread data were asked for".to_owned();
        return verdict(claim, ClaimResult::Inconclusive, because, numbers);
    }
    let because = wrong.first().cloned().unwrap_or_else(|| {
        format!(
            "{} connections closed by FIN, {} with unread data by reset, each by the killed process itself",
            ends[0], ends[1]
        )
    });
    verdict(claim, settled(wrong.is_empty()), because, numbers)
}

/// Did the killed process's connection close as claimed? Else what it did.
fn closes(case: &Played<'_>, unread: bool) -> Result<(), String> {
    let killed = case.log.said(KILLED, "pid").and_then(Value::as_u64);
    let at = case
        .log
        .named(KILLED)
        .next()
        .map_or(u64::MAX, |mark| mark.ktime);
    let left = case.log.events.iter().find_map(|event| match &event.body {
        Body::TcpState(its) if its.id.sock == case.client.sock && its.old == ESTABLISHED => {
            Some((event.header, its.new))
        }
        _ => None,
    });
    let Some((header, new)) = left else {
        return Err("the connection stayed ESTABLISHED".to_owned());
    };
    if header.ktime < at || Some(u64::from(header.tgid)) != killed {
        let (by, killed) = (header.tgid, killed.unwrap_or_default());
        return Err(format!(
            "left ESTABLISHED in process {by}, killed was {killed}"
        ));
    }
    let expected = if unread { CLOSE } else { FIN_WAIT1 };
    if new != expected {
        return Err(format!("went to {}", state_name(new)));
    }
    let read = case.log.named(CALL).last();
    let field = |name: &str| read.and_then(|mark| mark.data.get(name)?.as_u64());
    let right = if unread {
        field("errno") == Some(ECONNRESET)
    } else {
        field("bytes") == Some(0)
    };
    let told = read.map(|mark| mark.data.to_string()).unwrap_or_default();
    right.then_some(()).ok_or(format!("the peer read {told}"))
}
