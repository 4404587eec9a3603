//! Whom to watch: by pid (with descendants), by control group, or by name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::cgroup;
use super::procfs::{self, Entry};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Processes with all their threads and descendants. A thread id stands for its process.
    Pids(Vec<u32>),
    /// A control group of v1 or v2 with all below it: a directory, or a path within the hierarchy.
    Cgroup(PathBuf),
    /// Processes of this name (the first 15 bytes count) with their descendants. May match none yet.
    Comm(String),
}

/// Why a target cannot be watched. All but `NoProc` are the user's to put right (exit code 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetError {
    NoProcess(u32),
    NoCgroup(PathBuf),
    EmptyCgroup(PathBuf),
    NoProc(String),
}

impl TargetError {
    pub fn is_usage(&self) -> bool {
        !matches!(self, TargetError::NoProc(_))
    }
}

impl std::fmt::Display for TargetError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TargetError::NoProcess(pid) => write!(
                f,
                "no process {pid}: it has ended or never was; try pgrep -a NAME"
            ),
            TargetError::NoCgroup(path) => {
                write!(
                    f,
                    "no control group {}: no cgroup.procs there; try systemd-cgls",
                    path.display()
                )
            }
            TargetError::EmptyCgroup(path) => {
                write!(f, "no process in control group {}", path.display())
            }
            TargetError::NoProc(why) => {
                write!(f, "could not read /proc: {why}; try with /proc mounted")
            }
        }
    }
}

impl std::error::Error for TargetError {}

/// TASK_COMM_LEN without the NUL.
const COMM_LEN: usize = 15;

/// A target that has been checked to exist.
pub enum Roots {
    Pids(BTreeSet<u32>),
    Cgroup(PathBuf),
    Comm(Vec<u8>),
}

impl Roots {
    pub fn of(target: &Target) -> Result<Roots, TargetError> {
        if procfs::thread_group(std::process::id()).is_none() {
            return Err(TargetError::NoProc("this process is not in it".to_owned()));
        }
        match target {
            Target::Pids(pids) => {
                let group = |&pid| procfs::thread_group(pid).ok_or(TargetError::NoProcess(pid));
                Ok(Roots::Pids(
                    pids.iter().map(group).collect::<Result<_, _>>()?,
                ))
            }
            Target::Cgroup(path) => {
                let found = cgroup::resolve(path, &procfs::cgroup_mounts());
                let found = found.ok_or_else(|| TargetError::NoCgroup(path.clone()))?;
                check_members(&found)?;
                Ok(Roots::Cgroup(found))
            }
            Target::Comm(name) => Ok(Roots::Comm(name.bytes().take(COMM_LEN).collect())),
        }
    }

    /// Thread groups that belong to the target now.
    pub fn groups(&self) -> Result<BTreeSet<u32>, TargetError> {
        let mut groups = match self {
            Roots::Cgroup(directory) => cgroup::members(directory),
            Roots::Pids(pids) => {
                let all = procfs::processes().map_err(TargetError::NoProc)?;
                with_descendants(pids.clone(), &all)
            }
            Roots::Comm(name) => {
                let all = procfs::processes().map_err(TargetError::NoProc)?;
                let named = all
                    .iter()
                    .filter(|(_, entry)| entry.comm.as_bytes() == name)
                    .map(|(&pid, _)| pid);
                with_descendants(named.collect(), &all)
            }
        };
        // Watching the watcher would feed the stream with its own reading.
        groups.remove(&std::process::id());
        Ok(groups)
    }
}

fn check_members(directory: &Path) -> Result<(), TargetError> {
    match cgroup::members(directory).is_empty() {
        true => Err(TargetError::EmptyCgroup(directory.to_owned())),
        false => Ok(()),
    }
}

fn with_descendants(mut groups: BTreeSet<u32>, all: &BTreeMap<u32, Entry>) -> BTreeSet<u32> {
    loop {
        let before = groups.len();
        let children = all
            .iter()
            .filter(|(_, entry)| groups.contains(&entry.ppid))
            .map(|(&pid, _)| pid);
        let children: Vec<u32> = children.collect();
        groups.extend(children);
        if groups.len() == before {
            return groups;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_found_whatever_the_order_of_pids() {
        let entry = |ppid| Entry {
            ppid,
            comm: String::new(),
        };
        let all = BTreeMap::from([
            (5, entry(30)),
            (10, entry(1)),
            (20, entry(10)),
            (30, entry(20)),
            (40, entry(1)),
        ]);
        assert_eq!(
            with_descendants(BTreeSet::from([10]), &all),
            BTreeSet::from([5, 10, 20, 30])
        );
    }
}
