//! The workload of syn-queue: a listener, a genuine connection, a flood, and genuine connections after it.
//!
//! A case varies one knob. Every step waits until the namespace's own counters account for it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::json;

use super::marks::{
    ATTEMPTS, Attempt, Attempts, CONTRAST, CONTROL, FLOOD, FloodMark, LIMITS, Limits, PORT,
};
use crate::lab::netns::{Nstat, set_sysctl, sysctl};
use crate::lab::queue::flood::Flood;
use crate::lab::queue::half_open;
use crate::lab::queue::socket::{self, ESTABLISHED, Info};
use crate::lab::script::Stage;

const SYNCOOKIES: &str = "net.ipv4.tcp_syncookies";
/// SYNs of a round.
const ROUND: u64 = 8;
/// More than any queue of the lab holds.
const MOST: u64 = 1024;
/// How often a case is run on a machine that is too slow for it.
const RUNS: u16 = 3;
/// Genuine connections after the flood.
pub const TRIES: usize = 4;
/// How long a refused client is watched; less than the first resend of its SYN.
const SILENCE: Duration = Duration::from_millis(300);

/// A listener and its ends.
struct Scene<'a> {
    stage: &'a Stage,
    v6: bool,
    listener: OwnedFd,
    to: SocketAddr,
}

