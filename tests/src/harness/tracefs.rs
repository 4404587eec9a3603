//! An independent witness: the kernel's own tracing, in an instance of ours, never the global one.
//!
//! One instance for the whole run of this program (making and removing one per test locked up 5.10),
//! reached through a mount that is attached nowhere, so that nobody else sees it.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

const NAME: &str = "probes-tests-";
static INSTANCE: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// Removes the instance when dropped. Tests find it by [`Tracing::start`].
#[derive(Debug)]
pub struct Instance {
    _mount: Option<OwnedFd>,
}

impl Instance {
    /// A kernel without tracefs shows when a test wants it.
    pub fn make() -> Instance {
        let (mount, path) = match attach() {
            Ok((mount, path)) => (Some(mount), Ok(path)),
            Err(why) => (None, Err(why)),
        };
        let first = INSTANCE.set(path).is_ok();
        assert!(first, "one instance for the whole run");
        Instance { _mount: mount }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(Ok(path)) = INSTANCE.get() {
            let _best_effort = fs::remove_dir(path);
        }
    }
}

fn attach() -> Result<(OwnedFd, PathBuf), String> {
    let error =
        |what: &'static str| move |error: rustix::io::Errno| format!("tracefs, {what}: {error}");
    let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(error("fsopen"))?;
    fsconfig_create(&context).map_err(error("fsconfig"))?;
    let flags = MountAttrFlags::empty();
    let mount =
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags).map_err(error("fsmount"))?;
    let instances = PathBuf::from(format!("/proc/self/fd/{}/instances", mount.as_raw_fd()));
    remove_stale(&instances);
    let path = instances.join(format!("{NAME}{}", std::process::id()));
    fs::create_dir(&path).map_err(|error| format!("could not make a tracing instance: {error}"))?;
    Ok((mount, path))
}

/// Those of runs that were killed.
fn remove_stale(instances: &Path) {
    for entry in fs::read_dir(instances).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(NAME);
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _best_effort = fs::remove_dir(entry.path());
        }
    }
}

/// Tracing that is on until it is dropped.
#[derive(Debug)]
pub struct Tracing {
    path: &'static Path,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The task is about to be woken.
    Waking,
    /// It left the CPU to sleep.
    Slept,
    /// It left the CPU still runnable, or came onto one.
    Ran,
}

/// What befell a task, at a time of CLOCK_MONOTONIC in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    pub at_us: u64,
    pub pid: u32,
    pub kind: Kind,
}

impl Tracing {
    /// `sched_waking` and `sched_switch` of all tasks of this name.
    pub fn start(comm: &str) -> Tracing {
        let path = match INSTANCE.get() {
            Some(Ok(path)) => path,
            other => panic!("no tracing instance: {other:?}"),
        };
        let tracing = Tracing { path };
        tracing.write("tracing_on", "0");
        tracing.write("trace", "");
        tracing.write("trace_clock", "mono");
        tracing.write("buffer_size_kb", "8192");
        tracing.write(
            "events/sched/sched_waking/filter",
            &format!("comm == \"{comm}\""),
        );
        let either = format!("prev_comm == \"{comm}\" || next_comm == \"{comm}\"");
        tracing.write("events/sched/sched_switch/filter", &either);
        tracing.write("events/sched/sched_waking/enable", "1");
        tracing.write("events/sched/sched_switch/enable", "1");
        tracing.write("tracing_on", "1");
        tracing
    }

    /// Ends it; events in order of time.
    ///
    /// # Panics
    /// The buffer has overflowed, or a line cannot be read: a witness with gaps proves nothing.
    pub fn end(self) -> Vec<Event> {
        self.write("tracing_on", "0");
        self.assert_whole();
        let text = fs::read_to_string(self.path.join("trace")).expect("the trace");
        let mut events: Vec<Event> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .flat_map(parse)
            .collect();
        events.sort_by_key(|event| event.at_us);
        events
    }

