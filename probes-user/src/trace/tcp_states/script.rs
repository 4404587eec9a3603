//! What each case does to its connection, and what it sees of it itself: the kernel's table of sockets after
//! every step, and what the calls of the ends returned.

use crate::lab::family::Family;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde_json::json;

use crate::kernel::tcp::{
    self, CLOSE, CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, TIME_WAIT,
};
use crate::lab::child::{self, Child};
use crate::lab::script::Stage;
use crate::lab::shared::now;
use crate::lab::surgeon::{Rule, Segment};
use crate::lab::tap::{ACK, FIN, Tap};

/// The connection that a case is about: its ports.
pub const PAIR: &str = "pair";
/// An action under a phase of its own: what is done, by which end.
pub const ACTION: &str = "action";
/// States and timers of both ends by the kernel's table.
pub const SEEN: &str = "seen";
/// What an end's call returned.
pub const CALL: &str = "call";
pub const CLOCK: &str = "clock";
/// A process that is killed.
pub const KILLED: &str = "killed";
/// Why a case could not be played here.
pub const SKIPPED: &str = "skipped";

const TRIES: u32 = 5;

/// A connection and the two who have it.
pub struct Play<'a> {
    pub(super) stage: &'a mut Stage,
    pub(super) family: Family,
    pub(super) client: Option<TcpStream>,
    pub(super) server: Option<TcpStream>,
    pub(super) ends: (SocketAddr, SocketAddr),
    tick_ns: u64,
}

/// State and timer of one end; CLOSE = the table has it no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    state: u8,
    timer: u8,
    expires: u64,
}

/// A look at the table, with the time before and after it: the states may have changed since, by a resend.
struct Look {
    client: End,
    server: End,
    from: u64,
    to: u64,
}

impl Look {
    fn states(&self) -> (u8, u8) {
        (self.client.state, self.server.state)
    }
}

impl<'a> Play<'a> {
    /// An established connection.
    ///
    /// # Errors
    /// No sockets, or they do not connect.
    pub fn new(stage: &'a mut Stage, family: Family) -> Result<Play<'a>> {
        let tick_ns = tick()?;
        stage.note(CLOCK, json!({ "tick_ns": tick_ns }));
        let nowhere = family.loopback(0);
        let mut play = Play {
            stage,
            family,
            client: None,
            server: None,
            ends: (nowhere, nowhere),
            tick_ns,
        };
        play.connect()?;
        Ok(play)
    }

    fn connect(&mut self) -> Result<()> {
        (self.client, self.server) = (None, None);
        self.act("connect", "client");
        let listener = TcpListener::bind(self.family.loopback(0)).context("could not listen")?;
        let client =
            TcpStream::connect(listener.local_addr()?).context("the client could not connect")?;
        let (server, _) = listener.accept().context("the server could not accept")?;
        for end in [&client, &server] {
            end.set_read_timeout(Some(self.stage.budget()))?;
            end.set_write_timeout(Some(self.stage.budget()))?;
            end.set_nodelay(true)?;
        }
        self.ends = (client.local_addr()?, server.local_addr()?);
        (self.client, self.server) = (Some(client), Some(server));
        let ports = json!({ "client": self.ends.0.port(), "server": self.ends.1.port() });
        self.stage.note(PAIR, ports);
        self.await_states("the connection is established", ESTABLISHED, ESTABLISHED)
    }

    pub(super) fn act(&self, what: &str, by: &str) {
        self.stage.act(ACTION, json!({ "what": what, "by": by }));
    }

    fn client(&mut self) -> Result<&mut TcpStream> {
        self.client.as_mut().context("the client has closed")
    }

    fn server(&mut self) -> Result<&mut TcpStream> {
        self.server.as_mut().context("the server has closed")
    }

    fn close_client(&mut self) {
        self.act("close", "client");
        self.client = None;
    }

    fn close_server(&mut self) {
        self.act("close", "server");
        self.server = None;
    }

    /// Both ends as the kernel's table has them.
    fn look(&self) -> Result<Look> {
        let from = now();
        let table = tcp::table().context("could not read the table of sockets")?;
        let end = |local, remote| {
            let its = table
                .iter()
                .find(|entry| (entry.local, entry.remote) == (local, remote));
            its.map_or(
                End {
                    state: CLOSE,
                    timer: 0,
                    expires: 0,
                },
                |entry| End {
                    state: entry.state,
                    timer: entry.timer,
                    expires: entry.expires,
                },
            )
        };
        let (client, server) = self.ends;
        Ok(Look {
            client: end(client, server),
            server: end(server, client),
            from,
            to: now(),
        })
    }

    /// Waits until the table has both ends in these states, and notes it.
    ///
    /// # Errors
    /// They do not come about.
    pub(super) fn await_states(&self, what: &str, client: u8, server: u8) -> Result<()> {
        let seen = self.stage.wait(what, || {
            let look = self.look()?;
            Ok((look.states() == (client, server)).then_some(look))
        })?;
        self.note_seen(what, &seen);
        Ok(())
    }

    fn note_seen(&self, what: &str, look: &Look) {
        let end =
            |its: End| json!({ "state": its.state, "timer": its.timer, "expires_cs": its.expires });
        let data = json!({
            "when": what, "client": end(look.client), "server": end(look.server),
            "from_ns": look.from, "to_ns": look.to,
        });
        self.stage.note(SEEN, data);
    }

    fn note_read(&self, by: &str, got: &std::io::Result<usize>) {
        let data = match got {
            Ok(bytes) => json!({ "by": by, "call": "read", "bytes": bytes }),
            Err(error) => json!({ "by": by, "call": "read", "errno": error.raw_os_error() }),
        };
        self.stage.note(CALL, data);
    }
}

/// One tick of the kernel's clock, 1/HZ: the resolution of its coarse clock.
fn tick() -> Result<u64> {
    let mut resolution = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec.
    let code = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut resolution) };
    let tick = resolution.tv_nsec.unsigned_abs();
    if code != 0 || tick == 0 {
        bail!("could not ask for the kernel's tick");
    }
    Ok(tick)
}

