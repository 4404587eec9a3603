//! The two ends of a connection, and what the scripts do with them. Nothing here blocks but the connecting.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::net::sockopt;
use serde_json::{Value, json};

use super::super::cause::{CLOSE, FIN_WAIT2};
use super::super::marks::{Close, Closed, Ends, Got, Left, Read, Told, Wrote};
use crate::lab::family::Family;
use crate::lab::script::Stage;
use crate::lab::shared::now;
use crate::lab::surgeon::{Rule, Segment};
use crate::lab::tcp_info::TcpInfo;

pub const PORT: u16 = 20_000;
/// The rules that only count, by their place in `rule_counts`.
pub const RSTS: usize = 0;

/// How much the peer's kernel takes before it must be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    Usual,
    Small,
}

pub struct Pair {
    pub closer: TcpStream,
    pub peer: TcpStream,
    pub ends: Ends,
}

pub fn act<T: Told>(stage: &Stage, told: &T) -> Result<()> {
    stage.act(T::NAME, data(told)?);
    Ok(())
}

pub fn note<T: Told>(stage: &Stage, told: &T) -> Result<()> {
    stage.note(T::NAME, data(told)?);
    Ok(())
}

fn data<T: Told>(told: &T) -> Result<Value> {
    Ok(serde_json::to_value(told)?)
}

/// The surgeon looks on: it counts every RST, and drops what `rules` say.
pub fn operate(stage: &Stage, rules: &[Rule]) -> Result<()> {
    let mut all = vec![Rule {
        drop: 0,
        ..Rule::new(1, Segment::Rst)
    }];
    all.extend(rules);
    stage.view().set_rules(&all)
}

pub fn pair(stage: &Stage, family: Family, window: Window) -> Result<Pair> {
    stage.view().operate("lo")?;
    operate(stage, &[])?;
    let listener = TcpListener::bind(family.loopback(PORT)).context("could not listen")?;
    if window == Window::Small {
        // Before the handshake, so that the window never was larger.
        sockopt::set_socket_recv_buffer_size(&listener, 16 << 10)?;
    }
    let closer = TcpStream::connect(family.loopback(PORT)).context("could not connect")?;
    let (peer, _) = listener.accept().context("could not accept")?;
    for end in [&closer, &peer] {
        end.set_nonblocking(true)?;
        end.set_nodelay(true)?;
    }
    let ends = Ends {
        closer: closer.local_addr()?.port(),
        peer: PORT,
    };
    note(stage, &ends)?;
    Ok(Pair { closer, peer, ends })
}

/// FNV-1a.
pub fn checksum(mut sum: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    sum
}

