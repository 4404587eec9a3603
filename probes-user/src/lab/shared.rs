//! Memory that the lab and its children share: anonymous, so it has no name and dies with them.
//!
//! Everything in it is atomic and valid when zeroed. Children write what they count here instead of
//! sending it: no system calls and no wakeups of their own beside those under test. Parking is a futex in
//! this memory rather than a pipe, because a pipe's end can leak into a child that another thread forks.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix::thread::{ClockId, clock_nanosleep_absolute, futex};
use rustix::time::Timespec;

/// What may lie in shared memory.
///
/// # Safety
/// All bytes zero is a valid value, every field is an atomic (or an array or struct of them), and
/// dropping does nothing.
pub unsafe trait Cell: Sync {}

// SAFETY: an atomic, valid when zero.
unsafe impl Cell for AtomicU32 {}
// SAFETY: an atomic, valid when zero.
unsafe impl Cell for AtomicU64 {}

pub struct Shared {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is only reached through `Cell`s, which are `Sync`; the mapping itself never moves.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Zeroed memory; pages are taken when first written.
    ///
    /// # Errors
    /// No memory.
    pub fn new(len: usize) -> io::Result<Shared> {
        // SAFETY: a new anonymous mapping at an address that the kernel chooses.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
            )?
        };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Shared { base, len })
    }

    /// `count` cells that begin `offset` bytes into the memory.
    ///
    /// # Panics
    /// The range does not lie in the memory or is not aligned.
    pub fn cells<T: Cell>(&self, offset: usize, count: usize) -> &[T] {
        assert!(
            offset.is_multiple_of(align_of::<T>()) && offset + count * size_of::<T>() <= self.len
        );
        // SAFETY: in range and aligned (the base is page-aligned), valid when zeroed and shared by the
        // contract of `Cell`, mapped as long as `self`.
        unsafe { std::slice::from_raw_parts(self.base.add(offset).cast().as_ptr(), count) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; the borrows handed out cannot outlive `self`.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Blocks while the gate shows `value`; returns what it shows then. Works across processes.
pub fn park(gate: &AtomicU32, value: u32) -> u32 {
    loop {
        let now = gate.load(Ordering::Acquire);
        if now != value {
            return now;
        }
        // EAGAIN: it changed just now; EINTR: a signal. Both look again.
        let _ = futex::wait(gate, futex::Flags::empty(), value, None);
    }
}

/// Shows a new value at the gate and lets everyone parked there look at it.
pub fn open(gate: &AtomicU32, value: u32) {
    gate.store(value, Ordering::Release);
    let _ = futex::wake(gate, futex::Flags::empty(), i32::MAX as u32);
}

/// CLOCK_MONOTONIC in nanoseconds, the clock of the events.
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Sleeps through signals too. For forked children: allocates nothing.
pub fn pause(duration: Duration) {
    let until = now() + u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2);
    let until = Timespec {
        tv_sec: (until / 1_000_000_000).cast_signed(),
        tv_nsec: (until % 1_000_000_000).cast_signed(),
    };
    while clock_nanosleep_absolute(ClockId::Monotonic, &until) == Err(Errno::INTR) {}
}

/// How often a waiting loop looks again.
const LOOK_AGAIN: Duration = Duration::from_micros(500);

/// Looks until `fact` holds or the budget is spent; says whether it held.
pub fn await_fact(budget: Duration, mut fact: impl FnMut() -> bool) -> bool {
    let end = now() + u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX / 2);
    loop {
        if fact() {
            return true;
        }
        if now() >= end {
            return false;
        }
        pause(LOOK_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_zero_and_do_not_overlap() {
        let shared = Shared::new(4096).unwrap();
        let first: &[AtomicU32] = shared.cells(0, 2);
        let second: &[AtomicU64] = shared.cells(8, 1);
        first[1].store(7, Ordering::Relaxed);
        assert_eq!(second[0].load(Ordering::Relaxed), 0);
        assert_eq!(first[0].load(Ordering::Relaxed), 0);
    }

    #[test]
    #[should_panic(expected = "assertion")]
    fn cells_past_the_end_are_refused() {
        let shared = Shared::new(64).unwrap();
        shared.cells::<AtomicU64>(56, 2);
    }

    #[test]
    fn parked_thread_leaves_when_the_gate_opens() {
        let shared = Shared::new(4096).unwrap();
        let gate = &shared.cells::<AtomicU32>(0, 1)[0];
        std::thread::scope(|scope| {
            let parked = scope.spawn(|| park(gate, 0));
            pause(Duration::from_millis(5));
            open(gate, 3);
            assert_eq!(parked.join().unwrap(), 3);
        });
    }
}