/// The client closes first, with close().
///
/// # Errors
/// A step that did not come about.
pub fn client_closes(play: &mut Play<'_>) -> Result<()> {
    play.close_client();
    play.await_states(
        "the client waits for the server's FIN",
        FIN_WAIT2,
        CLOSE_WAIT,
    )?;
    play.close_server();
    play.await_states("both have closed", TIME_WAIT, CLOSE)
}

/// The server closes first.
///
/// # Errors
/// As [`client_closes`].
pub fn server_closes(play: &mut Play<'_>) -> Result<()> {
    play.close_server();
    play.await_states(
        "the server waits for the client's FIN",
        CLOSE_WAIT,
        FIN_WAIT2,
    )?;
    play.close_client();
    play.await_states("both have closed", CLOSE, TIME_WAIT)
}

/// The client shuts its side down and still reads what the server sends.
///
/// # Errors
/// As [`client_closes`].
pub fn half_close(play: &mut Play<'_>, full: bool) -> Result<()> {
    play.act("shutdown", "client");
    play.client()?.shutdown(Shutdown::Write)?;
    play.await_states("the client has shut its side down", FIN_WAIT2, CLOSE_WAIT)?;
    play.act("write", "server");
    play.server()?.write_all(b"after the FIN")?;
    let mut buffer = [0; 64];
    let got = play.client()?.read(&mut buffer);
    play.note_read("client", &got);
    play.close_server();
    play.await_states("both have closed", TIME_WAIT, CLOSE)?;
    if full {
        let (tick, stage) = (play.tick_ns, &play.stage);
        stage.wait("TIME_WAIT is over", || {
            Ok((play.look()?.client.state == CLOSE).then_some(()))
        })?;
        // The timer's event comes before the entry is gone; a tick for the table.
        stage.linger(std::time::Duration::from_nanos(2 * tick))?;
        play.note_seen("TIME_WAIT is over", &play.look()?);
    }
    Ok(())
}

/// Both send their FIN before they have the other's: both FINs are held back, put back together, and the ACKs
/// of both after them.
///
/// # Errors
/// As [`client_closes`].
pub fn simultaneous_close(play: &mut Play<'_>) -> Result<()> {
    if let Err(error) = play.stage.view().operate("lo") {
        play.stage
            .note(SKIPPED, json!({ "why": format!("{error:#}") }));
        return Ok(());
    }
    let mut tap = Tap::new("lo")?;
    for _ in 0..TRIES {
        play.connect()?;
        if cross(play, &mut tap)? {
            return Ok(());
        }
        // A FIN was sent again before the held ones were put back: too slow for this try.
        play.stage.view().set_rules(&[])?;
        play.stage.note("too-slow", json!({}));
    }
    bail!("the FINs did not cross in {TRIES} tries")
}

