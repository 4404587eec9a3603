//! The watch: both queues of every listener against their limits, what was dropped, and which knob binds.
//!
//! A list of the kernel's about once a second (sock_diag) has every listener's accept queue, its limit and the
//! packets it dropped; the first start of a request's timer leads to the listener whose queue it enters, with
//! both lengths at that moment; where functions can be probed, `tcp_conn_request` and the cookie functions tell
//! of every SYN. What could fool it: cookies and queue-full drops are counted by namespace, not by listener.

mod listeners;
mod tables;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;

use probes_common::tcp::{Handshake, SkbDrop, TcpState};

use self::listeners::Listeners;
use crate::evidence::Ledger;
use crate::kernel::tcp::{CLOSE, ESTABLISHED, LISTEN, SYN_RECV};
use crate::stream::{Body, Event, Item};
use crate::trace::tcp::ends::Ends;
use crate::trace::tcp::flows::Flows;
use crate::trace::tcp::marks::SocketMark;
use crate::trace::tcp::queues::QueuesMark;
use crate::trace::tcp::shown::Shown;
use crate::trace::{Context, Ending, Fold, Outcome};

/// What is read of a namespace beside its listeners.
#[derive(Debug, Clone)]
pub struct Namespace {
    pub first: QueuesMark,
    pub last: QueuesMark,
}

impl Namespace {
    /// How much a counter has grown.
    pub fn grown(&self, name: &str) -> u64 {
        let before = self.first.counter(name);
        self.last.counter(name).saturating_sub(before)
    }

    /// Whatever is counted here is of its one listener.
    pub fn of_one(&self) -> bool {
        self.first.listeners_count <= 1 && self.last.listeners_count == 1
    }
}

pub struct WatchFold {
    context: Context,
    shown: Shown,
    flows: Flows,
    listeners: Listeners,
    namespaces: BTreeMap<u32, Namespace>,
    /// Packets to a listener's address that were dropped: by the kernel's reason.
    dropped: BTreeMap<(Ends, Option<u32>), u64>,
    begun: Option<u64>,
}

impl WatchFold {
    pub fn new(context: &Context) -> WatchFold {
        WatchFold {
            context: context.clone(),
            shown: Shown::of(&context.options),
            flows: Flows::default(),
            listeners: Listeners::default(),
            namespaces: BTreeMap::new(),
            dropped: BTreeMap::new(),
            begun: None,
        }
    }

    fn attached(&self, program: &str) -> bool {
        self.context.attached.iter().any(|own| own == program)
    }

    fn event(&mut self, item: &Item, event: &Event) {
        match &event.body {
            Body::TcpState(its) => self.state(item, event.header.ktime, its),
            Body::Handshake(its) => self.handshake(its),
            Body::SkbDrop(its) => self.drop(its),
            Body::Fork(_) | Body::Exec(_) | Body::Exit(_) => self.flows.item(item),
            _ => {}
        }
    }

    fn state(&mut self, item: &Item, ktime: u64, its: &TcpState) {
        let ends = Ends::of(&its.id);
        match (its.old, its.new) {
            (CLOSE, LISTEN) => {
                self.flows.item(item);
                let own = self.listeners.of(its.id.sock, its.id.cookie, &ends);
                own.opened = Some(ktime);
                own.limit = its.snap.max_ack_backlog;
            }
            (LISTEN, CLOSE) => {
                self.listeners
                    .closed(its.id.sock, its.id.cookie, &ends, ktime);
                self.flows.item(item);
            }
            (SYN_RECV, ESTABLISHED) => {
                if let Some(own) = self.listeners.only_one_at(&ends) {
                    own.connections += 1;
                }
            }
            _ => {}
        }
    }

    fn handshake(&mut self, its: &Handshake) {
        let ends = Ends::of(&its.id);
        // A cookie is made without a word of the listener.
        let own = match its.id.sock {
            0 => self.listeners.only_one_at(&ends),
            sock => Some(self.listeners.of(sock, its.id.cookie, &ends)),
        };
        if let Some(own) = own {
            own.handshake(its);
        }
    }

    fn drop(&mut self, its: &SkbDrop) {
        let ends = Ends::of(&its.id);
        if let Some(at) = self.listeners.address_of(&ends) {
            let reason = self.context.reason_name("skb_drop_reason", its.reason);
            let reason = reason.map(|_| its.reason);
            *self.dropped.entry((at, reason)).or_default() += 1;
        }
    }

    fn queues(&mut self, mark: QueuesMark) {
        for its in &mark.listeners {
            self.listeners.listed(mark.netns, its);
        }
        let first = mark.clone();
        let its = self.namespaces.entry(mark.netns).or_insert(Namespace {
            first,
            last: mark.clone(),
        });
        its.last = mark;
    }

    /// Namespaces where somebody listens.
    fn with_listeners(&self) -> BTreeMap<u32, &Namespace> {
        let all = self.namespaces.iter().map(|(netns, its)| (*netns, its));
        all.filter(|(_, its)| !its.last.listeners.is_empty())
            .collect()
    }

    fn ledger(&self) -> Ledger {
        let view = tables::View {
            begun: self.begun.unwrap_or_default(),
            namespaces: self.with_listeners(),
            functions: self.attached("tcp_conn_request"),
            cookies: self.attached("cookie_v4_init_sequence"),
            timers: self.attached("request_queued"),
            context: &self.context,
        };
        let rows = self.listeners.rows(&self.flows, &self.shown);
        Ledger {
            tables: view.tables(&rows, &self.dropped),
            remarks: words::remarks(&view, &rows),
            timeline: Vec::new(),
        }
    }
}

impl Fold for WatchFold {
    fn item(&mut self, item: &Item) {
        self.begun.get_or_insert(item.ktime());
        match item {
            Item::Event(event) => self.event(item, event),
            Item::Mark(mark) => match QueuesMark::from_mark(mark) {
                Some(mark) => self.queues(mark),
                // Of sockets only listeners are followed.
                None => {
                    let socket = SocketMark::from_mark(mark);
                    if socket.is_none_or(|its| its.state == LISTEN) {
                        self.flows.item(item);
                    }
                }
            },
        }
        for flow in self.flows.take_done() {
            self.listeners.ended(&flow);
        }
    }

    fn interim(&self) -> Ledger {
        self.ledger()
    }

    fn finish(self: Box<Self>, ending: &Ending) -> Outcome {
        let mut ledger = self.ledger();
        let lost: u64 = ending.lost.values().sum();
        if lost > 0 {
            let remark = format!("records lost, so that counts of events are too low: {lost}");
            ledger.remarks.insert(0, remark);
        }
        Outcome {
            findings: Vec::new(),
            ledger,
        }
    }
}
