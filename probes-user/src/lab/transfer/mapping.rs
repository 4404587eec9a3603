//! A file's bytes as memory, and memory of one's own.

use std::os::fd::AsFd;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use anyhow::{Context, Result};

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
