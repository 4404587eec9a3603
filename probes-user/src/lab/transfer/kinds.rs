//! sendfile() from and to every kind of file, and mmap() of the same: which error, if any.
//!
//! Everything has something to give or room to take, so that an error is the kernel's answer to the kind and
//! not to an empty pipe. Nothing here can block: sockets and pipes do not wait.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result};
use probes_common::Task;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::source::Source;
use super::{COUNTED, CountedMark};
use crate::lab::counted::Counted;
use crate::lab::script::{Case, Stage};

pub const IN_CASE: &str = "kinds/in-fd";
pub const OUT_CASE: &str = "kinds/out-fd";
pub const TRIED: &str = "tried";

/// Asked for in each call.
const BYTES: usize = 512;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    pub kind: String,
    /// What sendfile moved; or why not.
    pub moved: u64,
    pub errno: i32,
    /// What mmap for reading said; 0 = it gave a mapping.
    pub mmap_errno: i32,
    /// It is a file with a page cache; a socket; neither.
    pub is_file: bool,
    pub is_socket: bool,
}

pub fn cases(budget: Duration) -> Vec<Case> {
    vec![
        Case::new(IN_CASE, budget, |stage| counted(stage, try_in)),
        Case::new(OUT_CASE, budget, |stage| counted(stage, try_out)),
    ]
}

fn counted(stage: &mut Stage, script: fn(&Stage) -> Result<()>) -> Result<()> {
    let phase = stage.act("trying", json!({}));
    let before = stage.view().counted(phase)?;
    super::followed(stage, Task::WATCHED, || script(stage))?;
    let mark = CountedMark {
        sending: stage.view().counted(phase)?.since(&before),
        after: Counted::default(),
    };
    stage.note(COUNTED, serde_json::to_value(mark)?);
    Ok(())
}

struct Kind {
    name: &'static str,
    fd: OwnedFd,
    is_file: bool,
    is_socket: bool,
    /// Keeps the other end open.
    _peer: Option<OwnedFd>,
}

impl Kind {
    fn of(name: &'static str, fd: impl Into<OwnedFd>) -> Kind {
        Kind {
            name,
            fd: fd.into(),
            is_file: false,
            is_socket: false,
            _peer: None,
        }
    }

    fn file(mut self) -> Kind {
        self.is_file = true;
        self
    }

    fn socket(mut self) -> Kind {
        self.is_socket = true;
        self
    }

    fn with(mut self, peer: impl Into<OwnedFd>) -> Kind {
        self._peer = Some(peer.into());
        self
    }
}

fn errno() -> i32 {
    std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or_default()
}

fn tried(kind: &Kind, to: RawFd, from: RawFd) -> Tried {
    // SAFETY: no memory is passed.
    let moved = unsafe { libc::sendfile(to, from, std::ptr::null_mut(), BYTES) };
    let error = if moved < 0 { errno() } else { 0 };
    let flags = (libc::PROT_READ, libc::MAP_SHARED);
    // SAFETY: a new mapping that nobody looks at.
    let map = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            flags.0,
            flags.1,
            kind.fd.as_raw_fd(),
            0,
        )
    };
    let mmap_errno = match map == libc::MAP_FAILED {
        true => errno(),
        false => {
            // SAFETY: mapped just now.
            let _unmapped = unsafe { libc::munmap(map, 4096) };
            0
        }
    };
    Tried {
        kind: kind.name.to_owned(),
        moved: u64::try_from(moved).unwrap_or(0),
        errno: error,
        mmap_errno,
        is_file: kind.is_file,
        is_socket: kind.is_socket,
    }
}

fn try_in(stage: &Stage) -> Result<()> {
    let (socket, _peer) = UnixStream::pair().context("socketpair")?;
    socket.set_nonblocking(true).context("O_NONBLOCK")?;
    for kind in inputs()? {
        let result = tried(&kind, socket.as_raw_fd(), kind.fd.as_raw_fd());
        stage.note(TRIED, serde_json::to_value(result)?);
        stage.check()?;
    }
    Ok(())
}

fn try_out(stage: &Stage) -> Result<()> {
    let source = Source::memfd(1 << 16)?;
    for kind in outputs()? {
        let file = source.open()?;
        let result = tried(&kind, kind.fd.as_raw_fd(), file.as_raw_fd());
        stage.note(TRIED, serde_json::to_value(result)?);
        stage.check()?;
    }
    Ok(())
}

