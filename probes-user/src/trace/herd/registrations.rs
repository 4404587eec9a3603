//! Who has a listener in which epoll instance, and with what flags, as far as seen.
//!
//! From successful epoll_ctl calls on listening sockets, from /proc at the start of a watch, and from
//! fork. Keyed by process, since threads share their descriptors.

use std::collections::{BTreeMap, BTreeSet};

use probes_common::event::SysExit;

use super::calls;

/// More than any server has; a watch must not grow without bound.
const LIMIT: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    /// The mask as epoll_ctl took it last.
    pub events: u32,
    /// Times it was added or changed.
    pub set: u64,
    /// Times it was removed.
    pub removed: u64,
    pub standing: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Registrations {
    /// By process and port.
    by_process: BTreeMap<(u32, u16), Registration>,
    /// Processes by port, those standing only.
    standing: BTreeMap<u16, BTreeSet<u32>>,
    /// Of processes that have exited; only shown.
    departed: Vec<(u32, u16, Registration)>,
}

impl Registrations {
    pub fn set(&mut self, tgid: u32, port: u16, events: u32) {
        if self.by_process.len() >= LIMIT && !self.by_process.contains_key(&(tgid, port)) {
            return;
        }
        let registration = self.by_process.entry((tgid, port)).or_insert(Registration {
            events,
            set: 0,
            removed: 0,
            standing: true,
        });
        registration.events = events;
        registration.set += 1;
        registration.standing = true;
        self.standing.entry(port).or_default().insert(tgid);
    }

    /// A successful or failed epoll_ctl; only a listener's counts.
    pub fn epoll_ctl(&mut self, tgid: u32, exit: &SysExit) {
        if exit.ret != 0 || exit.fd_state != calls::LISTEN {
            return;
        }
        if exit.args[1] & 0xffff_ffff == calls::CTL_DEL {
            self.remove(tgid, exit.fd_port);
        } else {
            self.set(tgid, exit.fd_port, exit.epoll_events);
        }
    }

    fn remove(&mut self, tgid: u32, port: u16) {
        if let Some(registration) = self.by_process.get_mut(&(tgid, port)) {
            registration.removed += 1;
            registration.standing = false;
        }
        if let Some(processes) = self.standing.get_mut(&port) {
            processes.remove(&tgid);
        }
    }

    /// The child of a fork has its parent's epoll instances.
    pub fn inherit(&mut self, parent: u32, child: u32) {
        let inherited: Vec<(u16, u32)> = self
            .by_process
            .range((parent, 0)..=(parent, u16::MAX))
            .filter(|(_, registration)| registration.standing)
            .map(|((_, port), registration)| (*port, registration.events))
            .collect();
        for (port, events) in inherited {
            self.set(child, port, events);
        }
    }

    pub fn forget(&mut self, tgid: u32) {
        let ports: Vec<u16> = self
            .by_process
            .range((tgid, 0)..=(tgid, u16::MAX))
            .map(|((_, port), _)| *port)
            .collect();
        for port in ports {
            let last = self.by_process.remove(&(tgid, port));
            if let Some(last) = last.filter(|_| self.departed.len() < LIMIT) {
                self.departed.push((tgid, port, last));
            }
            if let Some(processes) = self.standing.get_mut(&port) {
                processes.remove(&tgid);
            }
        }
    }

    /// Has this process a listener in an epoll instance, or had it one?
    pub fn has(&self, tgid: u32) -> bool {
        let ports = (tgid, 0)..=(tgid, u16::MAX);
        self.by_process.range(ports).next().is_some()
    }

    pub fn stands(&self, tgid: u32, port: u16) -> bool {
        self.standing
            .get(&port)
            .is_some_and(|processes| processes.contains(&tgid))
    }

    pub fn any(&self, port: u16) -> bool {
        self.standing
            .get(&port)
            .is_some_and(|processes| !processes.is_empty())
    }

    /// Those of processes that have exited as well.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u16, &Registration)> {
        let living = self.by_process.iter();
        let departed = self.departed.iter();
        living
            .map(|((tgid, port), registration)| (*tgid, *port, registration))
            .chain(departed.map(|(tgid, port, registration)| (*tgid, *port, registration)))
    }
}
