//! A command in a network namespace of its own, where the surgeon loses the segments that `--drop` names.
//!
//! The namespace is made here and nobody else is in it: what the surgeon does it never does to anybody's network.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};

use crate::cli::args::TraceArgs;
use crate::exit::usage;
use crate::instrument::memory::Shared;
use crate::lab::KernelView as _;
use crate::lab::sandbox::{Sandbox, enter};
use crate::lab::surgeon::{RULES, Rule};
use crate::trace::Trace;

pub(super) struct Operation {
    sandbox: Sandbox,
    rules: Vec<Rule>,
}

impl Operation {
    /// None = nothing is to be lost.
    ///
    /// # Errors
    /// A trace that has no surgeon, no command, too many rules; no privilege for a namespace.
    pub fn of(trace: &dyn Trace, args: &TraceArgs) -> Result<Option<Operation>> {
        let wanted = &args.sockets.drop;
        if wanted.is_empty() {
            return Ok(None);
        }
        if !trace.hooks().contains(&"surgeon") {
            return usage(format!("{} has no surgeon: leave out --drop", trace.name()));
        }
        if args.target.command.is_empty() {
            return usage("--drop takes a command to run in a network of its own: -- CMD");
        }
        if wanted.len() > RULES {
            return usage(format!("--drop takes {RULES} segments at most"));
        }
        let numbered = |(number, drop): (u32, &crate::cli::sockets::Drop)| Rule {
            number,
            ..drop.rule
        };
        Ok(Some(Operation {
            sandbox: Sandbox::new()?,
            rules: (1..).zip(wanted).map(numbered).collect(),
        }))
    }

    pub fn netns(&self) -> BorrowedFd<'_> {
        self.sandbox.netns()
    }

    /// Its number, and a way in.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn place(&self) -> Result<(u32, OwnedFd)> {
        let fd = self.sandbox.netns().try_clone_to_owned();
        Ok((self.sandbox.inum(), fd.context("no descriptor left")?))
    }

    /// # Errors
    /// The surgeon was not loaded, or `lo` takes none.
    pub fn begin(&self, shared: &Arc<Shared>) -> Result<()> {
        let work = || -> Result<()> {
            enter(self.sandbox.netns().as_fd()).context("could not enter the sandbox")?;
            shared.operate("lo")?;
            shared.set_rules(&self.rules)
        };
        std::thread::scope(|scope| {
            let thread = scope.spawn(work);
            let done = thread.join();
            done.map_err(|_| anyhow!("the thread that puts the surgeon to work panicked"))?
        })
    }
}