fn open(path: &str) -> Result<File> {
    File::open(path).with_context(|| format!("could not open {path}"))
}

/// A descriptor from a call that returns one.
fn made(fd: RawFd, what: &str) -> Result<OwnedFd> {
    if fd < 0 {
        return Err(std::io::Error::last_os_error()).with_context(|| what.to_owned());
    }
    // SAFETY: made by the caller just now.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).context("pipe")
}

fn tcp() -> Result<(TcpStream, TcpStream)> {
    let (client, server) = super::connected(false)?;
    client.set_nonblocking(true).context("O_NONBLOCK")?;
    Ok((client, server))
}

/// Does the file system of the running program give files with a page cache? They all do; it is a real disk's
/// in most places, and always a file that can be mapped.
fn own_program() -> Result<File> {
    open("/proc/self/exe")
}

fn inputs() -> Result<Vec<Kind>> {
    let memory = Source::memfd(1 << 16)?;
    let (read_end, write_end) = pipe()?;
    rustix::io::write(&write_end, &[7; BYTES]).context("the pipe")?;
    let (client, mut server) = tcp()?;
    server.write_all(&[7; BYTES]).context("the TCP socket")?;
    let (unix, mut unix_peer) = UnixStream::pair().context("socketpair")?;
    unix.set_nonblocking(true).context("O_NONBLOCK")?;
    unix_peer
        .write_all(&[7; BYTES])
        .context("the unix socket")?;
    // SAFETY: makes a descriptor.
    let event = made(unsafe { libc::eventfd(1, libc::EFD_NONBLOCK) }, "eventfd")?;
    let held = memory.open()?;
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    let write_only = OpenOptions::new().write(true).open(&path);
    let mut kinds = vec![
        Kind::of("file on a file system", own_program()?).file(),
        Kind::of("memfd (tmpfs)", held).file(),
        Kind::of("proc file (/proc/version)", open("/proc/version")?),
        Kind::of("proc file (/proc/self/status)", open("/proc/self/status")?),
        Kind::of(
            "sysfs file",
            open("/sys/kernel/mm/transparent_hugepage/enabled")
                .or_else(|_| open("/sys/devices/system/cpu/possible"))?,
        ),
        Kind::of("pipe", read_end).with(write_end),
        Kind::of("TCP socket", client).socket().with(server),
        Kind::of("unix socket", unix).socket().with(unix_peer),
        Kind::of("device /dev/zero", open("/dev/zero")?),
        Kind::of("device /dev/urandom", open("/dev/urandom")?),
        Kind::of("eventfd", event),
        Kind::of("directory", open("/proc/self")?),
    ];
    if let Ok(file) = write_only {
        kinds.push(Kind::of("memfd opened for writing only", file));
    }
    Ok(kinds)
}

fn outputs() -> Result<Vec<Kind>> {
    let memory = Source::memfd(1 << 12)?;
    let held = memory.open()?;
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    let written = OpenOptions::new()
        .write(true)
        .open(&path)
        .context("the target")?;
    let appended = OpenOptions::new()
        .append(true)
        .open(&path)
        .context("the target")?;
    let (client, server) = tcp()?;
    let (unix, unix_peer) = UnixStream::pair().context("socketpair")?;
    unix.set_nonblocking(true).context("O_NONBLOCK")?;
    let (read_end, write_end) = pipe()?;
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("UDP")?;
    udp.connect(udp.local_addr().context("getsockname")?)
        .context("UDP")?;
    udp.set_nonblocking(true).context("O_NONBLOCK")?;
    let alone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("UDP")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("could not listen")?;
    // SAFETY: makes a descriptor.
    let event = made(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK) }, "eventfd")?;
    let null = OpenOptions::new()
        .write(true)
        .open("/dev/null")
        .context("/dev/null")?;
    Ok(vec![
        Kind::of("TCP socket", client).socket().with(server),
        Kind::of("unix socket", unix).socket().with(unix_peer),
        Kind::of("UDP socket, connected", udp).socket(),
        Kind::of("UDP socket, not connected", alone).socket(),
        Kind::of("listening socket", listener).socket(),
        Kind::of("memfd (tmpfs)", written).file(),
        Kind::of("memfd opened with O_APPEND", appended).file(),
        Kind::of("memfd opened for reading only", held).file(),
        Kind::of("pipe", write_end).with(read_end),
        Kind::of("device /dev/null", null),
        Kind::of("eventfd", event),
        Kind::of("directory", open("/proc/self")?),
    ])
}
