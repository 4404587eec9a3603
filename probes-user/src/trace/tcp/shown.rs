//! Which sockets of a watch are shown: the filter as it was asked for, exactly.
//!
//! The programs let more through than was asked for where an event does not tell yet (a port that is not
//! chosen), and know no owners.

use std::net::IpAddr;

use serde::Deserialize;

use super::flow::Flow;
use super::flows::Flows;
use crate::kernel::tcp::{TIME_WAIT, state_of};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Shown {
    pub of_processes: bool,
    local: Option<IpAddr>,
    local_port: Option<u16>,
    remote: Option<IpAddr>,
    remote_port: Option<u16>,
    netns: Option<u32>,
    family: Option<u16>,
    states: Vec<String>,
}

impl Shown {
    pub fn of(options: &serde_json::Value) -> Shown {
        serde_json::from_value(options.clone()).unwrap_or_default()
    }

    pub fn shows(&self, flow: &Flow, flows: &Flows) -> bool {
        self.fits(flow) && self.in_state(flow) && self.belongs(flow, flows)
    }

    fn fits(&self, flow: &Flow) -> bool {
        let ends = &flow.ends;
        let address = |wanted: Option<IpAddr>, its: IpAddr| {
            wanted.is_none_or(|wanted| wanted.to_canonical() == its)
        };
        address(self.local, ends.local.ip())
            && address(self.remote, ends.remote.ip())
            && self.local_port.is_none_or(|port| port == ends.local.port())
            && self
                .remote_port
                .is_none_or(|port| port == ends.remote.port())
            && self.netns.is_none_or(|netns| netns == ends.netns)
            && self.family.is_none_or(|family| family == flow.family)
    }

    fn in_state(&self, flow: &Flow) -> bool {
        let mut wanted = self.states.iter().filter_map(|name| state_of(name));
        self.states.is_empty()
            || wanted.any(|state| {
                flow.was_in(state)
                    || (state == TIME_WAIT && flow.time_wait.is_some_and(|its| its.state == state))
            })
    }

    /// Whoever has it, or has the listener that it came in by as long as nobody is known to have it.
    fn belongs(&self, flow: &Flow, flows: &Flows) -> bool {
        let names = flows.names();
        let targets = |pids: &[u32]| pids.iter().any(|pid| names.is_target(*pid));
        if !self.of_processes || targets(&flow.holders) {
            return true;
        }
        match &flow.owner {
            Some(owner) => names.is_target(owner.pid),
            None => flows
                .listeners_of(&flow.ends)
                .any(|its| targets(&its.holders)),
        }
    }
}
