//! tcp-states: which states do both ends of a connection go through, and how long do they stay in each?
//!
//! From `inet_sock_set_state`, and from the timers of the small sockets that stand for TIME_WAIT, which no
//! state event shows. What could fool it: the task that runs when a packet comes (a bystander: only system
//! calls name an owner), and a pointer used again (a generation of its own).

mod crossing;
mod judge;
mod lab_fold;
mod peers;
mod scenes;
mod script;
mod tables;
#[cfg(test)]
mod tests;
mod watch_fold;

use anyhow::Result;
use serde_json::json;

use crate::evidence::Claim;
use crate::lab::Lab;
use crate::lab::script::ScriptLab;
use crate::trace::{Context, Fold, LabOption, LabOptions, Mode, Trace, Watching};

pub struct TcpStates;

pub static TCP_STATES: TcpStates = TcpStates;

const HOOKS: &[&str] = &[
    "tcp_state",
    "tcp_destroy_sock",
    "timer_start",
    "timer_expire_entry",
    "inet_csk_accept",
    "surgeon",
];
/// Without timers TIME_WAIT is not seen. The surgeon is the lab's, for one case.
const NEEDS: &[&str] = &["tcp_state", "timer_start"];

pub const ACTIVE_CLOSER: &str = "tcp-states/time-wait-at-active-closer";
pub const SIXTY_SECONDS: &str = "tcp-states/time-wait-60s";
pub const KILLED: &str = "tcp-states/killed-process-closes";

static CLAIMS: [Claim; 3] = [
    Claim {
        id: ACTIVE_CLOSER,
        number: "wrong_count",
        statement: "TIME_WAIT is entered by the end that closes first, and by no other.",
        holds_if: "in every case exactly the ends that sent their FIN before they had the other's enter \
                   TIME_WAIT: the first closer, client or server; both in a simultaneous close",
        refuted_if: "an end that answered a FIN enters TIME_WAIT, or one that closed first does not",
    },
    Claim {
        id: SIXTY_SECONDS,
        number: "armed_max_s",
        statement: "TIME_WAIT lasts 60 seconds, whatever tcp_fin_timeout says.",
        holds_if: "every TIME_WAIT timer is started for 60 s, within 1%; with --full it also runs that long \
                   (timers may be 12.5% late)",
        refuted_if: "a TIME_WAIT timer is started for another time",
    },
    Claim {
        id: KILLED,
        number: "closed_by_fin_count",
        statement: "When a process is killed by SIGKILL, the kernel closes its connections: with a FIN, or \
                    with a reset if data was unread.",
        holds_if: "the connection leaves ESTABLISHED in the context of the killed process; the peer reads its \
                   end where nothing was unread, and ECONNRESET where something was",
        refuted_if: "the connection stays ESTABLISHED, or the peer reads the other",
    },
];

const OPTIONS: &[LabOption] = &[LabOption {
    name: "full",
    value: "",
    help: "Wait until TIME_WAIT is over: a minute for each family",
}];

const EXAMPLES: &[(&str, &str)] = &[
    ("--full", "the lab, with a whole TIME_WAIT"),
    (
        "-a --state TIME_WAIT -d 60s",
        "who has sockets in TIME_WAIT",
    ),
    (
        "-n nginx -i 5s",
        "connections of all processes of that name",
    ),
];

impl Trace for TcpStates {
    fn name(&self) -> &'static str {
        "tcp-states"
    }

    fn summary(&self) -> &'static str {
        "the states of TCP connections, the time in each, TIME_WAIT included, and whose they are"
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

    fn timers(&self) -> &'static [&'static str] {
        &["tw_timer_handler", "reqsk_timer_handler"]
    }

    fn options(&self) -> &'static [LabOption] {
        OPTIONS
    }

    fn examples(&self) -> &'static [(&'static str, &'static str)] {
        EXAMPLES
    }

    fn settings(&self) -> &'static [&'static str] {
        &[
            "net.ipv4.tcp_fin_timeout",
            "net.ipv4.tcp_max_orphans",
            "net.ipv4.tcp_max_tw_buckets",
            "net.ipv4.tcp_tw_reuse",
        ]
    }

    fn watching(&self) -> Watching {
        Watching::Sockets
    }

    fn page(&self) -> &'static str {
        include_str!("../../../../docs/traces/tcp-states.md")
    }

    fn lab(&self, options: &LabOptions) -> Result<Box<dyn Lab>> {
        Ok(Box::new(ScriptLab::new(scenes::cases(options)?)))
    }

    fn lab_options(&self, options: &LabOptions) -> Result<serde_json::Value> {
        let labels: Vec<String> = scenes::cases(options)?
            .into_iter()
            .map(|case| case.label)
            .collect();
        Ok(json!({ "cases": labels, "full": options.flag("full") }))
    }

    fn fold(&self, context: &Context) -> Box<dyn Fold> {
        match context.mode {
            Mode::Lab => Box::new(lab_fold::LabFold::default()),
            Mode::Watch => Box::new(watch_fold::WatchFold::new(context)),
        }
    }
}
