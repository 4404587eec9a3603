//! What the watched processes listen on, and how they registered it with epoll before the watch began.
//!
//! Sockets are matched by inode, which is one number space for all namespaces. A socket that several
//! descriptors refer to is the inherited listener of a pre-forking server; several sockets on one port
//! are SO_REUSEPORT.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::procfs;
use crate::trace::herd::marks::{ListenerMark, RegistrationMark};

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Listening {
    /// One per listening socket, by port.
    pub listeners: Vec<ListenerMark>,
    /// One per process and epoll descriptor; an instance inherited by all shows in each of them.
    pub registrations: Vec<RegistrationMark>,
    /// Network namespaces (inode numbers) that the processes are in.
    pub netns: BTreeSet<u32>,
}

impl Listening {
    /// Looks at the descriptors of these processes (thread group ids).
    pub fn of(groups: &BTreeSet<u32>) -> Listening {
        let mut found = Listening::default();
        let mut addresses: BTreeMap<u64, SocketAddr> = BTreeMap::new();
        for &tgid in groups {
            // A namespace's table is read once.
            if procfs::netns(tgid).is_some_and(|netns| found.netns.insert(netns)) {
                addresses.append(&mut procfs::listeners(tgid));
            }
        }
        let mut references: BTreeMap<u64, u32> = BTreeMap::new();
        for &tgid in groups {
            let descriptors = procfs::descriptors(tgid);
            for inode in descriptors
                .sockets
                .into_iter()
                .filter(|inode| addresses.contains_key(inode))
            {
                *references.entry(inode).or_default() += 1;
            }
            let registered =
                descriptors
                    .epolls
                    .into_iter()
                    .flatten()
                    .filter_map(|(inode, events)| {
                        addresses.get(&inode).map(|address| RegistrationMark {
                            pid: tgid,
                            port: address.port(),
                            events,
                        })
                    });
            found.registrations.extend(registered);
        }
        let listener = |(inode, sockets): (u64, u32)| {
            let address = addresses.get(&inode)?;
            Some(ListenerMark {
                port: address.port(),
                sockets,
                address: address.ip().to_string(),
            })
        };
        found.listeners = references.into_iter().filter_map(listener).collect();
        found.listeners.sort_by_key(|listener| listener.port);
        found
    }
}
