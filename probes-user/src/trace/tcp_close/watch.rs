//! The watch: every RST that a followed socket sent or got, who did it to whom, and why.
//!
//! A reset that a system call or the end of a process sends is the current task's; any other belongs to whoever
//! has the socket. What could fool it: a RST from another machine, or one without a full socket on 5.10 and 6.1,
//! has no sender here, and its cause is known there only.

use std::collections::{BTreeMap, HashMap};

use probes_common::event::Header;
use probes_common::tcp::{RESET_SENT, TcpReset};
use serde_json::{Value, json};

use super::cause::Cause;
use super::evidence::{Names, Resets, comm};
use super::ledger::slug;
use crate::evidence::Ledger;
use crate::evidence::ledger::Table;
use crate::kernel::tcp::state_name;
use crate::stream::{Body, Event, Item};
use crate::trace::tcp::ends::Ends;
use crate::trace::tcp::flow::Flow;
use crate::trace::tcp::flows::Flows;
use crate::trace::{Ending, Fold, Outcome};

/// Lines that are kept; all are counted.
const LINES: usize = 10_000;
/// Ended sockets whose owner may still be asked for: a socket is CLOSE before it resets.
const GONE: usize = 4096;

#[derive(Debug, Clone, Default, PartialEq)]
struct Who {
    pid: u32,
    comm: String,
}

