//! Linux's own asynchronous I/O (io_submit), which libaio wraps; not POSIX aio, which is threads of glibc.

use std::io;
use std::os::fd::RawFd;

use anyhow::{Context as _, Result};

use super::script::Stage;

const PREAD: u16 = 0;

/// `struct iocb`, little endian (include/uapi/linux/aio_abi.h).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: i32,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    len: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    eventfd: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct IoEvent {
    data: u64,
    iocb: u64,
    res: i64,
    res2: i64,
}

const _: () = assert!(size_of::<Iocb>() == 64 && size_of::<IoEvent>() == 32);

/// Gone with the process at the latest.
pub struct Aio(u64);

impl Aio {
    /// # Errors
    /// The kernel has none (ENOSYS), or no room for more (fs.aio-max-nr).
    pub fn new(depth: u32) -> Result<Aio> {
        let mut context = 0u64;
        // SAFETY: writes one u64.
        let code = unsafe { libc::syscall(libc::SYS_io_setup, depth, &raw mut context) };
        if code != 0 {
            return Err(io::Error::last_os_error()).context("no asynchronous I/O (io_setup)");
        }
        Ok(Aio(context))
    }

    /// One call of io_submit() with these reads (descriptor, buffer, offset); how many it took.
    ///
    /// # Errors
    /// The kernel's.
    pub fn submit_reads(&self, reads: &mut [(RawFd, &mut [u8], i64)]) -> io::Result<usize> {
        let mut blocks: Vec<Iocb> = reads
            .iter_mut()
            .map(|(fd, buffer, offset)| Iocb {
                opcode: PREAD,
                fd: fd.cast_unsigned(),
                buffer: buffer.as_mut_ptr() as u64,
                len: buffer.len() as u64,
                offset: *offset,
                ..Iocb::default()
            })
            .collect();
        let pointers: Vec<*mut Iocb> = blocks.iter_mut().map(std::ptr::from_mut).collect();
        // SAFETY: the blocks live as long as the call, the buffers until they are reaped or the process ends.
        let code = unsafe {
            libc::syscall(
                libc::SYS_io_submit,
                self.0,
                pointers.len(),
                pointers.as_ptr(),
            )
        };
        usize::try_from(code).map_err(|_| io::Error::last_os_error())
    }

    /// What is complete now, without waiting: bytes or minus errno of each.
    ///
    /// # Errors
    /// The kernel's.
    pub fn complete_now(&self) -> io::Result<Vec<i64>> {
        let mut events = [IoEvent::default(); 64];
        let none = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: room for as many events as said.
        let code = unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.0,
                0,
                events.len(),
                events.as_mut_ptr(),
                &raw const none,
            )
        };
        let count = usize::try_from(code).map_err(|_| io::Error::last_os_error())?;
        Ok(events[..count].iter().map(|event| event.res).collect())
    }

    /// # Errors
    /// The budget is spent, or the kernel's.
    pub fn reap(&self, stage: &Stage, count: usize) -> Result<Vec<i64>> {
        let mut all = Vec::new();
        stage.wait("the reads are complete", || {
            all.extend(self.complete_now()?);
            Ok((all.len() >= count).then_some(()))
        })?;
        Ok(all)
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        // SAFETY: takes a number.
        let _gone = unsafe { libc::syscall(libc::SYS_io_destroy, self.0) };
    }
}
