//! zero-copy: how often the CPU copies a file's bytes on their way to a socket, by each way to send them.
//!
//! From `net_dev_queue` and `skb_copy_datagram_iovec` (whose pages packets hold), counted system calls,
//! `sched_switch`. What could fool it: packets that leave after the last call (counted until the receiver has
//! all), pages of another file (by inode), segments sent twice (the namespace counts them).

mod claims;
mod facts;
mod judge;
mod kinds;
mod ledger;
#[cfg(test)]
mod tests;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::evidence::{Claim, Ledger};
use crate::exit::usage;
use crate::lab::Lab;
use crate::lab::script::ScriptLab;
use crate::lab::transfer;
use crate::stream::Item;
use crate::trace::scripted::Cases;
use crate::trace::{Context, Ending, Fold, LabOption, LabOptions, Outcome, Trace, Watching};

pub struct ZeroCopy;
pub static ZERO_COPY: ZeroCopy = ZeroCopy;

/// Needed ones first; then what adds precision or a second witness.
const HOOKS: &[&str] = &[
    "net_dev_queue",
    "skb_copy_datagram_iovec",
    "sys_enter",
    "sys_exit",
    "sched_switch",
    "mm_page_alloc",
    "page_fault_user",
    "page_fault_kernel",
    "tcp_sendmsg_turn",
    "tcp_sendmsg_locked",
    "do_tcp_sendpages",
    "generic_file_read_iter",
    "shmem_file_read_iter",
];
const NEEDS: usize = 5;

const SIZE: u32 = 64;
/// MiB; a mapping and a file in memory of that size must fit.
const LARGEST: u32 = 1024;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Options {
    #[serde(default)]
    variants: Vec<String>,
    size_mib: u32,
}

impl Options {
    fn of(options: &LabOptions) -> Result<Options> {
        let size_mib = options.number("size")?.unwrap_or(SIZE);
        if !(1..=LARGEST).contains(&size_mib) {
            return usage(format!("--size takes 1 to {LARGEST} MiB, not {size_mib}"));
        }
        Ok(Options {
            variants: options.variants.clone(),
            size_mib,
        })
    }

    fn asked(&self) -> LabOptions {
        LabOptions {
            variants: self.variants.clone(),
            ..LabOptions::default()
        }
    }
}

impl Trace for ZeroCopy {
    fn name(&self) -> &'static str {
        "zero-copy"
    }

    fn summary(&self) -> &'static str {
        "how often the CPU copies a file's bytes on their way to a socket, and what each way costs"
    }

    fn claims(&self) -> &'static [Claim] {
        &claims::CLAIMS
    }

    fn hooks(&self) -> &'static [&'static str] {
        HOOKS
    }

    fn needs(&self) -> &'static [&'static str] {
        &HOOKS[..NEEDS]
    }

    fn counts_calls(&self) -> bool {
        true
    }

    fn options(&self) -> &'static [LabOption] {
        &[LabOption {
            name: "size",
            value: "N",
            help: "MiB of the file that is sent [default: 64]",
        }]
    }

    fn examples(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "--size 8 --variant sendfile",
                "a small file, by sendfile() only",
            ),
            (
                "--variant kinds/",
                "what sendfile() says to each kind of file",
            ),
        ]
    }

    fn settings(&self) -> &'static [&'static str] {
        &[
            "fs.pipe-max-size",
            "net.core.optmem_max",
            "net.ipv4.tcp_wmem",
        ]
    }

    fn functions(&self) -> &'static [&'static str] {
        &["do_tcp_sendpages", "tcp_sendpage"]
    }

    fn watching(&self) -> Watching {
        Watching::Nothing
    }

    fn page(&self) -> &'static str {
        include_str!("../../../../docs/traces/zero-copy.md")
    }

    fn lab(&self, options: &LabOptions) -> Result<Box<dyn Lab>> {
        let size = u64::from(Options::of(options)?.size_mib) << 20;
        let cases = transfer::cases(size, |label| options.wants(label));
        if cases.is_empty() {
            return usage(format!(
                "no case is called {}",
                options.variants.join(" or ")
            ));
        }
        Ok(Box::new(ScriptLab::new(cases)))
    }

    fn lab_options(&self, options: &LabOptions) -> Result<serde_json::Value> {
        Ok(serde_json::to_value(Options::of(options)?)?)
    }

    fn fold(&self, context: &Context) -> Box<dyn Fold> {
        let attached = |name: &str| context.attached.iter().any(|own| own == name);
        let options: Options = serde_json::from_value(context.options.clone()).unwrap_or_default();
        Box::new(LabFold {
            cases: Cases::default(),
            asked: options.asked(),
            evidence: judge::Evidence {
                functions: attached("tcp_sendmsg_locked"),
                turns: attached("tcp_sendmsg_turn"),
            },
        })
    }
}

struct LabFold {
    cases: Cases,
    asked: LabOptions,
    evidence: judge::Evidence,
}

impl LabFold {
    fn facts(&self) -> judge::Cases {
        let logs = self.cases.logs();
        logs.map(|log| (log.label.clone(), facts::read(log)))
            .collect()
    }
}

impl Fold for LabFold {
    fn item(&mut self, item: &Item) {
        self.cases.item(item);
    }

    fn interim(&self) -> Ledger {
        ledger::of(&self.facts())
    }

    fn incomplete(&self) -> bool {
        let last = self.cases.last().map(facts::read);
        matches!(last, Some(Ok(facts::Facts::Transfer(transfer))) if transfer.fault().is_some())
    }

    fn finish(self: Box<Self>, ending: &Ending) -> Outcome {
        let facts = self.facts();
        let mut ledger = ledger::of(&facts);
        ledger.remarks.extend(self.cases.remark());
        let blocked = ending.blocks(&[]);
        let asked = |label: &str| self.asked.wants(label);
        Outcome {
            findings: judge::judge(&facts, asked, blocked.as_ref(), &self.evidence),
            ledger,
        }
    }
}
