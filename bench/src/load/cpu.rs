//! Processors and their time.

use std::io;
use std::time::Duration;

/// Keeps the calling thread, and what it starts, on one processor.
///
/// # Errors
/// The kernel's: EINVAL without such a processor.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

fn read(clock: libc::clockid_t) -> io::Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: room for one timespec.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// What all threads of this process used so far.
///
/// # Errors
/// The kernel's.
pub fn own() -> io::Result<Duration> {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// What the calling thread used so far.
///
/// # Errors
/// The kernel's.
pub fn thread() -> io::Result<Duration> {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// What all threads of another process used so far.
///
/// # Errors
/// ESRCH: it is gone.
pub fn of_process(pid: u32) -> io::Result<Duration> {
    let mut clock = 0;
    // SAFETY: room for one clock id.
    let failed = unsafe { libc::clock_getcpuclockid(pid as i32, &raw mut clock) };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    read(clock)
}

/// The work of a session is not to wait for that of others (sched_autogroup). Ours alone; not an error where
/// the kernel does not group.
pub fn own_session_first() {
    let _leads = rustix::process::setsid();
    let _not_there = std::fs::write("/proc/self/autogroup", "-15");
}
