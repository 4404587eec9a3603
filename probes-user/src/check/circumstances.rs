//! What the labs of a check ran under: settings as a fresh sandbox has them, and which functions the kernel has.
//!
//! A network namespace has its own sysctls and gets defaults, not the host's values; those that no namespace has
//! a copy of are read outside. What could fool it: a lab that sets one of them itself, for its cases only.

use std::collections::BTreeMap;
use std::fs;

use crate::kernel::symbols;
use crate::lab::netns::sysctl;
use crate::lab::sandbox::{Sandbox, enter};
use crate::trace::Trace;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// None = this kernel has no such thing.
    settings: BTreeMap<&'static str, Option<String>>,
    /// None = the kernel's symbols cannot be read.
    functions: BTreeMap<&'static str, Option<bool>>,
}

impl Circumstances {
    /// Of all that these traces name. Nothing here stops a check: what cannot be read is not there.
    pub fn read(traces: &[&'static dyn Trace]) -> Circumstances {
        let names: Vec<&'static str> = traces
            .iter()
            .flat_map(|its| its.settings())
            .copied()
            .collect();
        let wanted: Vec<&'static str> = traces
            .iter()
            .flat_map(|its| its.functions())
            .copied()
            .collect();
        let mut settings: BTreeMap<_, _> =
            names.iter().map(|name| (*name, setting(name))).collect();
        settings.extend(inside(names));
        let found = if wanted.is_empty() {
            Vec::new()
        } else {
            symbols::running(&wanted).unwrap_or_default()
        };
        let there = |name: &str| {
            (!found.is_empty()).then(|| found.iter().any(|symbol| symbol.name == name))
        };
        Circumstances {
            settings,
            functions: wanted.iter().map(|name| (*name, there(name))).collect(),
        }
    }

    /// Those of one trace.
    pub fn settings(&self, trace: &dyn Trace) -> BTreeMap<&'static str, Option<String>> {
        of(trace.settings(), &self.settings)
    }

    pub fn functions(&self, trace: &dyn Trace) -> BTreeMap<&'static str, Option<bool>> {
        of(trace.functions(), &self.functions)
    }
}

fn of<T: Clone>(
    names: &[&'static str],
    all: &BTreeMap<&'static str, Option<T>>,
) -> BTreeMap<&'static str, Option<T>> {
    let own = names
        .iter()
        .map(|name| (*name, all.get(name).cloned().flatten()));
    own.collect()
}

/// `net.ipv4.tcp_syn_retries`, or `/sys/kernel/mm/lru_gen/enabled`.
fn setting(name: &str) -> Option<String> {
    if name.starts_with('/') {
        let text = fs::read_to_string(name).ok()?;
        return Some(text.trim().to_owned());
    }
    let words: Vec<String> = sysctl(name)
        .ok()?
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    Some(words.join(" "))
}

/// Those that a fresh network namespace has itself.
fn inside(names: Vec<&'static str>) -> BTreeMap<&'static str, Option<String>> {
    let Ok(sandbox) = Sandbox::new() else {
        return BTreeMap::new();
    };
    let read = std::thread::Builder::new()
        .name("settings".to_owned())
        .spawn(move || {
            if enter(sandbox.netns()).is_err() {
                return BTreeMap::new();
            }
            let own = names.into_iter().filter(|name| name.starts_with("net."));
            own.filter_map(|name| Some((name, Some(setting(name)?))))
                .collect()
        });
    read.ok()
        .and_then(|thread| thread.join().ok())
        .unwrap_or_default()
}
