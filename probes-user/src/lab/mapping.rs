//! A file's bytes as memory, and memory of one's own.

use std::os::fd::AsFd;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use anyhow::{Context, Result};

const PAGE: usize = 4096;

/// Unmapped when dropped.
pub struct Mapping {
    start: *mut libc::c_void,
    len: usize,
}

// SAFETY: plain memory that goes with its owner.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Of a file, for reading.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(file: &impl AsFd, len: u64) -> Result<Mapping> {
        Mapping::make(
            usize::try_from(len)?,
            libc::PROT_READ,
            libc::MAP_SHARED,
            Some(file.as_fd()),
        )
    }

    /// Of nobody's but this process's, every page touched.
    ///
    /// # Errors
    /// No memory.
    pub fn anonymous(len: usize) -> Result<Mapping> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        let mapping = Mapping::make(len, libc::PROT_READ | libc::PROT_WRITE, flags, None)?;
        // SAFETY: the whole of what was mapped just now, writable.
        unsafe { std::ptr::write_bytes(mapping.start.cast::<u8>(), 1, len) };
        Ok(mapping)
    }

    fn make(
        len: usize,
        prot: libc::c_int,
        flags: libc::c_int,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<Mapping> {
        let fd = file.map_or(-1, |file| file.as_raw_fd());
        // SAFETY: at an address of the kernel's choice.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error()).context("mmap");
        }
        Ok(Mapping { start, len })
    }

    pub fn as_ptr(&self) -> *mut u8 {
        self.start.cast()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its pages that are in memory, by mincore(2).
    ///
    /// # Errors
    /// The kernel's.
    pub fn resident(&self) -> Result<u64> {
        let mut states = vec![0u8; self.len.div_ceil(PAGE)];
        // SAFETY: a byte for each page of the mapping.
        let done = unsafe { libc::mincore(self.start, self.len, states.as_mut_ptr()) };
        if done != 0 {
            return Err(std::io::Error::last_os_error()).context("mincore");
        }
        Ok(states.iter().filter(|state| **state & 1 != 0).count() as u64)
    }

    /// Reads a byte of each page, in order.
    pub fn touch(&self) {
        for byte in self.bytes().iter().step_by(PAGE) {
            // SAFETY: a byte of the mapping; volatile, so that it is really read.
            unsafe { std::ptr::read_volatile(byte) };
        }
    }

    /// The bytes, which nobody else writes while this is looked at.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped and readable as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `make`.
        let _unmapped = unsafe { libc::munmap(self.start, self.len) };
    }
}
