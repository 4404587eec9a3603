//! Which cases the lab of accept-queue runs, by its options: each segment, each setting, both families.

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::marks::Segment;
use super::script;
use crate::exit::usage;
use crate::lab::script::Case;
use crate::trace::{LabOption, LabOptions};

const BUDGET: Duration = Duration::from_secs(40);
const BACKLOG: u32 = 4;
const MOST: u32 = 256;

pub static OPTIONS: &[LabOption] = &[
    LabOption {
        name: "backlog",
        value: "N",
        help: "backlog of the listener (default 4, 2 to 256)",
    },
    LabOption {
        name: "somaxconn",
        value: "N",
        help: "net.core.somaxconn in the sandbox (default 256, 2 to 256)",
    },
    LabOption {
        name: "abort-on-overflow",
        value: "0|1",
        help: "only with this tcp_abort_on_overflow (default: both)",
    },
];

/// What the options come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub backlog: u32,
    pub somaxconn: u32,
    pub abort: Vec<u32>,
    pub variants: Vec<String>,
}

impl Plan {
    /// # Errors
    /// Options that make no sense, as a usage error.
    pub fn new(options: &LabOptions) -> Result<Plan> {
        // The client's request takes one place of a SYN queue that is as long as the accept queue.
        let limited = |name: &str, default: u32| match options.number(name)? {
            Some(n) if !(2..=MOST).contains(&n) => {
                usage(format!("--{name} takes 2 to {MOST}, not {n}"))
            }
            given => Ok(given.unwrap_or(default)),
        };
        let abort = match options.word("abort-on-overflow") {
            None => vec![0, 1],
            Some("0") => vec![0],
            Some("1") => vec![1],
            Some(other) => {
                return usage(format!("--abort-on-overflow takes 0 or 1, not {other:?}"));
            }
        };
        Ok(Plan {
            backlog: limited("backlog", BACKLOG)?,
            somaxconn: limited("somaxconn", MOST)?,
            abort,
            variants: options.variants.clone(),
        })
    }

    fn wants(&self, label: &str) -> bool {
        let mut parts = self.variants.iter();
        self.variants.is_empty() || parts.any(|part| label.contains(part.as_str()))
    }
}

/// # Errors
/// No case has such a label, as a usage error.
pub fn cases(plan: &Plan) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for v6 in [false, true] {
        for abort in &plan.abort {
            cases.extend(Segment::ALL.map(|segment| case(plan, segment, *abort, v6)));
        }
    }
    cases.retain(|case| plan.wants(&case.label));
    if cases.is_empty() {
        return usage("no case has such a label");
    }
    Ok(cases)
}

/// Without cookies a request is queued or dropped; with tcp_syncookies 2 it never is.
fn case(plan: &Plan, segment: Segment, abort: u32, v6: bool) -> Case {
    let backlog = plan.backlog;
    let family = if v6 { "v6" } else { "v4" };
    let label = format!("{}/abort-{abort}/{family}", segment.name());
    let cookies = if segment == Segment::CookieAck { 2 } else { 0 };
    let run = move |stage: &mut crate::lab::script::Stage| script::run(stage, segment, v6, backlog);
    Case::new(label, BUDGET, run)
        .sysctl("net.core.somaxconn", plan.somaxconn)
        .sysctl("net.ipv4.tcp_syncookies", cookies)
        .sysctl("net.ipv4.tcp_abort_on_overflow", abort)
        .sysctl("net.ipv4.tcp_max_syn_backlog", 1024)
}
