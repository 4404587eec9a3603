//! The listeners of the calling thread's network namespace with their queues, beside its knobs and counters.

use std::collections::BTreeMap;

use super::sockdiag::Found;
use crate::kernel::tcp::{LISTEN, NEW_SYN_RECV, SYN_RECV};
use crate::lab::netns::{Nstat, sysctl};
use crate::trace::tcp::queues::{COUNTERS, KNOBS, ListenerMark, QueuesMark};

/// From a list that was made just before. Where no /proc answers, knobs and counters are empty.
pub fn of(netns: u32, sockets: &[Found]) -> QueuesMark {
    let knob = |name: &&str| Some(((*name).to_owned(), sysctl(name).ok()?.parse().ok()?));
    let counted = Nstat::read().unwrap_or_default();
    let counter = |name: &&str| Some(((*name).to_owned(), counted.get(name)?));
    let listeners = listeners(sockets);
    QueuesMark {
        netns,
        knobs: KNOBS.iter().filter_map(knob).collect(),
        counters: COUNTERS.iter().filter_map(counter).collect(),
        listeners_count: listeners.len() as u64,
        listeners,
    }
}

fn listeners(sockets: &[Found]) -> Vec<ListenerMark> {
    let all = || sockets.iter().filter(|its| its.state == LISTEN);
    let mut by_port: BTreeMap<u16, Vec<&Found>> = BTreeMap::new();
    for request in sockets.iter().filter(|its| half_open(its)) {
        let requests = by_port.entry(request.local.port()).or_default();
        requests.push(request);
    }
    let mut at_port: BTreeMap<u16, u32> = BTreeMap::new();
    for listener in all() {
        *at_port.entry(listener.local.port()).or_default() += 1;
    }
    let of = |listener: &Found| {
        let shared = at_port.get(&listener.local.port()) != Some(&1);
        let at = listener.local.ip();
        let own = by_port.get(&listener.local.port()).into_iter().flatten();
        let own = own.filter(|its| at.is_unspecified() || its.local.ip() == at);
        (!shared).then(|| own.count() as u64)
    };
    let mark = |its: &Found| {
        let queue = its.queue?;
        Some(ListenerMark {
            cookie: its.cookie,
            family: its.family,
            local: its.local,
            waiting: queue.waiting,
            limit: queue.limit,
            drops: queue.drops,
            half_open: of(its),
        })
    };
    all().filter_map(mark).collect()
}

/// A request, or the child of one that nobody can have accepted yet.
fn half_open(its: &Found) -> bool {
    its.state == NEW_SYN_RECV || (its.state == SYN_RECV && its.inode == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::sockdiag;

    #[test]
    fn a_listener_of_our_own_has_its_queue_and_the_namespace_its_knobs() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let _waits = std::net::TcpStream::connect(local).unwrap();
        let mark = of(7, &sockdiag::sockets().unwrap());
        assert_eq!(mark.netns, 7);
        assert!(mark.knobs.len() == KNOBS.len() && mark.counters.len() == COUNTERS.len());
        let own = mark.listeners.iter().find(|its| its.local == local);
        let own = own.unwrap();
        assert_eq!(
            (own.waiting, own.half_open, own.drops),
            (1, Some(0), Some(0))
        );
        assert!(mark.listeners_count >= 1 && u64::from(own.limit) <= mark.knobs[KNOBS[0]]);
    }
}
