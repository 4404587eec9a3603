//! A ring of io_uring for scripts: submits without waiting, and looks for completions within the budget.

use std::io;
use std::os::fd::RawFd;

use anyhow::{Context as _, Result, anyhow};
use io_uring::{IoUring, opcode, squeue, types};

use super::script::Stage;

pub use io_uring::squeue::Entry;

pub struct Ring(IoUring);

/// A completion as the ring shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaped {
    pub user_data: u64,
    /// Bytes or minus errno.
    pub res: i32,
}

impl Ring {
    /// # Errors
    /// This kernel has no io_uring, or it is not allowed here (sysctl kernel.io_uring_disabled).
    pub fn new(entries: u32) -> Result<Ring> {
        let ring = IoUring::new(entries);
        let told = |error: io::Error| {
            anyhow!("no io_uring here: {error}; is kernel.io_uring_disabled set?")
        };
        Ok(Ring(ring.map_err(told)?))
    }

    /// # Errors
    /// The submission queue is full.
    pub fn push(&mut self, entry: &Entry) -> Result<()> {
        // SAFETY: the scripts' buffers live until their requests are reaped or the ring is gone.
        let pushed = unsafe { self.0.submission().push(entry) };
        pushed.context("the submission queue is full")
    }

    /// `io_uring_enter` that waits for nothing.
    ///
    /// # Errors
    /// The kernel's.
    pub fn submit(&mut self) -> io::Result<usize> {
        self.0.submit()
    }

    /// Completions that the ring shows now, without asking the kernel.
    pub fn shown(&mut self) -> usize {
        self.0.completion().len()
    }

    /// Takes `count` completions out of the ring, in its order.
    ///
    /// # Errors
    /// The budget is spent, or the kernel's.
    pub fn reap(&mut self, stage: &Stage, count: usize) -> Result<Vec<Reaped>> {
        stage.wait("the ring shows the completions", || {
            if self.shown() < count {
                // Runs what the kernel has put off until this task comes by.
                let flags = 1; // IORING_ENTER_GETEVENTS
                // SAFETY: no argument that the kernel would read.
                unsafe {
                    self.0
                        .submitter()
                        .enter::<libc::sigset_t>(0, 0, flags, None)
                }?;
            }
            Ok((self.shown() >= count).then_some(()))
        })?;
        let taken = self.0.completion().take(count).map(|entry| Reaped {
            user_data: entry.user_data(),
            res: entry.result(),
        });
        Ok(taken.collect())
    }
}

pub fn nop() -> Entry {
    opcode::Nop::new().build()
}

pub fn read(fd: RawFd, buffer: &mut [u8], offset: u64) -> Entry {
    let len = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
    opcode::Read::new(types::Fd(fd), buffer.as_mut_ptr(), len)
        .offset(offset)
        .build()
}

pub fn receive(fd: RawFd, buffer: &mut [u8]) -> Entry {
    let len = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
    opcode::Recv::new(types::Fd(fd), buffer.as_mut_ptr(), len).build()
}

pub fn fsync(fd: RawFd) -> Entry {
    opcode::Fsync::new(types::Fd(fd)).build()
}

/// To be given to a worker at once (IOSQE_ASYNC).
pub fn forced(entry: Entry) -> Entry {
    entry.flags(squeue::Flags::ASYNC)
}
