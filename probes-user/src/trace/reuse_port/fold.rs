//! The fold: the scene of wakeups goes to the herd's, the rest is sorted by case and phase.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use probes_common::event::{DataReady, SockState};

use super::result::{CaseResult, Seen};
use super::tuples::Tuple;
use super::{PORT, Plan, QUESTIONS, ledger, verdict};
use crate::evidence::Ledger;
use crate::lab::script::CASE;
use crate::stream::{Body, Event, Item};
use crate::trace::scripted::Cases;
use crate::trace::{Context, Ending, Fold, Outcome, herd};

const SYN_RECV: u8 = 3;
const ESTABLISHED: u8 = 1;
const AF_INET: u16 = 2;

pub struct ReuseFold {
    plan: Option<Plan>,
    herd: Option<Box<dyn Fold>>,
    cases: Cases,
    /// Of the case under way; None = the scene of wakeups.
    netns: Option<u32>,
    seen: BTreeMap<u32, Seen>,
    tells_ready: bool,
}

impl ReuseFold {
    pub fn new(context: &Context) -> ReuseFold {
        let plan: Option<Plan> = serde_json::from_value(context.options.clone()).ok();
        let herd = plan.as_ref().and_then(|plan| plan.herd.as_ref());
        let herd = herd.map(|herd_plan| {
            let context = Context {
                // A plan of numbers and names: there is nothing that could fail.
                options: serde_json::to_value(herd_plan).unwrap_or_default(),
                ..context.clone()
            };
            herd::fold(&QUESTIONS, &context)
        });
        ReuseFold {
            plan,
            herd,
            cases: Cases::default(),
            netns: None,
            seen: BTreeMap::new(),
            tells_ready: context.attached.iter().any(|its| its == "sk_data_ready"),
        }
    }

    fn event(&mut self, event: &Event) {
        let phase = event.header.phase;
        match &event.body {
            Body::SockState(state) if self.is_ours(state) => {
                let seen = self.seen.entry(phase).or_default();
                seen.by_sock.insert(state.sock, seen.established.len());
                seen.established.push((tuple(state), None));
            }
            Body::DataReady(DataReady { sock, conn, .. }) => {
                let seen = self.seen.entry(phase).or_default();
                let at = seen.by_sock.get(conn);
                if let Some((_, ready)) = at.and_then(|at| seen.established.get_mut(*at)) {
                    *ready = Some(*sock);
                }
            }
            _ => {}
        }
    }

    fn is_ours(&self, state: &SockState) -> bool {
        (state.old, state.new) == (SYN_RECV, ESTABLISHED)
            && state.local_port == PORT
            && Some(state.netns) == self.netns
    }

    fn results(&self) -> Vec<CaseResult> {
        let result = |log| CaseResult::new(log, &self.seen, self.tells_ready);
        self.cases.logs().map(result).collect()
    }
}

fn tuple(state: &SockState) -> Tuple {
    let ip = |bytes: &[u8; 16]| -> IpAddr {
        match (state.family, bytes) {
            (AF_INET, [a, b, c, d, ..]) => Ipv4Addr::new(*a, *b, *c, *d).into(),
            _ => Ipv6Addr::from(*bytes).to_canonical(),
        }
    };
    Tuple {
        client: SocketAddr::new(ip(&state.remote_addr), state.remote_port),
        server: ip(&state.local_addr),
    }
}

impl Fold for ReuseFold {
    fn item(&mut self, item: &Item) {
        if let Item::Mark(mark) = item
            && mark.name == CASE
        {
            let netns = mark.data.get("netns").and_then(serde_json::Value::as_u64);
            self.netns = netns.and_then(|netns| u32::try_from(netns).ok());
        }
        match (item, self.netns, &mut self.herd) {
            (_, None, Some(herd)) => herd.item(item),
            (Item::Event(event), _, _) => self.event(event),
            (Item::Mark(_), _, _) => self.cases.item(item),
        }
    }

    fn interim(&self) -> Ledger {
        ledger::ledger(&self.results())
    }

    fn finish(self: Box<Self>, ending: &Ending) -> Outcome {
        let results = self.results();
        let cases = self.plan.as_ref().map_or(&[][..], |plan| &plan.cases);
        let findings = verdict::judge(cases, &results, ending);
        let mut outcome = match self.herd {
            Some(herd) => herd.finish(ending),
            None => Outcome::default(),
        };
        outcome.findings.extend(findings);
        ledger::add(&mut outcome.ledger, ledger::ledger(&results));
        outcome
    }
}
