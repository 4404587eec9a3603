//! reuse-port: four sockets share a port by SO_REUSEPORT. Who gets a connection, who is woken, who may share?
//!
//! From `inet_sock_set_state` (each connection), `sk_data_ready` where it is there (which socket became ready), the
//! accepts of each socket, and for the wakeups all that the herd traces use. What could fool it: chance, for the
//! kernel's hash has a random key, so a second sample decides where the first is out of the ordinary; a connection
//! that was reset late and holds its tuple; another lab's sockets (a namespace of its own keeps them out).

use crate::lab::family::Family;
use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::herd::marks::{Arrival, Variant};
use super::herd::question::Question;
use super::herd::scenes::{self, SceneSpec};
use super::herd::{HOOKS, NEEDS, calls, scene, symbols};
use super::{Context, Fold, LabOption, LabOptions, Trace, Watching};
use crate::evidence::Claim;
use crate::exit::usage;
use crate::lab::Lab;
use crate::lab::chain::Chain;
use crate::lab::script::{Case, ScriptLab};

mod binds;
mod fold;
mod ledger;
mod marks;
mod result;
mod samples;
mod sockets;
#[cfg(test)]
mod tests;
mod tuples;
mod verdict;

const NAME: &str = "reuse-port";
/// Sockets that share the port.
const SOCKETS: u8 = 4;
const PORT: u16 = 8_400;
const DEFAULT_CONNECTIONS: u32 = 10_000;
/// Five expected per socket is the usual least for the statistic; this is more.
const MIN_CONNECTIONS: u32 = 400;
/// No tuple is in both samples, and with IPv6 only the ports differ.
const MAX_CONNECTIONS: u32 = tuples::PORTS / 2;
/// Of one connection after the other, for the wakeups.
const WAKEUPS: u32 = 40;
/// Of each kind, made again [`ROUNDS`] times.
const TUPLES: u32 = 64;
const ROUNDS: u32 = 4;
/// What chi-square with 3 degrees of freedom exceeds with probability 0.001.
const CRITICAL: f64 = 16.266;

const BALANCE: Claim = Claim {
    id: "reuse-port/balance",
    number: "v4_sample1_chi_square",
    statement: "Connections of different clients are spread evenly over the sockets that share a port.",
    holds_if: "chi-square of the accepted connections (10000 unless --connections says otherwise, no tuple twice) over \
        4 sockets is at most 16.27, which chance exceeds once in 1000 samples (3 degrees of freedom); where it is more, \
        a second sample of as many other tuples decides alone; IPv4 and IPv6 each",
    refuted_if: "both samples exceed 16.27, which chance does once in a million",
};

const BY_HASH: Claim = Claim {
    id: "reuse-port/by-hash",
    number: "v4_ports_same_socket_count",
    statement: "The 4-tuple of a connection alone decides which of the sockets gets it.",
    holds_if: "each of 64 tuples (of each kind: only client ports differ; with IPv4 also: only client addresses, only own \
        addresses) reaches one socket in all 4 rounds, forward and backward, on two CPUs where there are two; tuples \
        that differ in the client port must reach all 4 sockets (control), otherwise inconclusive",
    refuted_if: "a tuple reaches two different sockets",
};

const WHOLE_TUPLE: Claim = Claim {
    id: "reuse-port/whole-tuple",
    number: "v4_destinations_sockets_count",
    statement: "Each element of the 4-tuple has a part in the choice of the socket.",
    holds_if: "64 tuples that differ in one element only reach all 4 sockets, be it the client port, the client address \
        or the own address; the sockets are bound to the wildcard address; IPv4",
    refuted_if: "all 64 tuples that differ in one of them reach one and the same socket",
};

const SAME_UID: Claim = Claim {
    id: "reuse-port/same-uid",
    number: "v4_other_uid_errno",
    statement: "Sockets may share a port only if each has SO_REUSEPORT and all belong to one user.",
    holds_if: "bind() gives the port to a second socket of the same uid and option, root's or another's, and answers \
        EADDRINUSE to another uid, to a socket without the option, and to any after one without it; that uid gets a \
        free port, and this one when it is free again (controls)",
    refuted_if: "a bind() that should be given the port is refused, or one that should be refused gets it",
};

static QUESTIONS: [Question; 1] = [Question::one(
    "reuse-port/one-wakeup",
    "One connection wakes exactly one of the processes that wait, each for its own socket of the port.",
    Variant::Reuseport,
    &[],
)];

static CLAIMS: [Claim; 5] = [BALANCE, QUESTIONS[0].claim, SAME_UID, BY_HASH, WHOLE_TUPLE];

const OPTIONS: &[LabOption] = &[LabOption {
    name: "connections",
    value: "N",
    help: "Connections of a balance sample, 400 to 25000 (default 10000)",
}];

