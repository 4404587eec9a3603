//! The ways to send a file that need no more than a call or two for each piece.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpStream;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::lab::mapping::Mapping;
use crate::lab::script::Stage;

/// Bytes for each call, where a call takes a piece: what a pipe holds by default.
pub const CHUNK: usize = 64 << 10;

/// What the sender says of its own work: the number of its calls is its own count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    pub bytes: u64,
    /// By family, as in `probes_common::copy::FAMILIES`.
    pub calls: BTreeMap<String, u64>,
    /// Sends that asked for zero copy.
    #[serde(default)]
    pub zero_copy_sends: u64,
    /// Of these, those whose completion came, and those that it says were copied after all.
    #[serde(default)]
    pub completed: u64,
    #[serde(default)]
    pub copied: u64,
    /// None = completions of this kernel do not tell.
    #[serde(default)]
    pub tells: Option<bool>,
    /// What threads that the kernel made for the sender spent on a CPU.
    #[serde(default)]
    pub worker_cpu_ns: Option<u64>,
    /// The reader's own memory holds the file's last bytes now.
    #[serde(default)]
    pub in_own_memory: Option<bool>,
}

impl Sent {
    pub fn call(&mut self, family: &str) {
        *self.calls.entry(family.to_owned()).or_default() += 1;
    }
}

/// What is sent where.
pub struct Work<'a> {
    pub file: &'a File,
    pub socket: &'a TcpStream,
    pub size: u64,
    pub stage: &'a Stage,
}

impl Work<'_> {
    /// Length of the piece that begins at `at`.
    pub fn piece(&self, at: u64) -> usize {
        usize::try_from(self.size - at).unwrap_or(CHUNK).min(CHUNK)
    }
}

/// # Errors
/// The call's, or an end where none should be.
pub fn moved(what: &str, ret: isize) -> Result<usize> {
    match usize::try_from(ret) {
        Ok(0) => bail!("{what} moved nothing"),
        Ok(bytes) => Ok(bytes),
        Err(_) => Err(std::io::Error::last_os_error()).with_context(|| what.to_owned()),
    }
}

pub fn read_write(work: &Work<'_>, buffer: &Mapping) -> Result<Sent> {
    let mut sent = Sent::default();
    let (file, socket) = (work.file.as_raw_fd(), work.socket.as_raw_fd());
    while sent.bytes < work.size {
        work.stage.check()?;
        let len = work.piece(sent.bytes);
        // SAFETY: the buffer has CHUNK bytes.
        let got = unsafe { libc::read(file, buffer.as_ptr().cast(), len) };
        sent.call("read");
        let got = moved("read", got)?;
        write_all(socket, buffer.as_ptr(), got, &mut sent)?;
    }
    Ok(sent)
}

/// `len` readable bytes at `from`.
fn write_all(socket: i32, from: *const u8, len: usize, sent: &mut Sent) -> Result<()> {
    let mut done = 0;
    while done < len {
        // SAFETY: the caller's memory.
        let put = unsafe { libc::write(socket, from.add(done).cast(), len - done) };
        sent.call("write");
        done += moved("write", put)?;
    }
    sent.bytes += len as u64;
    Ok(())
}

pub fn mmap_write(work: &Work<'_>) -> Result<Sent> {
    let mut sent = Sent::default();
    sent.call("mmap");
    let map = Mapping::new(work.file, work.size)?;
    while sent.bytes < work.size {
        work.stage.check()?;
        let len = work.piece(sent.bytes);
        let from = map.bytes()[usize::try_from(sent.bytes)?..].as_ptr();
        write_all(work.socket.as_raw_fd(), from, len, &mut sent)?;
    }
    sent.call("mmap");
    drop(map);
    Ok(sent)
}

/// `whole`: one call is asked to send all.
pub fn sendfile(work: &Work<'_>, whole: bool) -> Result<Sent> {
    let mut sent = Sent::default();
    let (file, socket) = (work.file.as_raw_fd(), work.socket.as_raw_fd());
    while sent.bytes < work.size {
        work.stage.check()?;
        let len = match whole {
            true => usize::try_from(work.size - sent.bytes)?,
            false => work.piece(sent.bytes),
        };
        // SAFETY: no memory is passed.
        let put = unsafe { libc::sendfile(socket, file, std::ptr::null_mut(), len) };
        sent.call("sendfile");
        sent.bytes += moved("sendfile", put)? as u64;
    }
    Ok(sent)
}

/// Through a pipe: (its end to read from, its end to write to).
pub fn splice(work: &Work<'_>, pipe: &(OwnedFd, OwnedFd)) -> Result<Sent> {
    let mut sent = Sent::default();
    let (file, socket) = (work.file.as_raw_fd(), work.socket.as_raw_fd());
    let (from_pipe, to_pipe) = (pipe.0.as_raw_fd(), pipe.1.as_raw_fd());
    let one = |from: i32, to: i32, len: usize, sent: &mut Sent| {
        let none = std::ptr::null_mut();
        // SAFETY: no memory is passed.
        let ret = unsafe { libc::splice(from, none, to, none, len, libc::SPLICE_F_MOVE) };
        sent.call("splice");
        moved("splice", ret)
    };
    while sent.bytes < work.size {
        work.stage.check()?;
        let len = work.piece(sent.bytes);
        let got = one(file, to_pipe, len, &mut sent)?;
        let mut done = 0;
        while done < got {
            done += one(from_pipe, socket, got - done, &mut sent)?;
        }
        sent.bytes += got as u64;
    }
    Ok(sent)
}
