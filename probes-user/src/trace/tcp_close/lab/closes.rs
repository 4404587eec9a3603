//! The scripts on which the claims are judged.

use crate::lab::family::Family;
use std::io::{Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::ends::{
    Closing, Pair, Window, await_reset, await_resets, await_state, close, close_peer, deliver,
    let_peer_read, note, note_answer, note_left, pair, set_linger, unread, write,
};
use super::{FEW, HOLD, LINGER_LONG, LINGER_SHORT, MANY};
use crate::lab::script::Stage;
use crate::lab::tcp_info::TcpInfo;
use crate::trace::tcp_close::cause::{self, Cause};
use crate::trace::tcp_close::marks::Provoked;

/// How long a close() that blocks is let alone; one that does not may still wait for a busy processor.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where a closer is whose FIN has been acknowledged.
const ENDED: [u8; 2] = [cause::FIN_WAIT2, cause::TIME_WAIT];

/// A closer that has written more than the peer's window takes.
fn full(stage: &Stage, family: Family) -> Result<Pair> {
    let pair = pair(stage, family, Window::Small)?;
    write(stage, &pair.closer, MANY)?;
    // An acknowledgement on its way would be answered with a RST of its own after the close.
    stage.wait("what fits the window is acknowledged", || {
        Ok((TcpInfo::of(&pair.closer)?.unacked == 0).then_some(()))
    })?;
    Ok(pair)
}

fn none_provoked(stage: &Stage) -> Result<()> {
    note(stage, &Provoked { cause: None })
}

fn provoked(stage: &Stage, cause: Cause) -> Result<()> {
    await_resets(stage, 1)?;
    note(stage, &Provoked { cause: Some(cause) })
}

pub fn drain(stage: &mut Stage, family: Family) -> Result<()> {
    let Pair { closer, peer, ends } = full(stage, family)?;
    let closing = Closing::begin(stage, closer)?;
    // A close() that waits for the peer would wait for ever: then the peer reads, and the order tells.
    let early = stage.wait_within(PATIENCE, "close() has returned", || closing.returned());
    stage.check()?;
    if let Ok(closed) = &early {
        note(stage, closed)?;
    }
    let_peer_read(stage, &peer)?;
    if early.is_err() {
        closing.wait(stage)?;
    }
    await_state(stage, ends, &ENDED, true)?;
    none_provoked(stage)
}

/// The closer has received [`FEW`] bytes and read all but `left` of them.
fn unread_with(stage: &Stage, family: Family, left: u64) -> Result<()> {
    let Pair {
        mut closer,
        peer,
        ends,
    } = pair(stage, family, Window::Usual)?;
    deliver(stage, &peer, &closer, FEW)?;
    let mut read = vec![0; usize::try_from(FEW - left)?];
    closer.read_exact(&mut read).context("could not read")?;
    if unread(&closer)? != left {
        bail!(
            "{} bytes are unread and not {left}",
            rustix::io::ioctl_fionread(&closer)?
        );
    }
    close(stage, closer)?;
    if left > 0 {
        let_peer_read(stage, &peer)?;
        return provoked(stage, Cause::UnreadData);
    }
    close_peer(stage, ends, peer)?;
    await_state(stage, ends, &[cause::TIME_WAIT], false)?;
    none_provoked(stage)
}

pub fn unread_all(stage: &mut Stage, family: Family) -> Result<()> {
    unread_with(stage, family, FEW)
}

pub fn unread_one(stage: &mut Stage, family: Family) -> Result<()> {
    unread_with(stage, family, 1)
}

pub fn unread_none(stage: &mut Stage, family: Family) -> Result<()> {
    unread_with(stage, family, 0)
}

fn linger_zero(stage: &Stage, pair: Pair) -> Result<()> {
    let Pair { closer, peer, ends } = pair;
    set_linger(&closer, Some(std::time::Duration::ZERO))?;
    close(stage, closer)?;
    let_peer_read(stage, &peer)?;
    note_left(stage, ends)?;
    provoked(stage, Cause::LingerZero)
}

pub fn linger_zero_idle(stage: &mut Stage, family: Family) -> Result<()> {
    let pair = pair(stage, family, Window::Usual)?;
    linger_zero(stage, pair)
}

pub fn linger_zero_unsent(stage: &mut Stage, family: Family) -> Result<()> {
    let pair = full(stage, family)?;
    linger_zero(stage, pair)
}

/// The contrast, and the control that TIME_WAIT would be seen.
pub fn linger_zero_off(stage: &mut Stage, family: Family) -> Result<()> {
    let Pair { closer, peer, ends } = pair(stage, family, Window::Usual)?;
    close(stage, closer)?;
    close_peer(stage, ends, peer)?;
    await_state(stage, ends, &[cause::TIME_WAIT], false)?;
    note_left(stage, ends)?;
    none_provoked(stage)
}

/// The peer has [`FEW`] bytes in its buffer when the RST comes.
fn discard(stage: &Stage, family: Family, write_first: bool) -> Result<()> {
    let Pair {
        closer, mut peer, ..
    } = pair(stage, family, Window::Usual)?;
    deliver(stage, &closer, &peer, FEW)?;
    set_linger(&closer, Some(std::time::Duration::ZERO))?;
    close(stage, closer)?;
    await_reset(stage, &peer)?;
    if write_first {
        note_answer(stage, "write", &peer.write(b"?"));
    }
    let_peer_read(stage, &peer)?;
    note_answer(stage, "read again", &peer.read(&mut [0]));
    provoked(stage, Cause::LingerZero)
}

pub fn discard_read(stage: &mut Stage, family: Family) -> Result<()> {
    discard(stage, family, false)
}

pub fn discard_write_first(stage: &mut Stage, family: Family) -> Result<()> {
    discard(stage, family, true)
}

pub fn linger_acked(stage: &mut Stage, family: Family) -> Result<()> {
    let Pair { closer, peer, ends } = full(stage, family)?;
    closer.set_nonblocking(false)?;
    set_linger(&closer, Some(LINGER_LONG))?;
    let closing = Closing::begin(stage, closer)?;
    await_state(stage, ends, &[cause::FIN_WAIT1], false)?;
    stage.linger(HOLD)?;
    let_peer_read(stage, &peer)?;
    closing.wait(stage)?;
    await_state(stage, ends, &ENDED, true)?;
    none_provoked(stage)
}

/// The peer reads when close() has returned.
fn linger_short(stage: &Stage, family: Family, nonblocking: bool) -> Result<()> {
    let Pair { closer, peer, ends } = full(stage, family)?;
    closer.set_nonblocking(nonblocking)?;
    set_linger(&closer, Some(LINGER_SHORT))?;
    close(stage, closer)?;
    let_peer_read(stage, &peer)?;
    await_state(stage, ends, &ENDED, true)?;
    none_provoked(stage)
}

pub fn linger_expires(stage: &mut Stage, family: Family) -> Result<()> {
    linger_short(stage, family, false)
}

pub fn linger_nonblocking(stage: &mut Stage, family: Family) -> Result<()> {
    linger_short(stage, family, true)
}