impl<'a> Scene<'a> {
    fn new(stage: &'a Stage, v6: bool, backlog: u32) -> Result<Scene<'a>> {
        Scene::at(stage, v6, backlog, PORT)
    }

    fn at(stage: &'a Stage, v6: bool, backlog: u32, port: u16) -> Result<Scene<'a>> {
        stage.view().operate("lo")?;
        stage.view().set_rules(&[])?;
        let to = SocketAddr::new(socket::loopback(v6), port);
        let listener = socket::listener(to.ip(), port, backlog)?;
        let number = |name: &str| -> Result<u32> { Ok(sysctl(name)?.parse()?) };
        let limits = Limits {
            backlog,
            somaxconn: number("net.core.somaxconn")?,
            max_syn_backlog: number("net.ipv4.tcp_max_syn_backlog")?,
            cookies: number(SYNCOOKIES)?,
            max_ack_backlog: socket::info(&listener)?.sacked,
            port,
            v6,
        };
        let scene = Scene {
            stage,
            v6,
            listener,
            to,
        };
        scene.note(LIMITS, &limits)?;
        Ok(scene)
    }

    fn note(&self, name: &str, what: &impl Serialize) -> Result<()> {
        self.stage.note(name, serde_json::to_value(what)?);
        Ok(())
    }

    fn half_open(&self) -> Result<u64> {
        half_open(self.v6, self.to.port())
    }

    /// Floods until a round leaves no further half-open connection; how many there are. While the flood lives it
    /// swallows what is sent to its addresses.
    fn flood(&self) -> Result<(u64, Flood)> {
        self.stage.act("flooding", json!({}));
        let mut flood = Flood::new(self.to)?;
        let (before, own) = (Nstat::read()?, self.half_open()?);
        let mut told = FloodMark::default();
        loop {
            let was = self.half_open()?;
            for _ in 0..ROUND {
                flood.send()?;
            }
            told.sent = u64::from(flood.sent());
            told.rounds += 1;
            told.half_open = self.stage.wait("every SYN is accounted for", || {
                let now = self.half_open()?;
                let grown = Nstat::read()?.since(&before);
                let count = |name: &str| grown.get(name).copied().unwrap_or_default();
                let answered = count("TcpExtSyncookiesSent") + count("TcpExtListenDrops");
                Ok((now.saturating_sub(own) + answered >= told.sent).then_some(now))
            })?;
            if told.half_open == was {
                break;
            }
            if told.sent >= MOST {
                bail!("{MOST} SYNs did not fill the queue");
            }
        }
        told.last_round = ROUND;
        told.grown = Nstat::read()?.since(&before);
        self.note(FLOOD, &told)?;
        Ok((told.half_open, flood))
    }

    /// Genuine connections, all begun at once; then what came of each.
    fn connect(&self, name: &str, tries: usize) -> Result<()> {
        self.stage.act("connecting", json!({ "of": name }));
        let (before, half_open_before) = (Nstat::read()?, self.half_open()?);
        let mut clients = Vec::new();
        for _ in 0..tries {
            clients.push(socket::begin_connect(self.to)?);
        }
        let refused = |grown: &Nstat| {
            let drops = grown.since(&before).get("TcpExtListenDrops").copied();
            drops.unwrap_or_default() as usize
        };
        self.stage.wait("every SYN is answered or dropped", || {
            let mut established = 0;
            for (client, _) in &clients {
                established += usize::from(socket::info(client)?.state == ESTABLISHED);
            }
            let dropped = refused(&Nstat::read()?);
            Ok((established + dropped >= tries).then_some(()))
        })?;
        let servers = self.accept_all(&clients)?;
        if servers.len() < tries {
            self.stage.linger(SILENCE)?;
        }
        let mut told = Attempts {
            half_open_before,
            half_open_after: self.half_open()?,
            grown: Nstat::read()?.since(&before),
            ..Attempts::default()
        };
        for (client, port) in &clients {
            let server = servers.iter().find(|(of, ..)| of == port);
            told.tries.push(Attempt {
                port: *port,
                client: socket::info(client)?,
                server: server.map(|(_, info, _)| *info),
            });
        }
        self.note(name, &told)
    }

    /// Returns whether the queue stayed as the flood had left it.
    fn overflow(&self) -> Result<bool> {
        if sysctl(SYNCOOKIES)? == "2" {
            set_sysctl(SYNCOOKIES, "1")?;
            self.connect(CONTRAST, 1)?;
            set_sysctl(SYNCOOKIES, "2")?;
        }
        self.connect(CONTROL, 1)?;
        self.stage.progress(1, 3);
        let (held, _swallows) = self.flood()?;
        self.stage.progress(2, 3);
        self.connect(ATTEMPTS, TRIES)?;
        Ok(self.half_open()? == held)
    }

    /// Accepts one for each client that believes itself connected; what never comes is left out.
    fn accept_all(&self, clients: &[(OwnedFd, u16)]) -> Result<Vec<(u16, Info, OwnedFd)>> {
        let mut servers = Vec::new();
        let within = self.stage.budget() / 8;
        let outcome = self.stage.wait_within(within, "all are accepted", || {
            while let Some(server) = socket::accept(&self.listener)? {
                servers.push((socket::peer_port(&server)?, socket::info(&server)?, server));
            }
            let mut established = 0;
            for (client, _) in clients {
                established += usize::from(socket::info(client)?.state == ESTABLISHED);
            }
            Ok((servers.len() >= established).then_some(()))
        });
        // Too few is what the marks say then; an interrupt ends the script.
        if outcome.is_err() {
            self.stage.check()?;
        }
        Ok(servers)
    }
}

/// One connection to an empty queue, a flood, genuine connections to the full one. Where cookies are sent
/// always, the same connection comes first without them.
///
/// Entries end after seven seconds at the earliest. Where a machine is so slow that they ended meanwhile, it is
/// all done again, whatever came of it, at a new listener.
pub fn overflow(stage: &Stage, v6: bool, backlog: u32) -> Result<()> {
    for port in PORT..PORT + RUNS {
        let scene = Scene::at(stage, v6, backlog, port)?;
        if scene.overflow()? {
            break;
        }
    }
    Ok(())
}

/// Connections to an empty queue; what they are set up with is the case's sysctls'.
pub fn options(stage: &Stage, v6: bool, backlog: u32) -> Result<()> {
    Scene::new(stage, v6, backlog)?.connect(ATTEMPTS, TRIES)
}

/// How many half-open connections there can be.
pub fn capacity(stage: &Stage, v6: bool, backlog: u32) -> Result<()> {
    let scene = Scene::new(stage, v6, backlog)?;
    scene.connect(CONTROL, 1)?;
    scene.flood().map(drop)
}
