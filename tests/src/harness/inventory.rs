//! What there is in the kernel and in the file system that a killed run could leave behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::procs;

const PROG_GET_NEXT_ID: libc::c_long = 11;
const MAP_GET_NEXT_ID: libc::c_long = 12;
const LINK_GET_NEXT_ID: libc::c_long = 31;

/// Compared before and after: what is in the second and not in the first was left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    things: BTreeSet<String>,
    /// Of this network namespace; and of the whole machine where nobody else is on it.
    sockets: BTreeMap<&'static str, u64>,
}

impl Inventory {
    /// Everything that can be seen from here; `own` is a folder that only the program under test writes to.
    /// `alone`: nobody else makes sockets on this machine.
    pub fn take(own: &Path, alone: bool) -> Inventory {
        let mut things = BTreeSet::new();
        for (what, command) in [
            ("program", PROG_GET_NEXT_ID),
            ("map", MAP_GET_NEXT_ID),
            ("link", LINK_GET_NEXT_ID),
        ] {
            things.extend(
                ids(command)
                    .into_iter()
                    .map(|id| format!("BPF {what} {id}")),
            );
        }
        things.extend(namespaces());
        things.extend(mounts());
        for folder in ["/dev/shm", "/run", "/sys/fs/bpf", "/sys/class/net"]
            .map(Path::new)
            .into_iter()
            .chain([own])
        {
            things.extend(entries(folder));
        }
        things.extend(loop_devices());
        things.extend(cgroups().into_iter().map(|path| format!("cgroup {path}")));
        things.extend(
            procs::descendants(std::process::id())
                .iter()
                .map(|proc| format!("process {proc:?}")),
        );
        Inventory {
            things,
            sockets: sockets(alone),
        }
    }

    /// What this one has and `before` had not.
    pub fn beyond(&self, before: &Inventory) -> Vec<String> {
        let more = self
            .sockets
            .iter()
            .filter(|(kind, count)| before.sockets.get(*kind) < Some(*count));
        let more = more.map(|(kind, count)| format!("sockets {kind} {count}"));
        self.things
            .difference(&before.things)
            .cloned()
            .chain(more)
            .collect()
    }
}

/// Ids of all BPF objects of a kind.
fn ids(command: libc::c_long) -> Vec<u32> {
    let mut ids = Vec::new();
    // union bpf_attr of the GET_NEXT_ID commands: start_id, next_id, open_flags.
    let mut attr = [0_u32; 3];
    loop {
        // SAFETY: the attribute is as long as said, and the kernel writes `next_id` only.
        let done = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                attr.as_mut_ptr(),
                size_of_val(&attr),
            )
        };
        if done < 0 {
            let error = std::io::Error::last_os_error();
            assert_eq!(
                error.raw_os_error(),
                Some(libc::ENOENT),
                "listing BPF objects: {error}"
            );
            return ids;
        }
        ids.push(attr[1]);
        attr[0] = attr[1];
    }
}

/// Namespaces that a process lives in, or holds open.
fn namespaces() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for proc in procs::all() {
        for kind in ["net", "mnt", "pid", "cgroup"] {
            let link = fs::read_link(format!("/proc/{}/ns/{kind}", proc.pid));
            found.extend(
                link.ok()
                    .map(|link| format!("namespace {}", link.display())),
            );
        }
        for entry in fs::read_dir(format!("/proc/{}/fd", proc.pid))
            .into_iter()
            .flatten()
            .flatten()
        {
            let link = fs::read_link(entry.path()).unwrap_or_default();
            if link.as_os_str().as_bytes().ends_with(b"]") && link.starts_with("net:") {
                found.insert(format!("namespace {}", link.display()));
            }
        }
    }
    found
}

fn mounts() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
    table.lines().map(|line| format!("mount {line}")).collect()
}

/// Those with something behind them.
pub fn loop_devices() -> Vec<String> {
    let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let backed = disks.filter_map(|disk| {
        let backing = fs::read_to_string(disk.path().join("loop/backing_file")).ok()?;
        Some(format!(
            "loop device {} on {}",
            disk.path().display(),
            backing.trim()
        ))
    });
    backed.collect()
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| format!("file {}", entry.path().display()))
        .collect()
}

/// Every cgroup of version 2, and of version 1 those with a memory limit.
fn cgroups() -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Vec<_> = cgroup2().into_iter().chain(cgroup1_memory()).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(entry.path().display().to_string());
                open.push(entry.path());
            }
        }
    }
    found
}

/// Where the version 2 hierarchy is mounted.
pub fn cgroup2() -> Option<PathBuf> {
    mounted(|kind, _| kind == "cgroup2")
}

fn cgroup1_memory() -> Option<PathBuf> {
    mounted(|kind, options| kind == "cgroup" && options.split(',').any(|one| one == "memory"))
}

fn mounted(wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    let table = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut mounts = table
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    mounts
        .find(|fields| fields.len() > 3 && wanted(fields[2], fields[3]))
        .map(|fields| fields[1].into())
}

/// `sockets: used 3`, `TCP: inuse 1 orphan 0 tw 0 alloc 4 mem 0`: used and inuse are the namespace's own.
fn sockets(alone: bool) -> BTreeMap<&'static str, u64> {
    let table = fs::read_to_string("/proc/net/sockstat").expect("the counts of sockets");
    let own = ["used", "inuse", "alloc"]
        .into_iter()
        .take(if alone { 3 } else { 2 });
    let count = |kind: &str| {
        let lines = table
            .lines()
            .filter(|line| line.starts_with("sockets:") || line.starts_with("TCP:"));
        let mut words = lines
            .flat_map(str::split_whitespace)
            .skip_while(|word| *word != kind);
        words
            .nth(1)
            .and_then(|count| count.parse().ok())
            .expect("a count of sockets")
    };
    own.map(|kind| (kind, count(kind))).collect()
}
