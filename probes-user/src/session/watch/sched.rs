//! The watch of the scheduler: of everybody's tasks, or of somebody's processes.
//!
//! The programs count; now and then, and at the end, what they have counted goes into the stream as a mark.

use anyhow::{Context as _, Result};
use probes_common::runqueue::{RunqControl, whom};
use serde_json::{Value, json};

use super::Subject;
use super::tasks::Followed;
use crate::cli::sched::SchedArgs;
use crate::kernel::monotonic_ns;
use crate::session::lab::Run;
use crate::stream::{Item, Mark};
use crate::trace::wakeups::watch::COUNTED;
use crate::watch::Target;

pub(super) struct Scheduler {
    /// None = everybody.
    followed: Option<Followed>,
    args: SchedArgs,
}

impl Scheduler {
    pub fn new(target: Option<Target>, args: &SchedArgs) -> Scheduler {
        Scheduler {
            followed: target.map(Followed::new),
            args: args.clone(),
        }
    }

    fn control(&self) -> RunqControl {
        RunqControl {
            whom: match self.followed {
                Some(_) => whom::WATCHED,
                None => whom::EVERYBODY,
            },
            by: self.args.by.number(),
            slower_ns: self.args.slower_ns().unwrap_or(u64::MAX),
        }
    }

    fn tell(&self, run: &mut Run<'_>) -> Result<()> {
        // Without its hooks the report says what is missing.
        let Some(maps) = run.started.shared.runqueue_maps() else {
            return Ok(());
        };
        let mark = Mark {
            ktime: monotonic_ns(),
            name: COUNTED.to_owned(),
            data: serde_json::to_value(maps.read()?).context("could not write a mark")?,
        };
        run.started.pump.mark(mark);
        Ok(())
    }
}

impl Subject for Scheduler {
    fn check(&mut self) -> Result<()> {
        self.followed.as_ref().map_or(Ok(()), Followed::check)
    }

    fn described(&self) -> Value {
        json!({ "by": self.args.by.number(), "slower_ns": self.args.slower_ns() })
    }

    fn follows_tasks(&self) -> bool {
        self.followed.is_some()
    }

    fn begin(&mut self, run: &mut Run<'_>) -> Result<()> {
        if let Some(maps) = run.started.shared.runqueue_maps() {
            maps.follow(&self.control())?;
        }
        if let Some(followed) = &self.followed {
            followed.expect_names(run);
        }
        run.started.shared.set_enabled(true);
        match &mut self.followed {
            Some(followed) => followed.begin(run),
            None => Ok(()),
        }
    }

    fn item(&mut self, item: &Item) {
        if let Some(followed) = &mut self.followed {
            followed.item(item);
        }
    }

    fn look(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.tell(run)
    }

    fn ended(&self) -> bool {
        self.followed.as_ref().is_some_and(Followed::ended)
    }

    /// What is read now is all there will be: rows and CPUs add up.
    fn end(&mut self, run: &mut Run<'_>) -> Result<()> {
        run.started.shared.cut();
        self.tell(run)
    }
}
