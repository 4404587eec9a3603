//! The loaded surgeon: where it is put to work, its rules, what came of them.
//!
//! Rules and counts are one map value under the kernel's lock: a set of rules takes effect at once and as a
//! whole, and its counts begin with it.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, bail};
use probes_common::surgeon::{Rule as Entry, RuleSet, SEGMENT_ANY};

use super::hook::Rung;
use super::{Attachment, sys, tc};
use crate::lab::link;
use crate::lab::surgeon::{Counts, RULES, Rule};

#[derive(Debug)]
pub struct Surgeon {
    program: OwnedFd,
    rules: OwnedFd,
}

impl Surgeon {
    /// None = it is not among what was loaded.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn of(attachment: &Attachment) -> Result<Option<Surgeon>> {
        let loaded = attachment.attached.iter().find(|a| a.rung == Rung::Tc);
        let Some(loaded) = loaded else {
            return Ok(None);
        };
        let duplicate = "could not duplicate a descriptor of the surgeon";
        Ok(Some(Surgeon {
            program: loaded.fd().try_clone_to_owned().context(duplicate)?,
            rules: attachment
                .maps
                .get("RULES")?
                .try_clone_to_owned()
                .context(duplicate)?,
        }))
    }

    /// # Errors
    /// The thread stands in no sandbox, or the interface takes no filter.
    pub fn operate(&self, interface: &str) -> Result<()> {
        in_sandbox()?;
        tc::on_ingress(self.program.as_fd(), interface, link::index(interface)?)
    }

    /// # Errors
    /// Too many rules, a rule without a number, or a thread in no sandbox.
    pub fn set_rules(&self, rules: &[Rule]) -> Result<()> {
        let netns = in_sandbox()?;
        if rules.len() > RULES {
            bail!("{} rules: the surgeon takes {RULES}", rules.len());
        }
        let mut set = RuleSet {
            netns,
            len: rules.len() as u32,
            ..RuleSet::default()
        };
        for (slot, rule) in set.rules.iter_mut().zip(rules) {
            if rule.number == 0 {
                bail!("a rule bears the number 0: they count from 1");
            }
            *slot = entry(rule);
        }
        // SAFETY: Plain: repr(C) without padding.
        let bytes = unsafe {
            std::slice::from_raw_parts((&raw const set).cast::<u8>(), size_of::<RuleSet>())
        };
        sys::map_update_locked(self.rules.as_fd(), 0, bytes)
            .context("could not write the surgeon's rules")
    }

    /// # Errors
    /// The kernel's.
    pub fn rule_counts(&self) -> Result<Vec<Counts>> {
        let mut set = RuleSet::default();
        // SAFETY: Plain: any bytes are a value.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut((&raw mut set).cast::<u8>(), size_of::<RuleSet>())
        };
        sys::map_lookup_locked(self.rules.as_fd(), 0, bytes)
            .context("could not read the surgeon's counts")?;
        let taken = set.rules.iter().take(set.len as usize);
        Ok(taken
            .map(|rule| Counts {
                matched: rule.matched,
                dropped: rule.dropped,
            })
            .collect())
    }
}

fn entry(rule: &Rule) -> Entry {
    Entry {
        number: rule.number,
        segments: SEGMENT_ANY << rule.segment as u32,
        source_port: rule.source_port.unwrap_or(0),
        dest_port: rule.dest_port.unwrap_or(0),
        skip: rule.skip,
        drop: rule.drop,
        every: rule.every.max(1),
        matched: 0,
        dropped: 0,
    }
}

/// The calling thread's network namespace, which must not be the process's own.
fn in_sandbox() -> Result<u32> {
    let inode = |path: &str| -> Result<u64> {
        let found = std::fs::metadata(path).with_context(|| format!("could not look at {path}"))?;
        Ok(found.ino())
    };
    let here = inode("/proc/thread-self/ns/net")?;
    if here == inode("/proc/self/ns/net")? {
        bail!("the surgeon works in a sandbox only, and this thread stands in none");
    }
    u32::try_from(here).context("the network namespace's inode number does not fit 32 bits")
}
