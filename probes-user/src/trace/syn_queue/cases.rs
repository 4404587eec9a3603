//! Which cases the lab of syn-queue runs, by its options; each varies one knob.

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::script;
use crate::exit::usage;
use crate::lab::script::Case;
use crate::trace::{LabOption, LabOptions};

const BUDGET: Duration = Duration::from_secs(40);
/// What binds, and what is far from binding.
const SMALL: u32 = 16;
const LARGE: u32 = 256;

pub static OPTIONS: &[LabOption] = &[
    LabOption {
        name: "backlog",
        value: "N",
        help: "backlog of the listener that is flooded (default 16, 1 to 256)",
    },
    LabOption {
        name: "somaxconn",
        value: "N",
        help: "net.core.somaxconn in the sandbox (default 256, 1 to 256)",
    },
    LabOption {
        name: "cookies",
        value: "0|1|2",
        help: "only the flood with this tcp_syncookies (default: each)",
    },
];

/// What the options come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub backlog: u32,
    pub somaxconn: u32,
    /// None = each of them, and the other cases too.
    pub cookies: Option<u32>,
    pub variants: Vec<String>,
}

impl Plan {
    /// # Errors
    /// Options that make no sense, as a usage error.
    pub fn new(options: &LabOptions) -> Result<Plan> {
        let limited = |name: &str, default: u32| match options.number(name)? {
            Some(n) if n == 0 || n > LARGE => {
                usage(format!("--{name} takes 1 to {LARGE}, not {n}"))
            }
            given => Ok(given.unwrap_or(default)),
        };
        let cookies = match options.word("cookies") {
            None => None,
            Some("0") => Some(0),
            Some("1") => Some(1),
            Some("2") => Some(2),
            Some(other) => return usage(format!("--cookies takes 0, 1 or 2, not {other:?}")),
        };
        Ok(Plan {
            backlog: limited("backlog", SMALL)?,
            somaxconn: limited("somaxconn", LARGE)?,
            cookies,
            variants: options.variants.clone(),
        })
    }

    fn wants(&self, label: &str) -> bool {
        let mut parts = self.variants.iter();
        self.variants.is_empty() || parts.any(|part| label.contains(part.as_str()))
    }
}

/// Which knob is small, and what else is set.
struct Knob {
    name: &'static str,
    backlog: u32,
    somaxconn: u32,
    max_syn_backlog: u32,
    cookies: u32,
}

const fn knob(name: &'static str, backlog: u32, somaxconn: u32, syns: u32, cookies: u32) -> Knob {
    Knob {
        name,
        backlog,
        somaxconn,
        max_syn_backlog: syns,
        cookies,
    }
}

/// tcp_max_syn_backlog below the others, with cookies and without: only then does it show where it counts.
const KNOBS: [Knob; 4] = [
    knob("backlog", SMALL, LARGE, LARGE, 0),
    knob("somaxconn", LARGE, SMALL, LARGE, 0),
    knob("max-syn-backlog", 64, LARGE, SMALL, 0),
    knob("max-syn-backlog-cookies", 64, LARGE, SMALL, 1),
];

/// The flood's cases, the options', the knobs'; each over both families.
pub fn cases(plan: &Plan) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for v6 in [false, true] {
        overflows(&mut cases, plan, v6);
        if plan.cookies.is_none() {
            options(&mut cases, v6);
            knobs(&mut cases, v6);
        }
    }
    cases.retain(|case| plan.wants(&case.label));
    if cases.is_empty() {
        return usage("no case has such a label");
    }
    Ok(cases)
}

fn family(v6: bool) -> &'static str {
    if v6 { "v6" } else { "v4" }
}

/// No peer becomes a proven one, for which the kernel keeps a quarter of tcp_max_syn_backlog free.
fn case(
    label: String,
    cookies: u32,
    script: impl Fn(&mut crate::lab::script::Stage) -> Result<()> + Send + Sync + 'static,
) -> Case {
    Case::new(label, BUDGET, script)
        .sysctl("net.ipv4.tcp_syncookies", cookies)
        .sysctl("net.ipv4.tcp_no_metrics_save", 1)
}

fn overflows(cases: &mut Vec<Case>, plan: &Plan, v6: bool) {
    let wanted = (0..=2).filter(|n| plan.cookies.is_none_or(|only| only == *n));
    for cookies in wanted {
        let label = format!("cookies-{cookies}/{}", family(v6));
        let backlog = plan.backlog;
        let made = case(label, cookies, move |stage| {
            script::overflow(stage, v6, backlog)
        });
        let made = made
            .sysctl("net.core.somaxconn", plan.somaxconn)
            .sysctl("net.ipv4.tcp_max_syn_backlog", 4 * LARGE);
        cases.push(made);
    }
}

fn options(cases: &mut Vec<Case>, v6: bool) {
    for timestamps in [1, 0] {
        for (name, cookies) in [("plain", 0), ("cookie", 2)] {
            let label = format!("options/timestamps-{timestamps}/{name}/{}", family(v6));
            let made = case(label, cookies, move |stage| {
                script::options(stage, v6, LARGE)
            });
            cases.push(made.sysctl("net.ipv4.tcp_timestamps", timestamps));
        }
    }
}

fn knobs(cases: &mut Vec<Case>, v6: bool) {
    for knob in KNOBS {
        let label = format!("limit/{}/{}", knob.name, family(v6));
        let made = case(label, knob.cookies, move |stage| {
            script::capacity(stage, v6, knob.backlog)
        });
        let made = made
            .sysctl("net.core.somaxconn", knob.somaxconn)
            .sysctl("net.ipv4.tcp_max_syn_backlog", knob.max_syn_backlog);
        cases.push(made);
    }
}
