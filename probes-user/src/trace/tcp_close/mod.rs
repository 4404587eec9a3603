//! tcp-close: what close() does with data that is on its way, unread or unsent; and why a RST was sent.
//!
//! From `inet_sock_set_state`, `tcp_send_reset` with its stack, `tcp_receive_reset` and the surgeon's packets.
//! What could fool it: a reset without a full socket, of which 5.10 and 6.1 tell no event; a reset sent on the
//! back of the other end; a peer that had read before the RST came (its state is asked first).

mod cause;
mod evidence;
mod judge;
mod lab;
mod ledger;
mod marks;
mod rst;
mod verdict;
mod watch;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use self::evidence::{CaseView, Names};
use crate::evidence::{Claim, Ledger};
use crate::exit::usage;
use crate::lab::Lab;
use crate::lab::script::ScriptLab;
use crate::stream::Item;
use crate::trace::scripted::Cases;
use crate::trace::{Context, Ending, Fold, LabOptions, Mode, Outcome, Trace, Watching};

pub struct TcpClose;

pub static TCP_CLOSE: TcpClose = TcpClose;

const HOOKS: &[&str] = &[
    "tcp_state",
    "tcp_send_reset",
    "tcp_receive_reset",
    "tcp_destroy_sock",
    "surgeon",
];
const NEEDS: &[&str] = &[
    "tcp_state",
    "tcp_send_reset",
    "tcp_receive_reset",
    "surgeon",
];

/// The lab's options as the fold gets them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Options {
    #[serde(default)]
    variants: Vec<String>,
}

fn names(context: &Context) -> Names {
    let reasons = context.enums.get("sk_rst_reason").into_iter().flatten();
    let plain = |name: &str| name.trim_start_matches("SK_RST_REASON_").to_owned();
    Names {
        symbols: context.symbols.clone(),
        reasons: reasons.map(|(value, name)| (*value, plain(name))).collect(),
    }
}

impl Trace for TcpClose {
    fn name(&self) -> &'static str {
        "tcp-close"
    }

    fn summary(&self) -> &'static str {
        "what close() does with data unsent or unread, SO_LINGER, and why every RST was sent"
    }

    fn claims(&self) -> &'static [Claim] {
        &verdict::CLAIMS
    }

    fn hooks(&self) -> &'static [&'static str] {
        HOOKS
    }

    fn needs(&self) -> &'static [&'static str] {
        NEEDS
    }

    fn symbols(&self) -> &'static [&'static str] {
        &cause::NAMES
    }

    fn examples(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("--variant linger", "only the cases about SO_LINGER"),
            (
                "--variant cause/ -v",
                "resets in every way, provoked and found",
            ),
        ]
    }

    fn settings(&self) -> &'static [&'static str] {
        &[
            "net.ipv4.tcp_max_orphans",
            "net.ipv4.tcp_orphan_retries",
            "net.ipv4.tcp_wmem",
        ]
    }

    fn watching(&self) -> Watching {
        Watching::Sockets
    }

    fn page(&self) -> &'static str {
        include_str!("../../../../docs/traces/tcp-close.md")
    }

    fn lab(&self, options: &LabOptions) -> Result<Box<dyn Lab>> {
        let cases = lab::cases(|label| options.wants(label));
        if cases.is_empty() {
            return usage(format!(
                "no case is called {}",
                options.variants.join(" or ")
            ));
        }
        Ok(Box::new(ScriptLab::new(cases)))
    }

    fn lab_options(&self, options: &LabOptions) -> Result<serde_json::Value> {
        Ok(serde_json::to_value(Options {
            variants: options.variants.clone(),
        })?)
    }

    fn fold(&self, context: &Context) -> Box<dyn Fold> {
        if context.mode == Mode::Watch {
            return Box::new(watch::WatchFold::new(names(context), &context.options));
        }
        let options: Options = serde_json::from_value(context.options.clone()).unwrap_or_default();
        Box::new(LabFold {
            names: names(context),
            asked: LabOptions {
                variants: options.variants,
                ..LabOptions::default()
            },
            cases: Cases::default(),
        })
    }
}

struct LabFold {
    names: Names,
    asked: LabOptions,
    cases: Cases,
}

impl Fold for LabFold {
    fn item(&mut self, item: &Item) {
        self.cases.item(item);
    }

    fn interim(&self) -> Ledger {
        ledger::of_lab(&self.cases, &self.names)
    }

    fn incomplete(&self) -> bool {
        let last = self.cases.last();
        last.is_some_and(|log| !CaseView::new(log, &self.names).counts_agree())
    }

    fn finish(self: Box<Self>, ending: &Ending) -> Outcome {
        let mut ledger = self.interim();
        ledger.remarks.extend(self.cases.remark());
        Outcome {
            findings: verdict::judge(&self.cases, &self.names, &self.asked, ending),
            ledger,
        }
    }
}