pub const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// No two windows of it look alike.
fn pattern(from: u64, len: usize) -> Vec<u8> {
    (from..)
        .take(len)
        .map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

/// Writes up to `limit` bytes, or as many as the kernel takes at once.
pub fn write(stage: &Stage, mut end: &TcpStream, limit: u64) -> Result<Wrote> {
    let mut wrote = Wrote {
        bytes: 0,
        checksum: SEED,
    };
    while wrote.bytes < limit {
        let want = usize::try_from((limit - wrote.bytes).min(8192))?;
        let chunk = pattern(wrote.bytes, want);
        match end.write(&chunk) {
            Ok(taken) => {
                wrote.checksum = checksum(wrote.checksum, &chunk[..taken]);
                wrote.bytes += taken as u64;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error).context("could not write"),
        }
    }
    note(stage, &wrote)?;
    Ok(wrote)
}

/// Writes `bytes`, and waits until the other end's kernel has them.
pub fn deliver(stage: &Stage, from: &TcpStream, to: &TcpStream, bytes: u64) -> Result<Wrote> {
    let wrote = write(stage, from, bytes)?;
    if wrote.bytes != bytes {
        bail!("the kernel took {} of {bytes} bytes", wrote.bytes);
    }
    stage.wait("the bytes have arrived", || {
        Ok((unread(to)? == bytes && unsent(from)? == 0).then_some(()))
    })?;
    Ok(wrote)
}

/// Reads until the end, whichever it is.
pub fn read_all(stage: &Stage, mut end: &TcpStream) -> Result<Got> {
    let mut got = Got {
        bytes: 0,
        checksum: SEED,
        errno: 0,
    };
    let mut chunk = [0; 8192];
    stage.wait("the connection has ended", || {
        loop {
            match end.read(&mut chunk) {
                Ok(0) => return Ok(Some(())),
                Ok(count) => {
                    got.checksum = checksum(got.checksum, &chunk[..count]);
                    got.bytes += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    got.errno = error.raw_os_error().unwrap_or_default();
                    return Ok(Some(()));
                }
            }
        }
    })?;
    note(stage, &got)?;
    Ok(got)
}

/// The peer reads from now on.
pub fn let_peer_read(stage: &Stage, peer: &TcpStream) -> Result<Got> {
    let read = Read {
        waiting_bytes: unread(peer)?,
        state: state(peer)?,
    };
    act(stage, &read)?;
    read_all(stage, peer)
}

/// Received and not read.
pub fn unread(end: &TcpStream) -> Result<u64> {
    Ok(rustix::io::ioctl_fionread(end)?)
}

/// Written and not acknowledged.
pub fn unsent(end: &TcpStream) -> Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int.
    let code = unsafe { libc::ioctl(end.as_raw_fd(), libc::TIOCOUTQ as _, &raw mut bytes) };
    if code != 0 {
        return Err(std::io::Error::last_os_error()).context("SIOCOUTQ");
    }
    Ok(u64::try_from(bytes)?)
}

pub fn state(end: &TcpStream) -> Result<u8> {
    Ok(TcpInfo::of(end)?.state)
}

pub fn set_linger(end: &TcpStream, linger: Option<Duration>) -> Result<()> {
    sockopt::set_socket_linger(end, linger).context("SO_LINGER")
}

/// A close() on a thread of its own, since it may block.
pub struct Closing(Receiver<Closed>);

impl Closing {
    /// Says what the socket holds, and closes it.
    pub fn begin(stage: &Stage, end: TcpStream) -> Result<Closing> {
        let linger = sockopt::socket_linger(&end)?;
        let told = Close {
            unsent_bytes: unsent(&end)?,
            unread_bytes: unread(&end)?,
            linger_s: linger.map(|linger| linger.as_secs()),
            nonblocking: rustix::fs::fcntl_getfl(&end)?.contains(rustix::fs::OFlags::NONBLOCK),
        };
        act(stage, &told)?;
        let (told, closed) = channel();
        let fd = OwnedFd::from(end).into_raw_fd();
        std::thread::Builder::new()
            .name("closer".to_owned())
            .spawn(move || {
                let tid = rustix::thread::gettid().as_raw_nonzero().get();
                let began = now();
                // SAFETY: the descriptor was given up by its owner just now.
                let code = unsafe { libc::close(fd) };
                let ended = now();
                let errno = match code {
                    0 => 0,
                    _ => std::io::Error::last_os_error()
                        .raw_os_error()
                        .unwrap_or_default(),
                };
                // Nobody waits any more when the script was interrupted.
                let _told = told.send(Closed {
                    began,
                    ended,
                    errno,
                    tid: tid.unsigned_abs(),
                });
            })
            .context("could not start a thread")?;
        Ok(Closing(closed))
    }

