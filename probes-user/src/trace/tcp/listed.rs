//! What a list of sockets (sock_diag) adds to the flows: those from before the start, and whose they are.

use super::ends::Ends;
use super::flow::{Flow, Owner, Role, Source, TimeWait};
use super::flows::{Flows, HalfOpen};
use super::marks::SocketMark;
use crate::kernel::tcp::{CLOSE, FIN_WAIT2, LISTEN, NEW_SYN_RECV, SYN_RECV, TIME_WAIT};
use crate::stream::Mark;

/// `SocketMark::timer` of a TIME_WAIT socket, one in FIN_WAIT2 included.
const TIMER_OF_TIME_WAIT: u8 = 3;

impl Flows {
    pub(super) fn mark(&mut self, mark: &Mark) {
        self.names.mark(mark);
        if let Some(its) = SocketMark::from_mark(mark) {
            if let Some(owner) = &its.owner {
                self.names.learn(owner.pid, &owner.comm);
            }
            self.listed(mark.ktime, &its);
        }
    }

    fn listed(&mut self, ktime: u64, its: &SocketMark) {
        let ends = Ends::of_mark(its);
        match its.state {
            LISTEN => self.listed_as(self.listed_listener(&ends, its.cookie), ktime, its),
            NEW_SYN_RECV => self.listed_request(ends, ktime),
            SYN_RECV if its.inode == 0 => self.listed_request(ends, ktime),
            CLOSE | 13.. => {}
            _ if its.timer == TIMER_OF_TIME_WAIT || its.state == TIME_WAIT => {
                self.listed_time_wait(ends, ktime, its);
            }
            _ => self.listed_as(self.by_ends.get(&ends).copied(), ktime, its),
        }
    }

    fn listed_request(&mut self, ends: Ends, ktime: u64) {
        self.requests.entry(ends).or_insert(HalfOpen {
            sock: 0,
            since: ktime,
            starts: 0,
            over: false,
        });
    }

    fn listed_as(&mut self, known: Option<u64>, ktime: u64, its: &SocketMark) {
        let key = known.unwrap_or_else(|| self.keep(found(ktime, its)));
        let Some(flow) = self.open.get_mut(&key) else {
            return;
        };
        flow.cookie = flow.cookie.max(its.cookie);
        flow.uid = flow.uid.max(its.uid);
        if its.inode != 0 {
            flow.inode = its.inode;
        }
        if !its.holders.is_empty() {
            flow.holders.clone_from(&its.holders);
        }
        if flow.listed_only {
            flow.snap.bytes_acked = its.bytes_acked;
            flow.snap.bytes_received = its.bytes_received;
            flow.snap.srtt_us = its.rtt_us;
        }
        if let Some(owner) = &its.owner {
            flow.owned(Owner {
                pid: owner.pid,
                comm: owner.comm.clone(),
                source: Source::Descriptor,
            });
        }
    }

    fn listed_time_wait(&mut self, ends: Ends, ktime: u64, its: &SocketMark) {
        let Some(key) = self.by_ends.get(&ends).copied() else {
            let mut flow = found(ktime, its);
            flow.time_wait = Some(TimeWait {
                sock: 0,
                state: its.state,
                started: ktime,
                timeout: 0,
                expired: None,
            });
            self.keep(flow);
            return;
        };
        if let Some(flow) = self.open.get_mut(&key)
            && let Some(small) = &mut flow.time_wait
            && small.state == FIN_WAIT2
            && its.state == TIME_WAIT
        {
            // Its timer told nothing of this; it came at the latest when the list was made.
            small.state = TIME_WAIT;
            if flow.state() == FIN_WAIT2 {
                flow.step(TIME_WAIT, Some(ktime));
            }
        }
    }

    /// A listener by its cookie, else by its address alone, if that is nobody else's.
    pub(super) fn listed_listener(&self, ends: &Ends, cookie: u64) -> Option<u64> {
        let here = |flow: &Flow| {
            flow.is_listener()
                && (flow.ends.netns, flow.ends.local) == (ends.netns, ends.local)
                && (flow.cookie == cookie || flow.cookie == 0 || cookie == 0)
        };
        let all = self.listeners.iter();
        let mut found: Vec<(bool, u64)> = all
            .filter_map(|key| Some((*key, self.open.get(key)?)))
            .filter(|(_, flow)| here(flow))
            .map(|(key, flow)| (flow.cookie != cookie, key))
            .collect();
        found.sort_unstable();
        found.first().map(|(_, key)| *key)
    }

    /// Whose the listener of a connection is, if that is one process and no more.
    pub(super) fn listener_owner(&self, ends: &Ends) -> Option<Owner> {
        let mut owner: Option<&Owner> = None;
        for flow in self.listeners_of(ends) {
            let its = flow.owner.as_ref()?;
            if flow.holders.len() > 1 || owner.is_some_and(|other| other.pid != its.pid) {
                return None;
            }
            owner = Some(its);
        }
        owner.map(|owner| Owner {
            source: Source::Listener,
            ..owner.clone()
        })
    }

    /// The listeners that a connection can have come in by.
    pub fn listeners_of(&self, ends: &Ends) -> impl Iterator<Item = &Flow> {
        let port = ends.local.port();
        let listens = move |flow: &&Flow| {
            let at = flow.ends.local;
            let everywhere = at.ip().is_unspecified();
            flow.state() == LISTEN
                && flow.ends.netns == ends.netns
                && at.port() == port
                && (everywhere || at.ip() == ends.local.ip())
        };
        let all = self.listeners.iter();
        all.filter_map(|key| self.open.get(key)).filter(listens)
    }
}

fn found(ktime: u64, its: &SocketMark) -> Flow {
    let role = if its.state == LISTEN {
        Role::Listener
    } else {
        Role::Unknown
    };
    let mut flow = Flow::new(Ends::of_mark(its), its.family, ktime, role);
    flow.step(its.state, None);
    flow.listed_only = true;
    flow
}
