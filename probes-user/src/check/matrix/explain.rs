//! What explains that kernels differ: of all that a trace's lab ran under and watched with, what separates them.
//!
//! A setting, a function or a hook explains a difference if no two columns that differ have it alike. That is a
//! reason to look there, not a proof: what is known, with its source, stands beside it.

use std::collections::BTreeMap;

use super::{Around, Column};

/// What was found alike in several columns and otherwise in others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub kind: &'static str,
    /// Several, when they have the same values.
    pub names: Vec<String>,
    /// By column; None = that check did not say.
    pub values: Vec<Option<String>>,
}

impl Fact {
    pub fn name(&self) -> String {
        format!("{} {}", self.kind, self.names.join(", "))
    }
}

/// Those that separate the groups.
pub fn facts(columns: &[Column], trace: &str, groups: &[Vec<usize>]) -> Vec<Fact> {
    let mut found = of(columns, |name| name == trace);
    found.retain(|fact| separates(fact, groups));
    found
}

/// Those that are not the same in all columns, of every trace.
pub fn all(columns: &[Column]) -> Vec<Fact> {
    let mut found = of(columns, |_| true);
    found.retain(|fact| fact.values.windows(2).any(|two| two[0] != two[1]));
    found
}

fn separates(fact: &Fact, groups: &[Vec<usize>]) -> bool {
    let values = |group: &[usize]| -> Vec<&Option<String>> {
        group.iter().filter_map(|at| fact.values.get(*at)).collect()
    };
    let apart = |one: &[usize], other: &[usize]| {
        let other = values(other);
        values(one)
            .iter()
            .all(|value| value.is_some() && !other.contains(value))
    };
    groups.iter().enumerate().all(|(at, one)| {
        let others = groups.iter().enumerate().filter(|(other, _)| *other != at);
        others
            .map(|(_, other)| other)
            .all(|other| apart(one, other))
    })
}

fn of(columns: &[Column], wanted: impl Fn(&str) -> bool) -> Vec<Fact> {
    let mut by_name: BTreeMap<(&'static str, String), Vec<Option<String>>> = BTreeMap::new();
    for (at, column) in columns.iter().enumerate() {
        for around in column.check.traces.iter().filter(|its| wanted(&its.trace)) {
            for (kind, name, value) in said(around) {
                let values = by_name.entry((kind, name)).or_default();
                values.resize(columns.len(), None);
                values[at] = Some(value);
            }
        }
    }
    let mut facts: Vec<Fact> = Vec::new();
    for ((kind, name), values) in by_name {
        match facts
            .iter_mut()
            .find(|fact| fact.kind == kind && fact.values == values)
        {
            // A setting is looked at by its own name.
            Some(fact) if kind != SETTING => fact.names.push(name),
            _ => facts.push(Fact {
                kind,
                names: vec![name],
                values,
            }),
        }
    }
    facts
}

const SETTING: &str = "setting";

fn said(around: &Around) -> Vec<(&'static str, String, String)> {
    let settings = around.settings.iter().map(|(name, value)| {
        let value = value.clone().unwrap_or_else(|| "none".to_owned());
        (SETTING, name.clone(), value)
    });
    let functions = around.functions.iter().filter_map(|(name, there)| {
        let value = if (*there)? { "there" } else { "none" };
        Some(("function", name.clone(), value.to_owned()))
    });
    let hooks = around.hooks.iter().map(|its| {
        let value = its.attached_as.clone().unwrap_or_else(|| "none".to_owned());
        ("hook", its.hook.clone(), value)
    });
    settings.chain(functions).chain(hooks).collect()
}
