//! Provokes the mechanism in a private sandbox. Children are parked, probes attach, then children run.

use std::sync::Arc;

use anyhow::{Result, bail};

use crate::instrument::blocks::Blocks;
use crate::instrument::pages::Pages;
use crate::stream::Mark;

pub mod account;
#[cfg(test)]
pub mod bench;
pub mod cgroup;
pub mod chain;
pub mod child;
pub mod command;
pub mod counted;
pub mod disk;
pub mod family;
pub mod first_timeout;
pub mod herd;
pub mod inject;
pub mod link;
pub mod mapping;
pub mod memory_group;
pub mod native_aio;
pub mod netlink;
pub mod netns;
pub mod pages;
pub mod queue;
pub mod ring;
pub mod sandbox;
pub mod script;
pub mod shared;
pub mod surgeon;
pub mod tap;
pub mod tcp_info;
pub mod transfer;

/// What the lab may ask of the kernel side, and tell it. The real one is memory shared with the BPF maps.
/// Must work in a forked child (no locks, no allocation needed).
pub trait KernelView: Send + Sync {
    /// Is this thread off the CPU in a sleeping state, with no wakeup under way? From `sched_switch`
    /// and `sched_wakeup`, not from /proc.
    fn asleep(&self, pid: u32) -> bool;
    /// Written before each action; copied into every event from then on.
    fn set_phase(&self, phase: u32);
    /// Follows this thread from now on: `probes_common::Task` bits, 0 = no longer.
    ///
    /// # Errors
    /// Nothing is loaded.
    fn follow(&self, pid: u32, bits: u8) -> Result<()> {
        bail!("nothing is loaded that could follow thread {pid} (bits {bits})")
    }
    /// What the kernel has counted so far in the row of this action; a row is used again after
    /// [`probes_common::copy::SLOTS`] actions.
    ///
    /// # Errors
    /// Nothing that counts is loaded, or the kernel refuses.
    fn counted(&self, phase: u32) -> Result<counted::Counted> {
        bail!("nothing is loaded that counts what was done in phase {phase}")
    }
    /// Puts the surgeon on what comes in at this interface of the calling thread's network namespace. It goes
    /// with the namespace.
    ///
    /// # Errors
    /// The trace has no surgeon among its hooks, or the interface takes none.
    fn operate(&self, interface: &str) -> Result<()> {
        bail!("no surgeon for {interface}: the trace does not ask for one")
    }
    /// What the surgeon is to do from now on; counting begins anew. None of the rules = all pass.
    ///
    /// # Errors
    /// As for `operate`, or more than [`surgeon::RULES`] rules.
    fn set_rules(&self, rules: &[surgeon::Rule]) -> Result<()> {
        bail!(
            "no surgeon for {} rules: the trace does not ask for one",
            rules.len()
        )
    }
    /// What came of each rule since `set_rules`, in their order.
    ///
    /// # Errors
    /// As for `operate`.
    fn rule_counts(&self) -> Result<Vec<surgeon::Counts>> {
        bail!("no surgeon: the trace does not ask for one")
    }
    /// Follows the requests of these disks (the kernel's `dev_t`), each sent when it is done.
    ///
    /// # Errors
    /// The trace does not ask for the instrument `block`.
    fn follow_disks(&self, disks: &[u32]) -> Result<()> {
        bail!(
            "cannot follow {} disks: the trace does not ask for the instrument block",
            disks.len()
        )
    }
    /// What the instrument `block` has counted since it was loaded.
    ///
    /// # Errors
    /// As for `follow_disks`.
    fn blocks(&self) -> Result<Blocks> {
        bail!("no counts of disks: the trace does not ask for the instrument block")
    }
    /// What the instrument `page_cache` has counted since it was loaded.
    ///
    /// # Errors
    /// The trace does not ask for it.
    fn pages(&self) -> Result<Pages> {
        bail!("no counts of pages: the trace does not ask for the instrument page_cache")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Running { done: u64, of: u64 },
    Done,
}

/// A row of scenes run one after the other in one sandbox.
pub trait Lab {
    fn scenes(&self) -> usize;
    /// Builds the next scene with all its children parked. None = all have run.
    ///
    /// # Errors
    /// A child cannot be made, or a socket, or a step of the set-up failed.
    fn next(&mut self, view: &Arc<dyn KernelView>) -> Result<Option<Box<dyn Scene>>>;
    /// Makes `next` build the scene of the last call once more, under a number of its own.
    fn again(&mut self);
}

/// One workload with its children. Dropping it kills and reaps them.
pub trait Scene {
    fn label(&self) -> String;
    /// Inode number of the sandbox's network namespace; 0 = the scene has none.
    fn netns(&self) -> u32 {
        0
    }
    /// Threads to watch, with their `probes_common::Task` bits.
    fn tasks(&self) -> Vec<(u32, u8)> {
        Vec::new()
    }
    /// Local TCP ports to follow.
    fn ports(&self) -> Vec<u16> {
        Vec::new()
    }
    /// Lets the children run. Called once, after the probes are attached and the tasks are watched.
    ///
    /// # Errors
    /// A child has died.
    fn start(&mut self) -> Result<()>;
    /// Does not block.
    ///
    /// # Errors
    /// A child has died or the scene's budget has run out; what is known so far stays in `marks`.
    fn poll(&mut self) -> Result<Progress>;
    /// All marks of the scene in order of time, after `poll` said `Done` (or failed).
    fn marks(&mut self) -> Vec<Mark>;
}
