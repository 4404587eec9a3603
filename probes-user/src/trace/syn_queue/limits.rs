//! binding-limit: how many half-open connections a listener held, against the knobs.

use std::collections::BTreeMap;

use serde_json::{Map, json};

use super::facts::Facts;
use super::marks::Limits;
use crate::evidence::ClaimResult;
use crate::trace::rules::Judged;

fn smallest(limits: &Limits) -> u64 {
    let Limits {
        backlog,
        somaxconn,
        max_syn_backlog,
        ..
    } = *limits;
    u64::from(backlog.min(somaxconn).min(max_syn_backlog))
}

/// `limit/somaxconn/v6` → somaxconn
fn knob(label: &str) -> &str {
    label.split('/').nth(1).unwrap_or(label)
}

pub fn binding(cases: &[&Facts]) -> Judged {
    let mut numbers = Map::new();
    let mut told: BTreeMap<&str, (u64, Vec<u64>)> = BTreeMap::new();
    let mut as_said = true;
    for facts in cases {
        let flood = facts
            .flood
            .as_ref()
            .ok_or_else(|| format!("{}: no flood", facts.label))?;
        if facts.control.is_none() {
            return Err(format!("{}: no connection before the flood", facts.label));
        }
        let smallest = smallest(&facts.limits);
        as_said &= flood.half_open == smallest;
        let name = facts.label.replace(['/', '-'], "_");
        numbers.insert(format!("{name}_held_count"), json!(flood.half_open));
        numbers.insert(format!("{name}_smallest_count"), json!(smallest));
        let held = told.entry(knob(&facts.label)).or_default();
        held.0 = smallest;
        held.1.push(flood.half_open);
    }
    let parts = told.iter().map(|(knob, (smallest, held))| {
        let mut held = held.clone();
        held.dedup();
        let held: Vec<String> = held.iter().map(u64::to_string).collect();
        format!("{knob} {smallest}: {} held", held.join(" and "))
    });
    let because = parts.collect::<Vec<String>>().join("; ");
    let result = if as_said {
        ClaimResult::Holds
    } else {
        ClaimResult::Refuted
    };
    Ok((result, because, numbers))
}