fn cross(play: &mut Play<'_>, tap: &mut Tap) -> Result<bool> {
    let (client, server) = (play.ends.0.port(), play.ends.1.port());
    let acks = [
        Rule::new(1, Segment::PureAck).from(client).to(server),
        Rule::new(2, Segment::PureAck).from(server).to(client),
    ];
    let fins = [
        Rule::new(3, Segment::Fin).from(client).to(server),
        Rule::new(4, Segment::Fin).from(server).to(client),
    ];
    tap.forget();
    play.stage
        .view()
        .set_rules(&[acks[0], acks[1], fins[0], fins[1]])?;
    play.act("shutdown", "client");
    play.client()?.shutdown(Shutdown::Write)?;
    play.act("shutdown", "server");
    play.server()?.shutdown(Shutdown::Write)?;
    play.await_states("both FINs are held", FIN_WAIT1, FIN_WAIT1)?;
    let fin = |tap: &mut Tap, port| {
        play.stage
            .wait("a FIN is held", || Ok(tap.take(port, FIN | ACK)))
    };
    let held = [fin(tap, client)?, fin(tap, server)?];
    tap.forget();
    play.stage
        .act(ACTION, json!({ "what": "FINs cross", "by": "network" }));
    play.stage.view().set_rules(&acks)?;
    for frame in &held {
        tap.put_back(frame)?;
    }
    let crossed = play.stage.wait("both have the other's FIN", || {
        let look = play.look()?;
        let there = |its: End| its.state != FIN_WAIT1;
        Ok((there(look.client) && there(look.server)).then_some(look))
    })?;
    if crossed.states() != (CLOSING, CLOSING) {
        return Ok(false);
    }
    play.note_seen("the FINs have crossed", &crossed);
    let ack = |tap: &mut Tap, port| {
        play.stage
            .wait("an ACK is held", || Ok(tap.take(port, ACK)))
    };
    let held = [ack(tap, client)?, ack(tap, server)?];
    play.stage.view().set_rules(&[])?;
    for frame in &held {
        tap.put_back(frame)?;
    }
    play.await_states("both have closed", TIME_WAIT, TIME_WAIT)?;
    Ok(true)
}

/// A process with an open connection is killed; nothing is unread.
///
/// # Errors
/// As [`client_closes`].
pub fn killed(play: &mut Play<'_>) -> Result<()> {
    kill_owner(play)?;
    play.await_states("the killed process's end is closed", FIN_WAIT2, CLOSE_WAIT)?;
    let got = play.server()?.read(&mut [0; 64]);
    play.note_read("server", &got);
    play.close_server();
    play.await_states("both have closed", TIME_WAIT, CLOSE)
}

/// The same with data that it has not read.
///
/// # Errors
/// As [`client_closes`].
pub fn killed_unread(play: &mut Play<'_>) -> Result<()> {
    play.act("write", "server");
    play.server()?.write_all(b"never read")?;
    let unread = play.client()?.as_raw_fd();
    play.stage.wait("the data have come", || {
        let mut bytes: libc::c_int = 0;
        // SAFETY: FIONREAD writes one int; the descriptor is open.
        let code = unsafe { libc::ioctl(unread, libc::FIONREAD, &raw mut bytes) };
        Ok((code == 0 && bytes == 10).then_some(()))
    })?;
    kill_owner(play)?;
    play.await_states("the killed process's end is reset", CLOSE, CLOSE)?;
    let got = play.server()?.read(&mut [0; 64]);
    play.note_read("server", &got);
    Ok(())
}

/// Gives the client's end to a process that does nothing, and kills that.
fn kill_owner(play: &mut Play<'_>) -> Result<()> {
    let client = play.client.take().context("the client has closed")?;
    let fd = client.as_raw_fd();
    let body = move || {
        child::set_name(c"killed");
        // SAFETY: numbers only; descriptor 0 is a copy, and the child keeps nothing else.
        unsafe { libc::dup2(fd, 0) };
        child::close_inherited();
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    };
    // SAFETY: the body makes system calls only.
    let mut owner = unsafe { Child::fork(body) }.context("could not fork")?;
    let pid = owner.pid();
    play.stage
        .wait("the process has the connection alone", || {
            let left = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
            Ok((left <= 3).then_some(()))
        })?;
    drop(client);
    play.await_states(
        "the connection is the process's alone",
        ESTABLISHED,
        ESTABLISHED,
    )?;
    play.stage.act(KILLED, json!({ "pid": pid }));
    owner.signal(Signal::KILL);
    owner
        .wait(play.stage.budget())
        .context("the killed process did not end")?;
    Ok(())
}