const EXAMPLES: &[(&str, &str)] = &[
    ("--variant balance --connections 2000", "a smaller sample"),
    ("--variant by-hash -v", "every replayed sample"),
];

/// What was asked for; written into [`Context::options`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Plan {
    /// None = the wakeups are not asked for.
    herd: Option<scenes::Plan>,
    /// Labels of the scripts.
    cases: Vec<String>,
    connections: u32,
}

fn plan(options: &LabOptions) -> Result<Plan> {
    let spec = SceneSpec {
        variant: Variant::Reuseport,
        arrival: Arrival::Sequential,
    };
    let herd = scenes::Plan {
        scenes: vec![spec],
        workers: SOCKETS.into(),
        connections: WAKEUPS,
        burst: 1,
        accept_delay_ns: 0,
    };
    let labels = ["balance", "by-hash", "same-uid"]
        .iter()
        .flat_map(|what| Family::BOTH.map(|family| label(what, family)));
    let plan = Plan {
        herd: options
            .wants(&scene::label(spec.variant, spec.arrival))
            .then_some(herd),
        cases: labels.filter(|label| options.wants(label)).collect(),
        connections: options
            .number("connections")?
            .unwrap_or(DEFAULT_CONNECTIONS),
    };
    if plan.herd.is_none() && plan.cases.is_empty() {
        return usage("no scene has such a name; `probes explain reuse-port` lists them");
    }
    if !(MIN_CONNECTIONS..=MAX_CONNECTIONS).contains(&plan.connections) {
        let (count, most) = (plan.connections, MAX_CONNECTIONS);
        return usage(format!(
            "{count} connections: try {MIN_CONNECTIONS} to {most}"
        ));
    }
    Ok(plan)
}

fn label(what: &str, family: Family) -> String {
    format!("{what}/{}", family.name())
}

fn case(label: &str, connections: u32) -> Option<Case> {
    let family = Family::BOTH
        .into_iter()
        .find(|family| label.ends_with(family.name()))?;
    let budget = binds::BUDGET;
    let case = match label.split('/').next()? {
        "balance" => Case::new(label, budget, move |stage| {
            samples::balance(stage, family, connections)
        }),
        "by-hash" => Case::new(label, budget, move |stage| samples::by_hash(stage, family)),
        "same-uid" => Case::new(label, budget, move |stage| binds::same_uid(stage, family)),
        _ => return None,
    };
    Some(case.port(PORT))
}

pub struct ReusePort;

pub static REUSE_PORT: ReusePort = ReusePort;

impl Trace for ReusePort {
    fn name(&self) -> &'static str {
        NAME
    }

    fn summary(&self) -> &'static str {
        "how SO_REUSEPORT spreads connections over sockets, whom it wakes, and who may share a port"
    }

    fn claims(&self) -> &'static [Claim] {
        &CLAIMS
    }

    fn hooks(&self) -> &'static [&'static str] {
        HOOKS
    }

    fn needs(&self) -> &'static [&'static str] {
        NEEDS
    }

    fn syscalls(&self) -> &'static [u32] {
        calls::FOLLOWED
    }

    fn symbols(&self) -> &'static [&'static str] {
        &symbols::NAMES
    }

    fn options(&self) -> &'static [LabOption] {
        OPTIONS
    }

    fn examples(&self) -> &'static [(&'static str, &'static str)] {
        EXAMPLES
    }

    fn alone(&self) -> bool {
        true
    }

    fn settings(&self) -> &'static [&'static str] {
        &["net.ipv4.tcp_migrate_req"]
    }

    fn watching(&self) -> Watching {
        Watching::Nothing
    }

    fn page(&self) -> &'static str {
        include_str!("../../../../docs/traces/reuse-port.md")
    }

    fn lab(&self, options: &LabOptions) -> Result<Box<dyn Lab>> {
        let plan = plan(options)?;
        let mut labs: Vec<Box<dyn Lab>> = Vec::new();
        if let Some(herd) = plan.herd {
            labs.push(scenes::open_lab(herd)?);
        }
        let cases = plan.cases.iter();
        let cases = cases.filter_map(|label| case(label, plan.connections));
        labs.push(Box::new(
            ScriptLab::new(cases.collect()).after_phase(RUNS * WAKEUPS),
        ));
        Ok(Box::new(Chain::new(labs)))
    }

    fn lab_options(&self, options: &LabOptions) -> Result<serde_json::Value> {
        Ok(serde_json::to_value(plan(options)?)?)
    }

    fn fold(&self, context: &Context) -> Box<dyn Fold> {
        Box::new(fold::ReuseFold::new(context))
    }
}

/// Phases are kept for so many runs of the scene of wakeups.
const RUNS: u32 = 16;
