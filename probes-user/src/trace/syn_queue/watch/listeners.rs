//! Every listener that a list or an event has told of, with both its queues.

use std::collections::HashMap;

use probes_common::tcp::{
    HS_CONN_REQUEST, HS_COOKIE_CHECKED, HS_COOKIE_SENT, HS_REQUEST_QUEUED, Handshake,
};

use crate::trace::tcp::ends::Ends;
use crate::trace::tcp::flow::Flow;
use crate::trace::tcp::flows::Flows;
use crate::trace::tcp::queues::ListenerMark;
use crate::trace::tcp::shown::Shown;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listener {
    /// 0 = known from a list only.
    pub sock: u64,
    pub cookie: u64,
    pub ends: Ends,
    /// None = it was there before the start.
    pub opened: Option<u64>,
    pub closed: Option<u64>,
    /// Its flow as it was at its end.
    flow: Option<Flow>,
    /// `sk_max_ack_backlog`
    pub limit: u32,
    /// By the last list.
    pub half_open: Option<u64>,
    pub half_open_most: u64,
    pub waiting: Option<u32>,
    pub waiting_most: u32,
    /// Requests that entered its queue.
    pub requests: u64,
    pub cookies_sent: u64,
    pub cookies_valid: u64,
    /// Connections established through it; none where another listener has its address.
    pub connections: u64,
    first_drops: Option<u32>,
    last_drops: Option<u32>,
}

impl Listener {
    pub fn handshake(&mut self, its: &Handshake) {
        let before = u64::from(its.snap.request_qlen);
        match its.what {
            HS_REQUEST_QUEUED => {
                self.requests += 1;
                self.lengths(before + 1, its);
            }
            HS_CONN_REQUEST => self.lengths(before, its),
            HS_COOKIE_SENT => self.cookies_sent += 1,
            // The listener itself is what comes back for a segment that is no cookie's.
            HS_COOKIE_CHECKED if its.other != 0 && its.other != its.id.sock => {
                self.cookies_valid += 1;
            }
            _ => {}
        }
    }

    fn lengths(&mut self, half_open: u64, its: &Handshake) {
        self.half_open_most = self.half_open_most.max(half_open);
        self.waiting_most = self.waiting_most.max(its.snap.ack_backlog);
        self.limit = its.snap.max_ack_backlog;
    }

    /// While it was watched.
    pub fn drops(&self) -> Option<u64> {
        let first = match self.opened {
            Some(_) => 0,
            None => self.first_drops?,
        };
        Some(self.last_drops?.wrapping_sub(first).into())
    }
}

#[derive(Debug, Default)]
pub struct Listeners {
    all: Vec<Listener>,
    by_sock: HashMap<u64, usize>,
    /// Those that have not ended, by address and port.
    by_port: HashMap<(u32, u16), Vec<usize>>,
}

impl Listeners {
    /// The listener of a pointer, of a cookie, or else at an address where it is the only one that can be.
    pub fn of(&mut self, sock: u64, cookie: u64, ends: &Ends) -> &mut Listener {
        let key = (ends.netns, ends.local.port());
        let known = self.by_sock.get(&sock).copied().filter(|_| sock != 0);
        let found = known.or_else(|| {
            let here = self.by_port.get(&key)?;
            here.iter().copied().find(|at| {
                self.all.get(*at).is_some_and(|its| {
                    let cookies = its.cookie == cookie || its.cookie == 0 || cookie == 0;
                    let pointers = its.sock == sock || its.sock == 0 || sock == 0;
                    its.ends.local == ends.local && cookies && pointers
                })
            })
        });
        let at = found.unwrap_or_else(|| {
            self.all.push(Listener {
                ends: *ends,
                ..Listener::default()
            });
            self.by_port
                .entry(key)
                .or_default()
                .push(self.all.len() - 1);
            self.all.len() - 1
        });
        if sock != 0 {
            self.by_sock.insert(sock, at);
        }
        let its = &mut self.all[at];
        its.sock = its.sock.max(sock);
        its.cookie = its.cookie.max(cookie);
        its
    }

    pub fn listed(&mut self, netns: u32, mark: &ListenerMark) {
        let ends = Ends {
            netns,
            local: mark.local,
            ..Ends::default()
        };
        let its = self.of(0, mark.cookie, &ends);
        its.limit = mark.limit;
        its.waiting = Some(mark.waiting);
        its.waiting_most = its.waiting_most.max(mark.waiting);
        its.half_open = mark.half_open;
        its.half_open_most = its.half_open_most.max(mark.half_open.unwrap_or_default());
        its.last_drops = mark.drops;
        its.first_drops = its.first_drops.or(mark.drops);
    }

    pub fn closed(&mut self, sock: u64, cookie: u64, ends: &Ends, ktime: u64) {
        let its = self.of(sock, cookie, ends);
        its.closed = Some(ktime);
        (its.half_open, its.waiting) = (None, None);
        let Some(at) = self.by_sock.remove(&sock) else {
            return;
        };
        if let Some(here) = self.by_port.get_mut(&(ends.netns, ends.local.port())) {
            here.retain(|other| *other != at);
        }
    }

    /// Keeps whose it was.
    pub fn ended(&mut self, flow: &Flow) {
        let same = |its: &&mut Listener| {
            (flow.sock != 0 && its.sock == flow.sock)
                || (flow.cookie != 0 && its.cookie == flow.cookie)
        };
        let mut own = self.all.iter_mut().rev();
        if let Some(its) = own.find(same).filter(|its| its.closed.is_some()) {
            its.flow = Some(flow.clone());
        }
    }

    fn at(&self, ends: &Ends) -> impl Iterator<Item = usize> {
        let here = self.by_port.get(&(ends.netns, ends.local.port()));
        let fits = |at: &&usize| {
            self.all.get(**at).is_some_and(|its| {
                let own = its.ends.local.ip();
                own.is_unspecified() || own == ends.local.ip()
            })
        };
        here.into_iter().flatten().filter(fits).copied()
    }

    /// The listener that a packet with these ends is for, if there is no choice.
    pub fn only_one_at(&mut self, ends: &Ends) -> Option<&mut Listener> {
        let mut here = self.at(ends);
        let (first, more) = (here.next()?, here.next());
        drop(here);
        match more {
            None => self.all.get_mut(first),
            Some(_) => None,
        }
    }

    /// Where a packet with these ends goes, if anybody listens there.
    pub fn address_of(&self, ends: &Ends) -> Option<Ends> {
        let at = self.at(ends).next()?;
        let its = self.all.get(at)?;
        Some(Ends {
            local: its.ends.local,
            netns: ends.netns,
            ..Ends::default()
        })
    }

    /// Those that are shown, in order of their addresses, each with its flow, if that is known.
    pub fn rows<'a>(&'a self, flows: &'a Flows, shown: &Shown) -> Vec<(&'a Listener, &'a Flow)> {
        let flow = |its: &'a Listener| {
            let now = || flows.listener(its.sock, its.cookie);
            its.flow.as_ref().or_else(now)
        };
        let mut rows: Vec<(&Listener, &Flow)> = self
            .all
            .iter()
            .filter_map(|its| Some((its, flow(its)?)))
            .filter(|(_, flow)| shown.shows(flow, flows))
            .collect();
        rows.sort_by_key(|(its, _)| (its.ends.netns, its.ends.local, its.opened));
        rows
    }
}