    fn assert_whole(&self) {
        let cpus = fs::read_dir(self.path.join("per_cpu")).expect("per-CPU buffers");
        for cpu in cpus.flatten() {
            let stats =
                fs::read_to_string(cpu.path().join("stats")).expect("a buffer's statistics");
            for name in ["overrun:", "dropped events:"] {
                let count = stats.lines().find_map(|line| line.strip_prefix(name));
                assert_eq!(
                    count.map(str::trim),
                    Some("0"),
                    "{name} of {:?}",
                    cpu.file_name()
                );
            }
        }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path.join(name);
        fs::write(&path, text)
            .unwrap_or_else(|error| panic!("could not write {text:?} to {name}: {error}"));
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        for name in [
            "tracing_on",
            "events/sched/sched_waking/enable",
            "events/sched/sched_switch/enable",
        ] {
            let _best_effort = fs::write(self.path.join(name), "0");
        }
        let _emptied = fs::write(self.path.join("trace"), "");
    }
}

/// `  comm-12  [001] d..2.  34.567890: sched_waking: comm=x pid=7 prio=120 target_cpu=000`
fn parse(line: &str) -> Vec<Event> {
    let wrong = || panic!("a trace line that cannot be read: {line:?}");
    let Some((head, fields)) = line.split_once(": sched_") else {
        return wrong();
    };
    let Some(at_us) = head.rsplit(' ').next().and_then(microseconds) else {
        return wrong();
    };
    let number = |key: &str| -> Option<u32> {
        let value = fields.split_once(&format!(" {key}="))?.1;
        value
            .split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    };
    let event = |pid, kind| Event { at_us, pid, kind };
    if fields.starts_with("waking:") {
        return number("pid").map_or_else(wrong, |pid| vec![event(pid, Kind::Waking)]);
    }
    let state = fields
        .split_once(" prev_state=")
        .and_then(|(_, tail)| tail.chars().next());
    let (Some(prev), Some(next), Some(state)) = (number("prev_pid"), number("next_pid"), state)
    else {
        return wrong();
    };
    let left = if state == 'R' { Kind::Ran } else { Kind::Slept };
    vec![event(prev, left), event(next, Kind::Ran)]
}

fn microseconds(stamp: &str) -> Option<u64> {
    let (seconds, fraction) = stamp.split_once('.')?;
    (fraction.len() == 6).then_some(())?;
    Some(seconds.parse::<u64>().ok()? * 1_000_000 + fraction.parse::<u64>().ok()?)
}

/// Wakings in a window, by task: all of them, and those of a task that slept.
pub fn wakings(events: &[Event], window_us: std::ops::Range<u64>) -> BTreeMap<u32, Wakings> {
    let mut asleep: BTreeMap<u32, bool> = BTreeMap::new();
    let mut counts: BTreeMap<u32, Wakings> = BTreeMap::new();
    for event in events {
        match event.kind {
            Kind::Slept => {
                asleep.insert(event.pid, true);
            }
            Kind::Ran => {
                asleep.insert(event.pid, false);
            }
            Kind::Waking => {
                let slept = asleep.insert(event.pid, false).unwrap_or(false);
                if window_us.contains(&event.at_us) {
                    let count = counts.entry(event.pid).or_default();
                    count.all += 1;
                    count.of_sleepers += u64::from(slept);
                }
            }
        }
    }
    counts
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wakings {
    pub all: u64,
    pub of_sleepers: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "  herd-worker-9  [001] d..2.  1034.000007: sched_switch: prev_comm=herd-worker prev_pid=9 \
        prev_prio=120 prev_state=S ==> next_comm=swapper/1 next_pid=0 next_prio=120
       <idle>-0  [000] dNs4.  1034.000009: sched_waking: comm=herd-worker pid=9 prio=120 target_cpu=001
       <idle>-0  [000] dNs4.  1034.000010: sched_waking: comm=herd-worker pid=9 prio=120 target_cpu=001";

    #[test]
    fn a_waking_counts_as_a_sleepers_only_once() {
        let events: Vec<Event> = TEXT.lines().flat_map(parse).collect();
        let counts = wakings(&events, 1_034_000_000..1_034_000_011);
        assert_eq!(
            counts[&9],
            Wakings {
                all: 2,
                of_sleepers: 1
            }
        );
        assert_eq!(wakings(&events, 1_034_000_000..1_034_000_009).get(&9), None);
    }

    #[test]
    #[should_panic(expected = "cannot be read")]
    fn a_line_that_is_not_understood_is_not_passed_over() {
        parse("CPU:1 [LOST 4 EVENTS]");
    }
}
