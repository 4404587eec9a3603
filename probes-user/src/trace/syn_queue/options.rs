//! cookies-lose-options: what a connection by cookie lacks beside one without, seen in three places.

use std::collections::BTreeSet;

use probes_common::tcp::{OPT_SACK, OPT_TSTAMP, OPT_WSCALE};
use serde_json::{Map, Value, json};

use super::facts::{COOKIES_VALID, Facts, Phase};
use crate::evidence::ClaimResult;
use crate::lab::queue::socket::{Info, SACK, TIMESTAMPS, WINDOW_SCALE};
use crate::trace::rules::Judged;

/// Bits of [`TIMESTAMPS`] …: the SYN-ACK's, and both ends'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub synack: u8,
    pub server: u8,
    pub client: u8,
}

pub fn lose(cases: &[&Facts]) -> Judged {
    let mut numbers = Map::new();
    let mut parts = Vec::new();
    let (mut everywhere, mut settings) = (true, BTreeSet::new());
    for plain in cases.iter().filter(|its| its.label.contains("/plain/")) {
        let label = plain.label.replace("/plain/", "/cookie/");
        let Some(cookie) = cases.iter().find(|its| its.label == label) else {
            continue;
        };
        let (without, with) = (alike(plain, 0)?, alike(cookie, 1)?);
        let lost = Seen {
            synack: without.synack & !with.synack,
            server: without.server & !with.server,
            client: without.client & !with.client,
        };
        if (lost.server, lost.client) != (lost.synack, lost.synack) {
            return Err(format!("{label}: SYN-ACK and ends disagree: {lost:?}"));
        }
        everywhere &= lost.server != 0;
        let short = label.replacen("options/", "", 1).replace("/cookie", "");
        settings.insert(short.split('/').next().map(str::to_owned));
        let key = short.replace(['/', '-'], "_");
        numbers.insert(format!("{key}_lost"), names(lost.server));
        numbers.insert(format!("{key}_kept"), names(with.server));
        let both = (names_text(lost.server), names_text(with.server));
        parts.push((short, both));
    }
    if settings.is_empty() || (everywhere && settings.len() < 2) {
        return Err(
            "it takes cases with timestamps and without, each with a cookie and without".to_owned(),
        );
    }
    let result = if everywhere {
        ClaimResult::Holds
    } else {
        ClaimResult::Refuted
    };
    Ok((result, sentence(&parts), numbers))
}

/// `timestamps-1/v4` and `timestamps-1/v6` in one where they agree.
fn sentence(parts: &[(String, (String, String))]) -> String {
    let mut said: Vec<String> = Vec::new();
    for (short, (lost, kept)) in parts {
        let setting = short.split('/').next().unwrap_or(short);
        let (word, agree) = match setting {
            "timestamps-1" => ("with timestamps", "timestamps-1/"),
            _ => ("without timestamps", "timestamps-0/"),
        };
        let same = parts
            .iter()
            .filter(|(other, _)| other.starts_with(agree))
            .all(|(_, other)| (&other.0, &other.1) == (lost, kept));
        let word = if same { word.to_owned() } else { short.clone() };
        let part = format!("{word} lost {lost}, kept {kept}");
        if !said.contains(&part) {
            said.push(part);
        }
    }
    said.join("; ")
}

/// What all connections of a case were set up with.
fn alike(facts: &Facts, cookies: u64) -> Result<Seen, String> {
    let label = &facts.label;
    let attempts = facts
        .attempts
        .as_ref()
        .ok_or_else(|| format!("{label}: no connections"))?;
    let tries = attempts.told.tries.len() as u64;
    let valid = attempts.told.counter(COOKIES_VALID);
    if attempts.told.came_through() as u64 != tries || valid != cookies * tries {
        return Err(format!(
            "{label}: {} of {tries} came through, {valid} by a valid cookie",
            attempts.told.came_through()
        ));
    }
    let seen = seen(attempts);
    match seen.first() {
        Some(one) if seen.len() == 1 => Ok(*one),
        _ => Err(format!("{label}: the connections differ: {seen:?}")),
    }
}

pub fn seen(phase: &Phase) -> BTreeSet<Seen> {
    let ends = phase
        .told
        .tries
        .iter()
        .filter_map(|its| Some((its.server?, its.client)));
    let ends: Vec<(Info, Info)> = ends.collect();
    let synacks = phase.synacks.iter().map(|(options, _)| as_info(*options));
    let all = synacks.flat_map(|synack| {
        ends.iter().map(move |(server, client)| Seen {
            synack,
            server: server.options,
            client: client.options,
        })
    });
    all.collect()
}

/// The bits of a packet's event are not TCP_INFO's.
fn as_info(options: u8) -> u8 {
    let bits = [
        (OPT_TSTAMP, TIMESTAMPS),
        (OPT_SACK, SACK),
        (OPT_WSCALE, WINDOW_SCALE),
    ];
    let set = bits.into_iter().filter(|(event, _)| options & event != 0);
    set.map(|(_, info)| info).sum()
}

fn list(options: u8) -> Vec<&'static str> {
    let all = [
        (SACK, "SACK"),
        (WINDOW_SCALE, "window scale"),
        (TIMESTAMPS, "timestamps"),
    ];
    let set = all.into_iter().filter(|(bit, _)| options & bit != 0);
    set.map(|(_, name)| name).collect()
}

fn names(options: u8) -> Value {
    json!(list(options))
}

pub fn names_text(options: u8) -> String {
    let names = list(options);
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
