//! The herd's shared memory: what the tool tells its children, and what they count.
//!
//! Every child writes its own cells only, except the log of accepted connections, whose slots are handed
//! out by an atomic counter, so a worker's entries stand in the order in which it accepted.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::io::Errno;

use super::failure::{Failure, Step};
use crate::lab::shared::{Cell, Shared, park};

/// What the gate shows.
pub const PARKED: u32 = 0;
pub const RUN: u32 = 1;
pub const END: u32 = 2;

/// A child's state. 0 = not yet begun.
pub const AT_GATE: u32 = 1;
/// Worker: about to enter, or inside, its waiting system call.
pub const WAITING: u32 = 2;
/// Worker: outside its waiting call. Client: at work.
pub const BUSY: u32 = 3;
/// Client: all connections made and accepted, all workers asleep again.
pub const DONE: u32 = 4;

#[repr(C, align(64))]
#[derive(Default)]
pub struct Head {
    pub gate: AtomicU32,
    pub master: AtomicU32,
    pub client: AtomicU32,
    pub client_pid: AtomicU32,
    /// Connections whose connect() returned.
    pub made: AtomicU64,
    /// Connections accepted, by whomever; written after the log entry.
    pub accepted: AtomicU64,
    log_slots: AtomicU64,
    /// Steps the client has begun: stands still when it hangs.
    pub client_steps: AtomicU64,
    failed_step: AtomicU32,
    failed_errno: AtomicU32,
    failed_who: AtomicU32,
    /// The accept mutex: pid of its holder, 0 = free.
    pub accept_mutex: AtomicU32,
}

#[repr(C, align(64))]
#[derive(Default)]
pub struct WorkerCell {
    pub pid: AtomicU32,
    pub state: AtomicU32,
    /// Did the client find it asleep when it looked last?
    pub seen_asleep: AtomicU32,
    _pad: AtomicU32,
    pub accepted: AtomicU64,
    pub eagain: AtomicU64,
    pub returns: AtomicU64,
}

#[repr(C)]
#[derive(Default)]
pub struct ConnectionCell {
    /// 0 = not begun. Written last before connect().
    pub begun_at: AtomicU64,
    pub connected_at: AtomicU64,
    pub phase: AtomicU32,
    pub client_port: AtomicU32,
}

// SAFETY: atomics only, valid when zero, no Drop.
unsafe impl Cell for Head {}
// SAFETY: as above.
unsafe impl Cell for WorkerCell {}
// SAFETY: as above.
unsafe impl Cell for ConnectionCell {}

pub struct Board {
    memory: Shared,
    workers: usize,
    connections: usize,
}

impl Board {
    /// # Errors
    /// No memory.
    pub fn new(workers: usize, connections: usize) -> io::Result<Board> {
        let bytes = size_of::<Head>()
            + workers * size_of::<WorkerCell>()
            + connections * (size_of::<ConnectionCell>() + size_of::<AtomicU32>());
        Ok(Board {
            memory: Shared::new(bytes)?,
            workers,
            connections,
        })
    }

    pub fn head(&self) -> &Head {
        &self.memory.cells(0, 1)[0]
    }

    pub fn workers(&self) -> &[WorkerCell] {
        self.memory.cells(size_of::<Head>(), self.workers)
    }

    pub fn connections(&self) -> &[ConnectionCell] {
        let offset = size_of::<Head>() + self.workers * size_of::<WorkerCell>();
        self.memory.cells(offset, self.connections)
    }

    fn log(&self) -> &[AtomicU32] {
        let offset = size_of::<Head>()
            + self.workers * size_of::<WorkerCell>()
            + self.connections * size_of::<ConnectionCell>();
        self.memory.cells(offset, self.connections)
    }

    /// A worker has accepted the connection from this client port.
    pub fn log_accept(&self, worker: usize, client_port: u16) {
        let slot = self.head().log_slots.fetch_add(1, Ordering::Relaxed);
        if let Some(entry) = usize::try_from(slot)
            .ok()
            .and_then(|slot| self.log().get(slot))
        {
            entry.store(
                (worker as u32) << 16 | u32::from(client_port),
                Ordering::Relaxed,
            );
        }
        if let Some(cell) = self.workers().get(worker) {
            cell.accepted.fetch_add(1, Ordering::Relaxed);
        }
        self.head().accepted.fetch_add(1, Ordering::Release);
    }

    /// Client ports in the order in which this worker accepted them.
    pub fn accepted_ports(&self, worker: usize) -> Vec<u16> {
        let taken = self.head().accepted.load(Ordering::Acquire);
        let taken = usize::try_from(taken).unwrap_or(usize::MAX);
        let entries = self
            .log()
            .iter()
            .take(taken)
            .map(|entry| entry.load(Ordering::Relaxed));
        entries
            .filter(|entry| *entry >> 16 == worker as u32 && *entry & 0xffff != 0)
            .map(|entry| entry as u16)
            .collect()
    }

    /// Records the first failure; later ones follow from it.
    pub fn record_failure(&self, step: Step, errno: Option<Errno>, who: u32) {
        let head = self.head();
        if head
            .failed_who
            .compare_exchange(0, who.wrapping_add(3), Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            head.failed_errno.store(
                errno.map_or(0, Errno::raw_os_error).unsigned_abs(),
                Ordering::Relaxed,
            );
            head.failed_step.store(step as u32, Ordering::Release);
        }
    }

    pub fn failure(&self) -> Option<Failure> {
        let head = self.head();
        let step = Step::from_number(head.failed_step.load(Ordering::Acquire))?;
        let errno = head.failed_errno.load(Ordering::Relaxed).cast_signed();
        let errno = (errno != 0).then(|| Errno::from_raw_os_error(errno));
        Some(Failure {
            step,
            errno,
            who: head.failed_who.load(Ordering::Relaxed).wrapping_sub(3),
        })
    }

    /// Records the failure, then blocks until killed: a child that ends would wake others.
    pub fn fail(&self, step: Step, errno: Option<Errno>, who: u32) -> ! {
        self.record_failure(step, errno, who);
        self.rest()
    }

    /// Blocks until the master ends the scene with a signal.
    pub fn rest(&self) -> ! {
        loop {
            let shown = self.head().gate.load(Ordering::Acquire);
            park(&self.head().gate, shown);
        }
    }
}
