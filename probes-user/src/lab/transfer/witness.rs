//! What the kernel itself has counted of the sending thread: the independent witness of the probes.
//!
//! From getrusage and /proc/thread-self/io. The usage is read until it stands still around a clock reading: then
//! no switch came between, and events before and after that moment are on the right side.

use std::fs::File;
use std::io::Read as _;
use std::mem::MaybeUninit;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::lab::shared::now;

/// Of one thread, from one moment to another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// CLOCK_MONOTONIC.
    pub since: u64,
    pub until: u64,
    pub voluntary: u64,
    pub involuntary: u64,
    pub minor_faults: u64,
    pub major_faults: u64,
    pub user_ns: u64,
    /// In user mode and in the kernel.
    pub cpu_ns: u64,
    /// From /proc/PID/io; None = this kernel keeps no such account.
    pub io: Option<Io>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Io {
    /// What calls like read() returned, in sum, and how many there were.
    pub rchar: u64,
    pub syscr: u64,
    pub wchar: u64,
    pub syscw: u64,
    /// Bytes that storage had to deliver.
    pub read_bytes: u64,
}

/// A moment of the calling thread.
#[derive(Debug, Clone)]
pub struct Moment {
    at: u64,
    usage: [u64; 5],
    cpu_ns: u64,
    io: Option<(Io, u64)>,
}

impl Moment {
    /// Before what is to be measured.
    ///
    /// # Errors
    /// The kernel's.
    pub fn before() -> Result<Moment> {
        let io = io();
        let (at, usage) = settled()?;
        Ok(Moment {
            at,
            usage,
            cpu_ns: cpu_ns()?,
            io,
        })
    }

    /// After it: what has come to it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn until_now(&self) -> Result<Witness> {
        let cpu_ns = cpu_ns()?;
        let (until, usage) = settled()?;
        let less = |index: usize| usage[index] - self.usage[index];
        // The first reading of /proc was itself a read().
        let io = self.io.zip(io()).map(|((before, own), (after, _))| Io {
            rchar: (after.rchar - before.rchar).saturating_sub(own),
            syscr: (after.syscr - before.syscr).saturating_sub(1),
            wchar: after.wchar - before.wchar,
            syscw: after.syscw - before.syscw,
            read_bytes: after.read_bytes - before.read_bytes,
        });
        Ok(Witness {
            since: self.at,
            until,
            voluntary: less(0),
            involuntary: less(1),
            minor_faults: less(2),
            major_faults: less(3),
            user_ns: less(4),
            cpu_ns: cpu_ns - self.cpu_ns,
            io,
        })
    }
}

fn usage() -> Result<[u64; 5]> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: writes one rusage.
    let done = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
    if done != 0 {
        return Err(std::io::Error::last_os_error()).context("getrusage");
    }
    // SAFETY: written, and zero is valid too.
    let usage = unsafe { usage.assume_init() };
    let user = usage.ru_utime.tv_sec * 1_000_000_000 + usage.ru_utime.tv_usec * 1000;
    Ok([
        usage.ru_nvcsw,
        usage.ru_nivcsw,
        usage.ru_minflt,
        usage.ru_majflt,
        user,
    ]
    .map(i64::unsigned_abs))
}

fn settled() -> Result<(u64, [u64; 5])> {
    loop {
        let before = usage()?;
        let at = now();
        let after = usage()?;
        if before[..2] == after[..2] {
            return Ok((at, after));
        }
    }
}

fn cpu_ns() -> Result<u64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Ok(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

/// With the bytes that were read to know it.
fn io() -> Option<(Io, u64)> {
    let mut text = [0; 1024];
    let len = File::open("/proc/thread-self/io")
        .ok()?
        .read(&mut text)
        .ok()?;
    let text = std::str::from_utf8(&text[..len]).ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line?.trim().parse().ok()
    };
    let io = Io {
        rchar: field("rchar:")?,
        syscr: field("syscr:")?,
        wchar: field("wchar:")?,
        syscw: field("syscw:")?,
        read_bytes: field("read_bytes:")?,
    };
    Some((io, len as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_and_its_bytes_are_counted_exactly() {
        let mut file = File::open("/proc/version").unwrap();
        let before = Moment::before().unwrap();
        let got = file.read(&mut [0; 16]).unwrap();
        let witness = before.until_now().unwrap();
        if let Some(io) = witness.io {
            assert_eq!((io.rchar, io.syscr), (got as u64, 1));
        }
        assert!(witness.until > witness.since);
    }
}
