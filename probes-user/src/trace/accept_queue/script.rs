//! The workload of accept-queue: an accept queue filled to its limit, then one segment that meets it.
//!
//! The client's own ACKs are held back by the surgeon from the start and released when the queue is full, so
//! that SYN, final ACK and cookie's ACK are told apart.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::json;

use super::marks::{
    CLIENT_PORT, DRAINED, DRAINING, Drained, FILLING, FULL, HELD, HOLDING, LIMITS, Limits, MEETING,
    MET, PORT, RESENDING, RESENT, Segment, Standing,
};
use crate::lab::netns::{Nstat, sysctl};
use crate::lab::queue::half_open;
use crate::lab::queue::socket::{self, ESTABLISHED, Info};
use crate::lab::script::Stage;
use crate::lab::surgeon::{self, Rule};

const OVERFLOWS: &str = "TcpExtListenOverflows";
/// Of SYNs and SYN-ACKs; the client resends none once it is connected.
const SYN_RESENDS: &str = "TcpExtTCPSynRetrans";
/// More than any queue of the lab takes.
const MOST: usize = 300;
/// For what must not come.
const SILENCE: Duration = Duration::from_millis(300);
/// A resent segment of the client comes sooner, unless its back-off has run up.
const COMES_THROUGH: Duration = Duration::from_secs(15);

struct Scene<'a> {
    stage: &'a Stage,
    limits: Limits,
    listener: OwnedFd,
    to: SocketAddr,
    before: Nstat,
    client: Option<OwnedFd>,
    fillers: Vec<OwnedFd>,
}

impl<'a> Scene<'a> {
    fn new(stage: &'a Stage, segment: Segment, v6: bool, backlog: u32) -> Result<Scene<'a>> {
        stage.view().operate("lo")?;
        let to = SocketAddr::new(socket::loopback(v6), PORT);
        let listener = socket::listener(to.ip(), PORT, backlog)?;
        let number = |name: &str| -> Result<u32> { Ok(sysctl(name)?.parse()?) };
        let limits = Limits {
            segment,
            v6,
            backlog,
            somaxconn: number("net.core.somaxconn")?,
            abort_on_overflow: number("net.ipv4.tcp_abort_on_overflow")?,
            max_ack_backlog: socket::info(&listener)?.sacked,
        };
        let scene = Scene {
            stage,
            limits,
            listener,
            to,
            before: Nstat::read()?,
            client: None,
            fillers: Vec::new(),
        };
        scene.note(LIMITS, &limits)?;
        Ok(scene)
    }

    fn note(&self, name: &str, what: &impl Serialize) -> Result<()> {
        self.stage.note(name, serde_json::to_value(what)?);
        Ok(())
    }

    fn half_open(&self) -> Result<u64> {
        half_open(self.limits.v6, PORT)
    }

    fn grown(&self, name: &str) -> Result<u64> {
        let grown = Nstat::read()?.since(&self.before);
        Ok(grown.get(name).copied().unwrap_or_default())
    }

    fn client(&self) -> Result<Info> {
        self.client
            .as_ref()
            .map_or(Ok(Info::default()), socket::info)
    }

    /// Says how it stands now; counters begin anew.
    fn stand(&mut self, name: &str) -> Result<()> {
        let now = Nstat::read()?;
        let error = match &self.client {
            None => 0,
            Some(client) => match rustix::net::sockopt::socket_error(client)? {
                Ok(()) => 0,
                Err(error) => error.raw_os_error(),
            },
        };
        let standing = Standing {
            client: self.client()?.state,
            error,
            waiting: socket::info(&self.listener)?.unacked,
            half_open: self.half_open()?,
            grown: now.since(&self.before),
        };
        self.before = now;
        self.note(name, &standing)
    }

    fn begin(&mut self) -> Result<()> {
        let address = SocketAddr::new(self.to.ip(), CLIENT_PORT);
        self.client = Some(socket::begin_connect_from(address, self.to)?);
        Ok(())
    }

    /// The client is connected, as it thinks; its ACK has been lost.
    fn hold(&mut self) -> Result<()> {
        let rule = Rule::new(1, surgeon::Segment::PureAck)
            .from(CLIENT_PORT)
            .to(PORT);
        self.stage.view().set_rules(&[rule])?;
        self.stage.act(HOLDING, json!({}));
        self.begin()?;
        self.stage.wait("the client's ACK is lost", || {
            let counts = self.stage.view().rule_counts()?;
            let lost = counts.first().is_some_and(|its| its.dropped > 0);
            Ok((lost && self.client()?.state == ESTABLISHED).then_some(()))
        })?;
        self.stand(HELD)
    }

    /// Connects others until one is refused; that one is given up.
    fn fill(&mut self) -> Result<()> {
        self.stage.act(FILLING, json!({}));
        for _ in 0..MOST {
            let was = socket::info(&self.listener)?.unacked;
            let (filler, _) = socket::begin_connect(self.to)?;
            let full = self.stage.wait("a connection waits or is refused", || {
                if self.grown(OVERFLOWS)? > 0 {
                    return Ok(Some(true));
                }
                Ok((socket::info(&self.listener)?.unacked > was).then_some(false))
            })?;
            if full {
                drop(filler);
                return self.stand(FULL);
            }
            self.fillers.push(filler);
        }
        bail!("{MOST} connections did not fill the accept queue")
    }

    /// The segment meets the full queue.
    fn meet(&mut self) -> Result<()> {
        self.stage.act(MEETING, json!({}));
        if self.limits.segment == Segment::Syn {
            self.begin()?;
        } else {
            self.stage.view().set_rules(&[])?;
            let client = self.client.as_ref().context("no client")?;
            rustix::io::write(client, b"x").context("the client could not write")?;
        }
        self.stage.wait("the overflow is counted", || {
            Ok((self.grown(OVERFLOWS)? > 0).then_some(()))
        })?;
        self.stage.linger(SILENCE)?;
        self.stand(MET)
    }

    /// The server's answer to a request whose ACK it dropped: a second has to pass.
    fn resent(&mut self) -> Result<()> {
        self.stage.act(RESENDING, json!({}));
        self.stage.wait("the server resends its SYN-ACK", || {
            Ok((self.grown(SYN_RESENDS)? > 0).then_some(()))
        })?;
        self.stage.linger(SILENCE)?;
        self.stand(RESENT)
    }

    /// Accepts all there are, and the client if it comes.
    fn drain(&mut self, comes: bool) -> Result<()> {
        self.stage.act(DRAINING, json!({}));
        let mut drained = Drained::default();
        let mut accept = || {
            while let Some(server) = socket::accept(&self.listener)? {
                if socket::peer_port(&server)? == CLIENT_PORT {
                    drained.came_through = true;
                } else {
                    drained.others += 1;
                }
            }
            Ok((drained.came_through || !comes).then_some(()))
        };
        let outcome = self
            .stage
            .wait_within(COMES_THROUGH, "the client is accepted", &mut accept);
        if outcome.is_err() {
            self.stage.check()?;
        }
        self.note(DRAINED, &drained)
    }
}

pub fn run(stage: &Stage, segment: Segment, v6: bool, backlog: u32) -> Result<()> {
    let mut scene = Scene::new(stage, segment, v6, backlog)?;
    if segment == Segment::Syn {
        scene.stage.view().set_rules(&[])?;
    } else {
        scene.hold()?;
    }
    scene.fill()?;
    scene.meet()?;
    let alive = scene.client()?.state != socket::CLOSE;
    if segment == Segment::Ack && alive {
        scene.resent()?;
    }
    scene.drain(alive)
}
