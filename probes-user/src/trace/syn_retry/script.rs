//! The lab: one connect() into a black hole for each family, and a connection once the hole is closed.
//!
//! The hole is on the way in: on the way out a drop would keep `tcp_retransmit_skb` silent on some kernels.

use crate::lab::family::Family;
use crate::lab::tcp_info::TcpInfo;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::net::bind;
use serde_json::json;

use crate::exit::usage;
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

/// Just before connect().
pub const CONNECT: &str = "connect";
/// What connect() said, and after how long.
pub const RETURNED: &str = "returned";
/// The surgeon's own count of the black hole.
pub const LOST: &str = "lost";
/// A connect() to the same address with nothing lost.
pub const CONTROL: &str = "control";

const RETRIES: &str = "net.ipv4.tcp_syn_retries";
const BUDGET: Duration = Duration::from_secs(60);

pub fn lab(options: &LabOptions) -> Result<Box<dyn Lab>> {
    let asked = Asked::of(options)?;
    let label = |family: &Family| format!("schedule/{}", family.name());
    let wanted = Family::BOTH
        .into_iter()
        .filter(|family| options.wants(&label(family)) && ends::spoken(*family));
    let wanted: Vec<Family> = wanted.collect();
    if wanted.is_empty() {
        return usage("no case of that name: schedule/v4, schedule/v6");
    }
    let pace = if asked.full {
        Pace::full()
    } else {
        Pace::short()
    };
    let case = |family: Family| {
        let pace_of_case = pace.clone();
        let case = Case::new(label(&family), BUDGET, move |stage: &mut Stage| {
            black_hole(stage, family, &pace_of_case)
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

fn black_hole(stage: &mut Stage, family: Family, pace: &Pace) -> Result<()> {
    stage.view().operate("lo")?;
    stage.view().set_rules(&[
        Rule::new(1, Segment::Syn).to(SERVER_PORT),
        Rule::new(2, Segment::Syn).to(SCALE_PORT),
    ])?;
    let server = ends::socket(family)?;
    ends::listen_on(&server, family, SERVER_PORT)?;
    let (limits, _scale) = pace.set(stage, family, Limits::read(RETRIES)?)?;
    let waits = law::syn(
        limits.first_ns,
        limits.retries,
        limits.linear.unwrap_or_default(),
        limits.longest_ns(),
    );
    let expected = Duration::from_nanos(waits.iter().sum());

    let client = pace.socket(family)?;
    bind(&client, &family.loopback(CLIENT_PORT)).context("could not bind the client")?;
    let before = Nstat::read()?;
    let began = now();
    stage.act(CONNECT, json!({}));
    let seconds = |ns: u64| ns / 1_000_000_000;
    let of = expected.as_secs().max(1);
    let looking = || stage.progress(seconds(now() - began).min(of), of);
    let to = family.loopback(SERVER_PORT);
    let errno = ends::connect_to_the_end(stage, &client, to, expected * 2 + BUDGET, looking)?;
    let took = now() - began;
    stage.note(RETURNED, json!({ "errno": errno, "took_ns": took }));
    let counted = Nstat::read()?.since(&before);
    stage.note(COUNTED, json!(counted));
    let counts = stage.view().rule_counts()?;
    let hole = counts.first().context("the surgeon lost its rules")?;
    stage.note(
        LOST,
        json!({ "matched": hole.matched, "dropped": hole.dropped }),
    );
    control(stage, family)
}

/// The positive control: without the hole the same address answers at once.
fn control(stage: &Stage, family: Family) -> Result<()> {
    stage.view().set_rules(&[])?;
    let client = ends::socket(family)?;
    let to = family.loopback(SERVER_PORT);
    let errno = ends::connect_to_the_end(stage, &client, to, BUDGET, || ())?;
    let state = TcpInfo::of(client.as_fd())?.state;
    stage.note(CONTROL, json!({ "errno": errno, "state": state }));
    ensure!(
        errno == 0,
        "the control connection failed with errno {errno}"
    );
    Ok(())
}
