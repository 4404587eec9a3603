//! The lab: a handshake whose final ACK is lost, watched until the server has forgotten it; then the client
//! writes. As a contrast one whose client writes at once, while only ACKs without data are lost.

use crate::lab::family::Family;
use crate::lab::tcp_info::TcpInfo;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, bind, recv, send, sockopt};
use serde_json::json;

use crate::exit::usage;
use crate::kernel::btf::{Btf, Query};
use crate::lab::Lab;
use crate::lab::netns::Nstat;
use crate::lab::script::{Case, ScriptLab, Stage};
use crate::lab::shared::now;
use crate::lab::surgeon::{Rule, Segment};
use crate::trace::LabOptions;
use crate::trace::backoff::ends;
use crate::trace::backoff::limits::Limits;
use crate::trace::backoff::pace::{Asked, Pace};
use crate::trace::backoff::{CLIENT_PORT, COUNTED, SCALE_PORT, SERVER_PORT, law};

/// Label of the judged cases, without family.
pub const LOST: &str = "ack-lost";
/// Label of the contrast.
pub const DATA: &str = "data-carries-ack";

/// Just before connect().
pub const CONNECT: &str = "connect";
/// What connect() said.
pub const CONNECTED: &str = "connected";
/// Both ends, whenever something has changed.
pub const LOOK: &str = "look";
/// The server's request is gone.
pub const GONE: &str = "gone";
/// Both ends some time after that.
pub const KEPT: &str = "kept";
/// The surgeon's own counts.
pub const DROPPED: &str = "dropped";
/// Just before the client writes, nothing being lost any more.
pub const WRITE: &str = "write";
/// What came of it.
pub const ANSWERED: &str = "answered";
/// What the server got of the contrast.
pub const ACCEPTED: &str = "accepted";

const RETRIES: &str = "net.ipv4.tcp_synack_retries";
const BUDGET: Duration = Duration::from_secs(60);
/// Between two looks at both ends.
const LOOK_AGAIN: Duration = Duration::from_millis(4);

pub fn lab(options: &LabOptions) -> Result<Box<dyn Lab>> {
    let asked = Asked::of(options)?;
    let mut wanted = Vec::new();
    for (kind, family) in [LOST, DATA]
        .into_iter()
        .flat_map(|kind| Family::BOTH.map(|f| (kind, f)))
    {
        let label = format!("{kind}/{}", family.name());
        if options.wants(&label) && ends::spoken(family) {
            wanted.push((kind, family, label));
        }
    }
    if wanted.is_empty() {
        return usage("no case of that name: ack-lost/v4, ack-lost/v6, data-carries-ack/v4, …/v6");
    }
    let pace = pace(&asked);
    let case = |(kind, family, label): (&str, Family, String)| {
        let pace_of_case = pace.clone();
        let judged = kind == LOST;
        let case = Case::new(label, BUDGET, move |stage: &mut Stage| {
            let rules = if judged { 2 } else { 1 };
            let ends = Ends::connect(stage, family, &pace_of_case, rules)?;
            if judged {
                ends.wait_for_the_end(stage)
            } else {
                ends.write_at_once(stage)
            }
        });
        match pace.retries(&asked) {
            Some(retries) => case.sysctl(RETRIES, retries),
            None => case,
        }
    };
    Ok(Box::new(ScriptLab::new(
        wanted.into_iter().map(case).collect(),
    )))
}

fn pace(asked: &Asked) -> Pace {
    if asked.full {
        Pace::full()
    } else if requests_keep_their_timeout() {
        Pace::short()
    } else {
        let why = "this kernel uses it for the first resend of a SYN-ACK only";
        Pace::few(why.to_owned())
    }
}

/// Without a timeout of its own a request falls back to 1 s after the first.
fn requests_keep_their_timeout() -> bool {
    const FIELD: &str = "request_sock.timeout";
    let answer = Btf::running().and_then(|btf| btf.answer(&Query::new().fields([FIELD])));
    answer.is_ok_and(|facts| facts.field(FIELD).is_some())
}

/// Both ends of a handshake whose last ACK is lost.
struct Ends {
    family: Family,
    limits: Limits,
    server: OwnedFd,
    client: OwnedFd,
    before: Nstat,
}