impl Who {
    fn text(&self) -> String {
        match self.pid {
            0 => "?".to_owned(),
            pid => format!("{}[{pid}]", self.comm),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Line {
    ktime: u64,
    sender: Option<Who>,
    receiver: Option<Who>,
    /// As the sender has them, or would.
    ends: Ends,
    state: u8,
    /// None = the sender is not here.
    cause: Option<Cause>,
    unread: u32,
    reason: Option<String>,
}

pub struct WatchFold {
    names: Names,
    resets: Resets,
    flows: Flows,
    gone: HashMap<u64, Flow>,
    lines: Vec<Line>,
    /// Lines that have one end only, by the sender's ends. The event of sending comes before or after the
    /// sending itself, and on loopback the other end gets the RST inside of it.
    half: HashMap<Ends, usize>,
    of_processes: bool,
    /// Names of states; none = any.
    states: Vec<String>,
    dropped: u64,
    begun: Option<u64>,
}

impl WatchFold {
    pub fn new(names: Names, options: &Value) -> WatchFold {
        WatchFold {
            names,
            resets: Resets::default(),
            flows: Flows::default(),
            gone: HashMap::new(),
            lines: Vec::new(),
            half: HashMap::new(),
            of_processes: options["of_processes"].as_bool().unwrap_or_default(),
            states: serde_json::from_value(options["states"].clone()).unwrap_or_default(),
            dropped: 0,
            begun: None,
        }
    }

    fn event(&mut self, event: &Event) {
        match &event.body {
            Body::TcpState(change) => self.resets.state(change),
            Body::TcpReset(reset) if reset.direction == RESET_SENT => {
                self.sent(&event.header, reset);
            }
            Body::TcpReset(reset) => self.received(&event.header, reset),
            Body::TcpDestroy(its) => self.resets.destroyed(its.id.sock),
            _ => {}
        }
    }

    fn owner(&self, sock: u64, ends: &Ends) -> Option<Who> {
        let gone = self.gone.get(&sock).filter(|flow| flow.ends == *ends);
        let flow = self.flows.find(sock, ends).or(gone)?;
        let owner = flow.owner.as_ref()?;
        Some(Who {
            pid: owner.pid,
            comm: owner.comm.clone(),
        })
    }

    fn sent(&mut self, header: &Header, reset: &TcpReset) {
        let sent = self.resets.sent(header, reset, &self.names);
        let ends = Ends::of(&reset.id);
        let known = self.owner(reset.id.sock, &ends);
        let sender = match sent.cause.own_doing() && header.tgid != 0 {
            true => Some(self.current(header, reset)),
            false => known,
        };
        let line = Line {
            ktime: header.ktime,
            sender,
            receiver: None,
            ends,
            state: self.resets.before(reset).unwrap_or(reset.id.state),
            cause: Some(sent.cause),
            unread: sent.unread,
            reason: sent.reason,
        };
        match self.other_half(&ends, |other| other.cause.is_none()) {
            Some(other) => {
                let receiver = other.receiver.take();
                *other = Line { receiver, ..line };
            }
            None => self.push(line),
        }
    }

    fn other_half(&mut self, ends: &Ends, fits: impl Fn(&Line) -> bool) -> Option<&mut Line> {
        let at = self.half.get(ends).copied()?;
        if !self.lines.get(at).is_some_and(fits) {
            return None;
        }
        self.half.remove(ends);
        self.lines.get_mut(at)
    }

    /// The process of the current task; a thread's own name is the next best.
    fn current(&self, header: &Header, reset: &TcpReset) -> Who {
        let known = self.flows.names().of(header.tgid);
        let comm = match known.is_empty() {
            true => comm(&reset.comm),
            false => known,
        };
        Who {
            pid: header.tgid,
            comm,
        }
    }

    fn received(&mut self, header: &Header, reset: &TcpReset) {
        let here = Ends::of(&reset.id);
        let receiver = self.owner(reset.id.sock, &here);
        let ends = here.mirrored();
        // The other end is here too, and has told why.
        if let Some(line) = self.other_half(&ends, |other| other.cause.is_some()) {
            line.receiver = receiver;
            return;
        }
        self.push(Line {
            ktime: header.ktime,
            sender: None,
            receiver,
            ends,
            state: reset.id.state,
            cause: None,
            unread: 0,
            reason: None,
        });
    }

    fn push(&mut self, line: Line) {
        if self.lines.len() >= LINES {
            self.dropped += 1;
            return;
        }
        self.half.insert(line.ends, self.lines.len());
        self.lines.push(line);
    }

    fn wanted(&self, line: &Line) -> bool {
        let target = |who: &Option<Who>| {
            who.as_ref()
                .is_some_and(|who| self.flows.names().is_target(who.pid))
        };
        let state = state_name(line.state);
        let state = self.states.is_empty() || self.states.iter().any(|wanted| wanted == state);
        state && (!self.of_processes || target(&line.sender) || target(&line.receiver))
    }

    fn ledger(&self) -> Ledger {
        let lines: Vec<&Line> = self.lines.iter().filter(|line| self.wanted(line)).collect();
        let mut remarks = Vec::new();
        if self.dropped > 0 {
            remarks.push(format!("{} more resets are not listed.", self.dropped));
        }
        if lines.is_empty() {
            remarks.push("No followed socket sent a RST or got one.".to_owned());
        }
        if self.names.reasons.is_empty() {
            remarks.push(
                "This kernel tells of no RST sent without a full socket (closed port, TIME_WAIT, half-open)."
                    .to_owned(),
            );
        }
        Ledger {
            tables: vec![causes(&lines), resets(&lines), self.facts_of(&lines)],
            remarks,
            timeline: Vec::new(),
        }
    }

    /// What the lines do not have room for.
    fn facts_of(&self, lines: &[&Line]) -> Table {
        let columns = [
            ("at_ms", "ms"),
            ("ends", "from → to"),
            ("unread_bytes", "unread"),
            ("reason", "kernel's reason"),
        ];
        let mut table = Table::new("reset_facts", "the same RSTs in time", &columns);
        let begun = self.begun.unwrap_or_default();
        for line in lines {
            table.rows.push(vec![
                json!(line.ktime.saturating_sub(begun) / 1_000_000),
                json!(ends_of(line)),
                json!(line.unread),
                json!(line.reason),
            ]);
        }
        table.detailed()
    }
}

fn ends_of(line: &Line) -> String {
    format!("{} → {}", line.ends.local, line.ends.remote)
}

fn resets(lines: &[&Line]) -> Table {
    let mut table = Table::new(
        "resets",
        "every RST: who sent it to whom, and why",
        &[
            ("sender", "sent by"),
            ("receiver", "got by"),
            ("ends", "from → to"),
            ("state", "in state"),
            ("cause", "cause"),
        ],
    );
    for line in lines {
        table.rows.push(vec![
            json!(line.sender.as_ref().map(Who::text)),
            json!(line.receiver.as_ref().map(Who::text)),
            json!(ends_of(line)),
            json!(state_name(line.state)),
            json!(words(line.cause)),
        ]);
    }
    table
}

fn words(cause: Option<Cause>) -> &'static str {
    cause.map_or("by a peer that is not here", Cause::words)
}

fn causes(lines: &[&Line]) -> Table {
    let mut table = Table::new(
        "causes",
        "resets by cause",
        &[
            ("cause", "cause"),
            ("sender", "sent by"),
            ("count", "count"),
            ("unread_bytes", "unread"),
            ("key", "key"),
        ],
    );
    let mut counts: BTreeMap<(Option<Cause>, String), (u64, u64)> = BTreeMap::new();
    for line in lines {
        let comm = line
            .sender
            .as_ref()
            .map_or("-".to_owned(), |who| who.comm.clone());
        let count = counts.entry((line.cause, comm)).or_default();
        count.0 += 1;
        count.1 += u64::from(line.unread);
    }
    for ((cause, comm), (count, unread)) in counts {
        table.rows.push(vec![
            json!(words(cause)),
            json!(comm),
            json!(count),
            json!(unread),
            json!(cause.map_or("by-peer", slug)),
        ]);
    }
    table
}

impl Fold for WatchFold {
    fn item(&mut self, item: &Item) {
        self.begun.get_or_insert(item.ktime());
        self.flows.item(item);
        for flow in self.flows.take_done() {
            if self.gone.len() >= GONE {
                self.gone.clear();
            }
            self.gone.insert(flow.sock, flow);
        }
        if let Item::Event(event) = item {
            self.event(event);
        }
    }

    fn interim(&self) -> Ledger {
        self.ledger()
    }

    fn finish(self: Box<Self>, _ending: &Ending) -> Outcome {
        Outcome {
            findings: Vec::new(),
            ledger: self.ledger(),
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
