//! Independent counts: /proc/meminfo, the task's own I/O and faults, mincore(2), cachestat(2).

use std::fs::{self, File};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::PAGE;
use crate::lab::mapping::Mapping;

/// Of /proc/meminfo, in pages; or how it changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub buffers: i64,
    pub cached: i64,
    pub shmem: i64,
    pub swap_cached: i64,
}

impl Memory {
    /// # Errors
    /// No /proc/meminfo.
    pub fn read() -> Result<Memory> {
        let text = fs::read_to_string("/proc/meminfo").context("could not read /proc/meminfo")?;
        let pages = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib: i64 = line
                .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
                .unwrap_or(0);
            kib * 1024 / PAGE as i64
        };
        Ok(Memory {
            buffers: pages("Buffers:"),
            cached: pages("Cached:"),
            shmem: pages("Shmem:"),
            swap_cached: pages("SwapCached:"),
        })
    }

    #[must_use]
    pub fn since(&self, before: &Memory) -> Memory {
        Memory {
            buffers: self.buffers - before.buffers,
            cached: self.cached - before.cached,
            shmem: self.shmem - before.shmem,
            swap_cached: self.swap_cached - before.swap_cached,
        }
    }

    /// Pages of files: `Cached` without what lies in shared memory.
    pub fn files(&self) -> i64 {
        self.cached - self.shmem
    }
}

/// Of the calling thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskIo {
    /// /proc/PID/io: fetched from the device on behalf of the task.
    pub read_bytes: u64,
    /// Made dirty by it.
    pub write_bytes: u64,
    pub minor_faults: u64,
    pub major_faults: u64,
}

impl TaskIo {
    /// # Errors
    /// No /proc/thread-self.
    pub fn read() -> Result<TaskIo> {
        // A kernel without task I/O accounting has no such file.
        let text = fs::read_to_string("/proc/thread-self/io").unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse().ok())
                .unwrap_or(0)
        };
        // SAFETY: getrusage fills in the struct it is given.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            if libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) != 0 {
                return Err(std::io::Error::last_os_error()).context("getrusage");
            }
            usage
        };
        Ok(TaskIo {
            read_bytes: field("read_bytes:"),
            write_bytes: field("write_bytes:"),
            minor_faults: usage.ru_minflt.cast_unsigned(),
            major_faults: usage.ru_majflt.cast_unsigned(),
        })
    }

    #[must_use]
    pub fn since(&self, before: &TaskIo) -> TaskIo {
        TaskIo {
            read_bytes: self.read_bytes.saturating_sub(before.read_bytes),
            write_bytes: self.write_bytes.saturating_sub(before.write_bytes),
            minor_faults: self.minor_faults.saturating_sub(before.minor_faults),
            major_faults: self.major_faults.saturating_sub(before.major_faults),
        }
    }
}

/// What cachestat(2) says of the file (6.5 and later), in pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[repr(C)]
pub struct CacheStat {
    pub cache: u64,
    pub dirty: u64,
    pub writeback: u64,
    pub evicted: u64,
    pub recently_evicted: u64,
}

/// Pages of the file's first `bytes` that are in memory, by mincore(2) and by cachestat(2).
///
/// # Errors
/// The file cannot be mapped.
pub fn resident(file: &File, bytes: u64) -> Result<(u64, Option<CacheStat>)> {
    if bytes == 0 {
        return Ok((0, None));
    }
    let there = Mapping::new(file, bytes)?.resident()?;
    Ok((there, cachestat(file, bytes)))
}

fn cachestat(file: &File, bytes: u64) -> Option<CacheStat> {
    const SYS_CACHESTAT: libc::c_long = 451;
    let range = [0u64, bytes];
    let mut stat = CacheStat::default();
    // SAFETY: the kernel reads the range and fills in the struct.
    let outcome = unsafe {
        libc::syscall(
            SYS_CACHESTAT,
            file.as_raw_fd(),
            range.as_ptr(),
            &raw mut stat,
            0,
        )
    };
    (outcome == 0).then_some(stat)
}