    pub fn returned(&self) -> Result<Option<Closed>> {
        match self.0.try_recv() {
            Ok(closed) => Ok(Some(closed)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => bail!("the closing thread panicked"),
        }
    }

    pub fn wait(&self, stage: &Stage) -> Result<Closed> {
        let closed = stage.wait("close() has returned", || self.returned())?;
        note(stage, &closed)?;
        Ok(closed)
    }
}

/// Closes and waits for close() to return.
pub fn close(stage: &Stage, end: TcpStream) -> Result<Closed> {
    Closing::begin(stage, end)?.wait(stage)
}

/// What the calling thread's namespace has of a socket with this local port and this remote one.
pub fn states(local: u16, remote: u16) -> Result<Vec<u8>> {
    let mut found = Vec::new();
    for file in ["tcp", "tcp6"] {
        let path = format!("/proc/thread-self/net/{file}");
        let text = std::fs::read_to_string(&path).context(path)?;
        found.extend(
            text.lines()
                .skip(1)
                .filter_map(|line| state_of(line, local, remote)),
        );
    }
    Ok(found)
}

fn state_of(line: &str, local: u16, remote: u16) -> Option<u8> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let port = |word: &str| u16::from_str_radix(word.rsplit_once(':')?.1, 16).ok();
    let (here, there) = (port(words.get(1)?)?, port(words.get(2)?)?);
    (here == local && there == remote).then(|| u8::from_str_radix(words.get(3)?, 16).ok())?
}

/// Waits until the closer's socket is in one of these states, or gone if `gone`.
pub fn await_state(stage: &Stage, ends: Ends, wanted: &[u8], gone: bool) -> Result<Vec<u8>> {
    stage.wait(
        &format!("the closer's socket is in one of the states {wanted:?}"),
        || {
            let found = states(ends.closer, ends.peer)?;
            let there = found.iter().any(|state| wanted.contains(state));
            Ok((there || gone && found.is_empty()).then_some(found))
        },
    )
}

/// Reads until the closer's FIN and closes the peer, when the FIN has been acknowledged.
///
/// Sooner, the peer's own FIN could overtake that acknowledgement on another processor: TIME_WAIT answers a
/// segment so old, and the answer finds no socket any more, whose RST ends TIME_WAIT (RFC 1337; seen on 7.2).
pub fn close_peer(stage: &Stage, ends: Ends, peer: TcpStream) -> Result<()> {
    let_peer_read(stage, &peer)?;
    await_state(stage, ends, &[FIN_WAIT2], false)?;
    drop(peer);
    Ok(())
}

/// Says what is left of the closer.
pub fn note_left(stage: &Stage, ends: Ends) -> Result<()> {
    let states = states(ends.closer, ends.peer)?;
    note(stage, &Left { states })
}

/// Waits until so many RSTs have been on the wire.
pub fn await_resets(stage: &Stage, count: u64) -> Result<()> {
    stage.wait("the RST is on the wire", || {
        let counts = stage.view().rule_counts()?;
        Ok(counts
            .get(RSTS)
            .is_some_and(|rule| rule.matched >= count)
            .then_some(()))
    })
}

/// Waits until a RST has come to this end: closed before, its FIN would find no socket and be answered by another.
pub fn await_reset(stage: &Stage, end: &TcpStream) -> Result<()> {
    stage.wait("the RST has come", || {
        Ok((state(end)? == CLOSE).then_some(()))
    })
}

/// An errno of the peer's call, for the record.
pub fn note_answer(stage: &Stage, call: &str, result: &std::io::Result<usize>) {
    let errno = match result {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or_default(),
    };
    stage.note("answer", json!({ "call": call, "errno": errno }));
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "   1: 0100007F:4E20 0100007F:9C40 06 00000000:00000000 03:00000A2B 0 0 0 3 x";

    #[test]
    fn a_line_of_proc_net_tcp_is_read() {
        assert_eq!(state_of(LINE, 20_000, 40_000), Some(6));
        assert_eq!(state_of(LINE, 40_000, 20_000), None);
        assert_eq!(state_of("  sl  local_address", 1, 2), None);
    }

    #[test]
    fn what_is_written_in_pieces_has_one_checksum() {
        let whole = pattern(0, 1000);
        let pieces = checksum(checksum(SEED, &whole[..300]), &pattern(300, 700));
        assert_eq!(pieces, checksum(SEED, &whole));
        assert_ne!(pieces, checksum(SEED, &whole[..999]));
    }
}
