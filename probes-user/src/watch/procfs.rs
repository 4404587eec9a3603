//! The watcher's only reader of /proc: tasks, descriptors, socket tables.
//!
//! A process may end between any two reads, so whatever cannot be read is taken as gone. The address
//! table of /proc/PID/net holds the sockets of the namespace that PID is in now: a listener made before a
//! change of namespace, or received from elsewhere, does not stand in it.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;

use procfs::net::TcpState;
use procfs::process::{FDTarget, Process, Syscall, all_processes};

use crate::trace::herd::marks::TaskMark;

/// A process as the scan for descendants and names wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub ppid: u32,
    pub comm: String,
}

/// All processes (thread groups) by pid.
///
/// # Errors
/// /proc is not mounted.
pub fn processes() -> Result<BTreeMap<u32, Entry>, String> {
    let all = all_processes().map_err(|error| error.to_string())?;
    let entry = |process: Process| {
        let stat = process.stat().ok()?;
        Some((
            process.pid.unsigned_abs(),
            Entry {
                ppid: stat.ppid.unsigned_abs(),
                comm: stat.comm,
            },
        ))
    };
    Ok(all.flatten().filter_map(entry).collect())
}

/// The thread group of a pid or thread id; None = no such task.
pub fn thread_group(pid: u32) -> Option<u32> {
    Some(process(pid)?.status().ok()?.tgid.unsigned_abs())
}

/// All threads of a process.
pub fn threads(tgid: u32) -> Vec<TaskMark> {
    let Some(tasks) = process(tgid).and_then(|process| process.tasks().ok()) else {
        return Vec::new();
    };
    let mark = |task: procfs::process::Task| {
        let stat = task.stat().ok()?;
        let syscall = match task.syscall() {
            Ok(Syscall::Blocked { syscall_number, .. }) => u32::try_from(syscall_number).ok(),
            _ => None,
        };
        Some(TaskMark {
            pid: task.tid.unsigned_abs(),
            tgid,
            ppid: stat.ppid.unsigned_abs(),
            comm: stat.comm,
            asleep: stat.state == 'S',
            syscall,
        })
    };
    tasks.flatten().filter_map(mark).collect()
}

/// Inode number of the process's network namespace.
pub fn netns(tgid: u32) -> Option<u32> {
    let link = std::fs::read_link(format!("/proc/{tgid}/ns/net")).ok()?;
    link.to_str()?
        .strip_prefix("net:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// Listening TCP sockets of the process's network namespace: address by socket inode.
pub fn listeners(tgid: u32) -> BTreeMap<u64, SocketAddr> {
    let Some(process) = process(tgid) else {
        return BTreeMap::new();
    };
    // IPv6 may be absent from the kernel.
    let tables = [process.tcp(), process.tcp6()];
    let entries = tables.into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.state == TcpState::Listen)
        .map(|entry| (entry.inode, entry.local_address))
        .collect()
}

/// Socket inode and event mask of one epoll registration.
pub type Interest = (u64, u32);

/// All processes, in order of their pids.
pub fn pids() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    pids
}

/// Inodes of the sockets that a process has descriptors of, and nothing more: cheap enough for all processes.
pub fn sockets(tgid: u32) -> Vec<u64> {
    let entries = std::fs::read_dir(format!("/proc/{tgid}/fd"));
    let links = entries.into_iter().flatten().flatten();
    links
        .filter_map(|entry| {
            let link = std::fs::read_link(entry.path()).ok()?;
            let inode = link.to_str()?.strip_prefix("socket:[")?;
            inode.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

pub fn comm(tgid: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{tgid}/comm")).ok()?;
    Some(text.trim_end().to_owned())
}

/// What a process's descriptors refer to.
#[derive(Debug, Default)]
pub struct Descriptors {
    /// Socket inodes, once per descriptor.
    pub sockets: Vec<u64>,
    /// One list per epoll descriptor.
    pub epolls: Vec<Vec<Interest>>,
}

pub fn descriptors(tgid: u32) -> Descriptors {
    let mut found = Descriptors::default();
    let Some(process) = process(tgid) else {
        return found;
    };
    let Ok(descriptors) = process.fd() else {
        return found;
    };
    for descriptor in descriptors.flatten() {
        match descriptor.target {
            FDTarget::Socket(inode) => found.sockets.push(inode),
            FDTarget::AnonInode(name) if name.contains("[eventpoll]") => {
                found.epolls.push(interests(&process, descriptor.fd));
            }
            _ => {}
        }
    }
    found
}

fn interests(process: &Process, fd: i32) -> Vec<Interest> {
    let mut text = String::new();
    match process
        .open_relative(format!("fdinfo/{fd}"))
        .map(|mut file| file.read_to_string(&mut text))
    {
        Ok(Ok(_)) => text.lines().filter_map(interest).collect(),
        _ => Vec::new(),
    }
}

/// EPOLLERR and EPOLLHUP, which the kernel adds to every mask (fs/eventpoll.c, do_epoll_ctl).
const ALWAYS: u32 = 0x8 | 0x10;

/// `tfd: 3 events: 19 data: 0  pos:0 ino:1f3 sdev:8`. The inode names the socket; the descriptor number
/// is the one it had where it was registered, perhaps in another process.
fn interest(line: &str) -> Option<Interest> {
    let events = line
        .strip_prefix("tfd:")?
        .split_once("events:")?
        .1
        .split_whitespace()
        .next()?;
    let inode = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("ino:"))?;
    Some((
        u64::from_str_radix(inode, 16).ok()?,
        u32::from_str_radix(events, 16).ok()? & !ALWAYS,
    ))
}

/// Mount points of cgroup hierarchies, the unified one first.
pub fn cgroup_mounts() -> Vec<PathBuf> {
    let mounts = Process::myself()
        .and_then(|own| own.mountinfo())
        .map(|mounts| mounts.0)
        .unwrap_or_default();
    let of_type = |name| mounts.iter().filter(move |mount| mount.fs_type == name);
    of_type("cgroup2")
        .chain(of_type("cgroup"))
        .map(|mount| mount.mount_point.clone())
        .collect()
}

fn process(pid: u32) -> Option<Process> {
    Process::new(i32::try_from(pid).ok().filter(|&pid| pid > 0)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fdinfo_lines_of_epoll_are_read() {
        let line =
            "tfd:        6 events: 80000019 data:         55d1c0de0010  pos:0 ino:1f3a sdev:9";
        assert_eq!(interest(line), Some((0x1f3a, 0x8000_0001)));
        assert_eq!(interest("pos:\t0"), None);
        assert_eq!(
            interest("tfd: 6 events: zz data: 0 pos:0 ino:1 sdev:9"),
            None
        );
    }

    #[test]
    fn own_threads_are_listed() {
        let own = std::process::id();
        let threads = threads(own);
        assert!(threads.iter().any(|task| task.pid == own));
        assert!(threads.iter().all(|task| task.tgid == own));
        let tid = rustix::thread::gettid()
            .as_raw_nonzero()
            .get()
            .unsigned_abs();
        assert_eq!(thread_group(tid), Some(own));
        assert_eq!(thread_group(0), None);
    }
}