impl Ends {
    /// `rules`: 1 = ACKs without data are lost, 2 = data too.
    fn connect(stage: &Stage, family: Family, pace: &Pace, rules: usize) -> Result<Ends> {
        let losses = [
            Rule::new(1, Segment::PureAck).to(SERVER_PORT),
            Rule::new(2, Segment::Data).to(SERVER_PORT),
        ];
        let scale = Rule::new(3, Segment::Syn).to(SCALE_PORT);
        let rules: Vec<Rule> = losses.into_iter().take(rules).chain([scale]).collect();
        stage.view().operate("lo")?;
        stage.view().set_rules(&rules)?;
        let server = pace.socket(family)?;
        ends::listen_on(&server, family, SERVER_PORT)?;
        let (limits, scale) = pace.set(stage, family, Limits::read(RETRIES)?)?;
        let client = ends::socket(family)?;
        bind(&client, &family.loopback(CLIENT_PORT)).context("could not bind the client")?;
        let before = Nstat::read()?;
        stage.act(CONNECT, json!({}));
        let to = family.loopback(SERVER_PORT);
        let errno = ends::connect_to_the_end(stage, &client, to, BUDGET, || ())?;
        // A request keeps what it began with.
        drop(scale);
        let state = TcpInfo::of(client.as_fd())?.state;
        stage.note(CONNECTED, json!({ "errno": errno, "client_state": state }));
        ensure!(errno == 0, "connect() failed with errno {errno}");
        Ok(Ends {
            family,
            limits,
            server,
            client,
            before,
        })
    }

    fn wait_for_the_end(&self, stage: &Stage) -> Result<()> {
        self.look_until_gone(stage)?;
        // Some time more, in which nothing is to happen.
        stage.linger(Duration::from_nanos(2 * self.limits.first_ns))?;
        let state = TcpInfo::of(self.client.as_fd())?.state;
        stage.note(KEPT, json!({ "client_state": state }));
        stage.note(COUNTED, json!(Nstat::read()?.since(&self.before)));
        self.count_dropped(stage)?;
        stage.view().set_rules(&[])?;

        stage.act(WRITE, json!({}));
        let sent = send(&self.client, b"!", SendFlags::NOSIGNAL).context("the write failed")?;
        let state = stage.wait("the client's connection is over", || {
            let state = TcpInfo::of(self.client.as_fd())?.state;
            Ok((state != ends::ESTABLISHED).then_some(state))
        })?;
        let errno = match sockopt::socket_error(&self.client)? {
            Ok(()) => 0,
            Err(errno) => errno.raw_os_error(),
        };
        let answer = json!({ "sent": sent, "errno": errno, "client_state": state });
        stage.note(ANSWERED, answer);
        Ok(())
    }

    /// Notes both ends whenever one of them has changed.
    fn look_until_gone(&self, stage: &Stage) -> Result<()> {
        let waits = law::synack(
            self.limits.first_ns,
            self.limits.retries,
            self.limits.longest_ns(),
        );
        let expected = Duration::from_nanos(waits.iter().sum());
        let (began, of) = (now(), expected.as_secs().max(1));
        let mut last = None;
        loop {
            let request = ends::half_open(self.family, SERVER_PORT)?;
            let state = TcpInfo::of(self.client.as_fd())?.state;
            if last != Some((request, state)) {
                let timeouts = request.map(|request| request.timeouts);
                let both = json!({
                    "half_open": request.is_some(), "timeouts": timeouts, "client_state": state,
                });
                stage.note(LOOK, both);
                last = Some((request, state));
            }
            if request.is_none() {
                stage.note(GONE, json!({ "client_state": state }));
                return Ok(());
            }
            let spent = Duration::from_nanos(now() - began);
            ensure!(
                spent < expected * 2 + BUDGET,
                "the request is still there after {spent:?}"
            );
            stage.progress(spent.as_secs().min(of), of);
            stage.linger(LOOK_AGAIN)?;
        }
    }

    fn count_dropped(&self, stage: &Stage) -> Result<()> {
        let counts = stage.view().rule_counts()?;
        let acks = counts.first().context("the surgeon lost its rules")?;
        let data = counts.get(1).context("the surgeon lost its rules")?;
        stage.note(
            DROPPED,
            json!({ "acks": acks.dropped, "data": data.dropped }),
        );
        Ok(())
    }

    /// The contrast: what the client writes carries the ACK that was lost.
    fn write_at_once(&self, stage: &Stage) -> Result<()> {
        let half_open = ends::half_open(self.family, SERVER_PORT)?.is_some();
        stage.note(
            LOOK,
            json!({ "half_open": half_open, "client_state": ends::ESTABLISHED }),
        );
        sockopt::set_socket_timeout(&self.server, sockopt::Timeout::Recv, Some(BUDGET))?;
        stage.act(WRITE, json!({}));
        send(&self.client, b"!", SendFlags::NOSIGNAL).context("the write failed")?;
        let connection =
            accept_with(&self.server, SocketFlags::CLOEXEC).context("nothing to accept")?;
        sockopt::set_socket_timeout(&connection, sockopt::Timeout::Recv, Some(BUDGET))?;
        let mut byte = [0];
        let (received, _) = recv(&connection, &mut byte, RecvFlags::empty())?;
        let left = ends::half_open(self.family, SERVER_PORT)?.is_some();
        stage.note(ACCEPTED, json!({ "received": received, "half_open": left }));
        Ok(())
    }
}
