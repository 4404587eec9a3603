//! Small facts from /proc and /sys, and about our own process.

use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::CannotRun;

/// `include/linux/proc_ns.h`, `PROC_PID_INIT_INO` and `PROC_USER_INIT_INO`: fixed since 3.8.
const INITIAL: [(&str, u64); 2] = [("pid", 0xefff_fffc), ("user", 0xefff_fffd)];

/// Highest resident size of our own process so far, bytes.
pub fn own_rss_peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib: u64 = line(&status, "VmHWM:")?
        .strip_suffix(" kB")?
        .trim()
        .parse()
        .ok()?;
    kib.checked_mul(1024)
}

/// Whether a process of that id runs or could run, as our pid namespace counts: one that only waits to be
/// reaped has ended. A zombie that leads a group whose other threads live has not.
pub fn process_lives(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| lives(&stat))
}

/// The name, in brackets, may hold anything; after it come the state and, 17 fields on, the threads.
fn lives(stat: &str) -> bool {
    let Some((_, fields)) = stat.rsplit_once(") ") else {
        return false;
    };
    let mut fields = fields.split_ascii_whitespace();
    let dead = matches!(fields.next(), None | Some("Z" | "X"));
    let threads = fields.nth(16).and_then(|count| count.parse().ok());
    !dead || threads.unwrap_or(0_u32) > 1
}

/// Length of a jiffy: the resolution of the coarse clocks, which the kernel gives as 1/HZ.
pub fn jiffy_ns() -> u64 {
    let tick = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse);
    u64::try_from(tick.tv_nsec).unwrap_or(4_000_000)
}

/// CLOCK_MONOTONIC, ns: the clock of `bpf_ktime_get_ns`, stops during suspend.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // Both are never negative on this clock, and the sum lasts 584 years.
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Lifts RLIMIT_MEMLOCK, against which maps and programs are counted before 5.11 (kernel/bpf/syscall.c,
/// `bpf_map_charge_memlock`; since then the memory cgroup). To no limit if we may, else to the hard limit.
///
/// # Errors
/// When even the hard limit is refused.
pub fn raise_memlock() -> io::Result<()> {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if setrlimit(Resource::Memlock, unlimited).is_ok() {
        return Ok(());
    }
    let maximum = getrlimit(Resource::Memlock).maximum;
    Ok(setrlimit(
        Resource::Memlock,
        Rlimit {
            current: maximum,
            maximum,
        },
    )?)
}

/// CPUs in /sys/devices/system/cpu/`which` (`online`, `possible`).
pub(super) fn cpus(which: &str) -> Result<u32, CannotRun> {
    let path = format!("/sys/devices/system/cpu/{which}");
    count_list(&read(&path)?).ok_or_else(|| CannotRun::new(format!("{path} is not a list of CPUs")))
}

pub(super) fn pid_max() -> Result<u32, CannotRun> {
    let path = "/proc/sys/kernel/pid_max";
    read(path)?
        .trim()
        .parse()
        .map_err(|e| CannotRun::new(format!("{path} is not a number: {e}")))
}

pub(super) fn in_initial_namespace(kind: &str) -> Result<bool, CannotRun> {
    let path = format!("/proc/self/ns/{kind}");
    match fs::read_link(&path) {
        Ok(link) => Ok(INITIAL
            .iter()
            .any(|(k, inode)| *k == kind && link.as_os_str() == format!("{k}:[{inode}]").as_str())),
        // A kernel without this kind of namespace (CONFIG_USER_NS) has only the initial one.
        Err(e)
            if e.kind() == io::ErrorKind::NotFound
                && fs::exists("/proc/self/ns").unwrap_or(false) =>
        {
            Ok(true)
        }
        Err(e) => Err(unreadable(&path, &e)),
    }
}

pub(super) fn effective_capabilities() -> Result<u64, CannotRun> {
    let path = "/proc/self/status";
    let set = line(&read(path)?, "CapEff:").map(|hex| u64::from_str_radix(hex, 16));
    match set {
        Some(Ok(set)) => Ok(set),
        _ => Err(CannotRun::new(format!("{path} shows no capabilities"))),
    }
}

/// A small number under /proc/sys; none if there is no such setting.
pub(super) fn setting(name: &str) -> Option<u8> {
    fs::read_to_string(format!("/proc/sys/{name}"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn read(path: &str) -> Result<String, CannotRun> {
    fs::read_to_string(path).map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &str, error: &io::Error) -> CannotRun {
    CannotRun::new(format!(
        "could not read {path}: {error}; mount /proc and /sys"
    ))
}

fn line<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|l| l.strip_prefix(key))
        .map(str::trim)
}

/// Members of `0-3,8,10-11`; none if malformed or empty.
fn count_list(list: &str) -> Option<u32> {
    let mut count = 0_u32;
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_counted() {
        for (list, count) in [
            ("0\n", Some(1)),
            ("0-1\n", Some(2)),
            ("0-3,8,10-11\n", Some(7)),
        ] {
            assert_eq!(count_list(list), count);
        }
        for garbage in ["", "3-1", "a", "0-4294967295", "1,,2"] {
            assert_eq!(count_list(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn a_zombie_has_ended_unless_its_threads_live() {
        let stat = |state: &str, threads: u32| {
            format!("7 (a) b) {state} 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 {threads} 0 5 0")
        };
        assert!(lives(&stat("S", 1)) && lives(&stat("Z", 2)));
        assert!(!lives(&stat("Z", 1)) && !lives(&stat("X", 0)) && !lives(""));
    }

    #[test]
    fn our_own_process_is_known() {
        assert!(process_lives(std::process::id()));
        assert!(!process_lives(0));
        assert!(!process_lives(u32::MAX));
        assert!(own_rss_peak().is_some_and(|bytes| bytes > 100_000));
        let first = monotonic_ns();
        assert!(monotonic_ns() >= first && first > 0);
    }
}
