//! Finds the tasks of somebody else's process, and what they listen on, at the start of a watch.
//!
//! New children may be forked while /proc is read. Each task is handed over as soon as it is found, so
//! the caller can have it followed before the next scan; when two scans in a row find nothing new, every
//! later child is the child of a followed task. What could fool it: a target that is exchanged (its pid
//! reused) between the look and the follow.

use std::collections::BTreeSet;

use crate::trace::herd::marks::TaskMark;

pub mod cgroup;
pub mod namespaces;
pub mod owners;
pub mod procfs;
pub mod queues;
pub mod sockdiag;
mod sockets;
mod target;
#[cfg(test)]
mod tests;

pub use sockets::Listening;
use target::Roots;
pub use target::{Target, TargetError};

/// Scans in a row that must find nothing new.
const QUIET_SCANS: u32 = 2;
/// A target that forks without pause is never quiet; by then its living tasks are followed all the same.
const MAX_SCANS: u32 = 64;

/// All tasks of the target, in the order in which they were found. `found` is called for each at once.
///
/// # Errors
/// No such process or control group; /proc is not there.
pub fn discover(
    target: &Target,
    found: &mut dyn FnMut(&TaskMark),
) -> Result<Vec<TaskMark>, TargetError> {
    let roots = Roots::of(target)?;
    let mut known = BTreeSet::new();
    let mut tasks = Vec::new();
    let mut quiet = 0;
    for _ in 0..MAX_SCANS {
        let before = tasks.len();
        for tgid in roots.groups()? {
            let new = procfs::threads(tgid)
                .into_iter()
                .filter(|task| known.insert(task.pid));
            tasks.extend(new.inspect(|task| found(task)));
        }
        quiet = if tasks.len() == before { quiet + 1 } else { 0 };
        if quiet == QUIET_SCANS {
            break;
        }
    }
    Ok(tasks)
}

/// The processes (thread group ids) that these tasks belong to.
pub fn processes(tasks: &[TaskMark]) -> BTreeSet<u32> {
    tasks.iter().map(|task| task.tgid).collect()
}
