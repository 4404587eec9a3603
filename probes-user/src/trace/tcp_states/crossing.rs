//! Simultaneous open: both ends connect, and each SYN is held back until both are sent, so that each end gets the
//! other's SYN while it waits for an answer to its own. The SYN-ACKs cross the same way.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, bail};
use rustix::io::Errno;
use rustix::net::{SocketFlags, SocketType, bind, connect, getsockname, socket_with};
use serde_json::json;

use super::script::{self, ACTION, PAIR, Play, SKIPPED};
use crate::kernel::tcp::{ESTABLISHED, SYN_RECV, SYN_SENT};
use crate::lab::family::Family;
use crate::lab::queue::socket;
use crate::lab::surgeon::{Rule, Segment};
use crate::lab::tap::{ACK, Tap};

const SYN: u8 = 2;

/// Both connect to each other; then the client closes first.
///
/// # Errors
/// A step that did not come about.
pub fn simultaneous_open(play: &mut Play<'_>) -> Result<()> {
    if let Err(error) = play.stage.view().operate("lo") {
        let why = json!({ "why": format!("{error:#}") });
        play.stage.note(SKIPPED, why);
        return Ok(());
    }
    cross(play, &mut Tap::new("lo")?)?;
    script::client_closes(play)
}

/// A socket with an address, and nobody listens there.
fn bound(family: Family) -> Result<(OwnedFd, SocketAddr)> {
    let to = family.loopback(0);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let made = socket_with(
        socket::family(to.is_ipv6()),
        SocketType::STREAM,
        flags,
        None,
    )
    .context("could not make a socket")?;
    bind(&made, &to).context("bind")?;
    let own = SocketAddr::try_from(getsockname(&made)?).context("a socket without an address")?;
    Ok((made, own))
}

fn cross(play: &mut Play<'_>, tap: &mut Tap) -> Result<()> {
    (play.client, play.server) = (None, None);
    let ((client, a), (server, b)) = (bound(play.family)?, bound(play.family)?);
    play.ends = (a, b);
    let ports = json!({ "client": a.port(), "server": b.port() });
    play.stage.note(PAIR, ports);
    let held = |number, segment| {
        let rule = Rule::new(number, segment);
        [
            rule.from(a.port()).to(b.port()),
            rule.from(b.port()).to(a.port()),
        ]
    };
    let ([syn, back], synacks) = (held(1, Segment::Syn), held(2, Segment::SynAck));
    tap.forget();
    let all = [syn, back, synacks[0], synacks[1]];
    play.stage.view().set_rules(&all)?;
    for (by, socket, to) in [("client", &client, b), ("server", &server, a)] {
        play.act("connect", by);
        match connect(socket, &to) {
            Err(Errno::INPROGRESS) => {}
            other => bail!("the {by} did not wait for an answer: {other:?}"),
        }
    }
    play.await_states("both SYNs are held", SYN_SENT, SYN_SENT)?;
    let syns = [take(play, tap, a, SYN)?, take(play, tap, b, SYN)?];
    tap.forget();
    let crossing = |what: &str| json!({ "what": what, "by": "network" });
    play.stage.act(ACTION, crossing("SYNs cross"));
    play.stage.view().set_rules(&synacks)?;
    for frame in &syns {
        tap.put_back(frame)?;
    }
    play.await_states("the SYNs have crossed", SYN_RECV, SYN_RECV)?;
    let answers = [
        take(play, tap, a, SYN | ACK)?,
        take(play, tap, b, SYN | ACK)?,
    ];
    play.stage.act(ACTION, crossing("SYN-ACKs cross"));
    play.stage.view().set_rules(&[])?;
    for frame in &answers {
        tap.put_back(frame)?;
    }
    play.await_states("the connection is established", ESTABLISHED, ESTABLISHED)?;
    let stream = |fd: OwnedFd| -> Result<TcpStream> {
        let stream = TcpStream::from(fd);
        stream.set_nonblocking(false)?;
        Ok(stream)
    };
    (play.client, play.server) = (Some(stream(client)?), Some(stream(server)?));
    Ok(())
}

fn take(
    play: &Play<'_>,
    tap: &mut Tap,
    from: SocketAddr,
    flags: u8,
) -> Result<crate::lab::tap::Frame> {
    let port = from.port();
    play.stage
        .wait("a segment is held", || Ok(tap.take(port, flags)))
}
