//! Drops an event that two copies of a program took.
//!
//! A later copy takes what it cannot prove an earlier one has taken (see `again` in probes-ebpf); the two
//! records follow each other within a microsecond. A socket cannot make the same transition twice without
//! another one in between, so the repetition is told by identity. Records of TCP say which copy took them:
//! there a later copy's is a repetition when the first copy's is there as well.

use probes_common::event::SockState;

use super::item::{Body, Event};

/// Transitions remembered: far more than can lie between the two copies of one event.
const KEPT: usize = 16;
/// Between the two copies lies at most an interrupt, which an emulated processor may take long over, ns.
const APART: u64 = 10_000_000;

#[derive(Debug, Default)]
pub struct Repeats {
    recent: [Option<SockState>; KEPT],
    next: usize,
    firsts: [Option<First>; KEPT],
    next_first: usize,
}

/// An event of TCP that a first copy took.
#[derive(Debug, Clone, Copy)]
struct First {
    ktime: u64,
    key: Key,
}

/// What event it is, of which socket or packet, and which of that.
type Key = (u8, u64, u64);

impl Repeats {
    pub fn is_repeat(&mut self, event: &Event) -> bool {
        let Body::SockState(state) = &event.body else {
            return self.has_first(event);
        };
        let newest_first = (1..=KEPT).map(|back| &self.recent[(self.next + KEPT - back) % KEPT]);
        let last = newest_first.flatten().find(|seen| seen.sock == state.sock);
        if last.is_some_and(|last| (last.old, last.new) == (state.old, state.new)) {
            return true;
        }
        self.recent[self.next] = Some(*state);
        self.next = (self.next + 1) % KEPT;
        false
    }

    fn has_first(&mut self, event: &Event) -> bool {
        let Some(key) = key(&event.body) else {
            return false;
        };
        let ktime = event.header.ktime;
        if event.header.again == 0 {
            self.firsts[self.next_first] = Some(First { ktime, key });
            self.next_first = (self.next_first + 1) % KEPT;
            return false;
        }
        let same = |first: &First| first.key == key && ktime.abs_diff(first.ktime) < APART;
        let found = self
            .firsts
            .iter_mut()
            .find(|first| first.as_ref().is_some_and(same));
        // One repetition for each.
        found.and_then(Option::take).is_some()
    }
}

fn key(body: &Body) -> Option<Key> {
    match body {
        Body::TcpState(p) => Some((1, p.id.sock, u64::from(p.old) << 8 | u64::from(p.new))),
        Body::TcpRetransmit(p) => Some((2, p.id.sock, u64::from(p.seq))),
        Body::TcpReset(p) => {
            let ports = u64::from(p.id.local_port) << 16 | u64::from(p.id.remote_port);
            Some((3 + p.direction, p.id.sock, ports))
        }
        Body::TcpDestroy(p) => Some((5, p.id.sock, 0)),
        Body::SockError(p) => Some((6, p.id.sock, u64::from(p.err))),
        Body::SkbDrop(p) => Some((7, p.skb, u64::from(p.seq))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use probes_common::event::Header;
    use probes_common::tcp::{SkbDrop, SockId};

    fn transition(sock: u64, old: u8, new: u8) -> Event {
        let state = SockState {
            sock,
            netns: 1,
            family: 2,
            old,
            new,
            local_port: 80,
            remote_port: 4000,
            _pad: 0,
            local_addr: [0; 16],
            remote_addr: [0; 16],
        };
        Event {
            header: Header::default(),
            body: Body::SockState(state),
        }
    }

    fn dropped(skb: u64, again: u32, ktime: u64) -> Event {
        Event {
            header: Header {
                ktime,
                again,
                ..Header::default()
            },
            body: Body::SkbDrop(SkbDrop {
                id: SockId::default(),
                skb,
                ..SkbDrop::default()
            }),
        }
    }

    #[test]
    fn the_same_transition_twice_in_a_row_is_one() {
        let mut repeats = Repeats::default();
        assert!(!repeats.is_repeat(&transition(1, 3, 1)));
        assert!(!repeats.is_repeat(&transition(2, 3, 1)));
        assert!(repeats.is_repeat(&transition(1, 3, 1)));
    }

    #[test]
    fn a_socket_that_lives_again_is_no_repeat() {
        let mut repeats = Repeats::default();
        for (old, new) in [(3, 1), (1, 8), (8, 7), (3, 1)] {
            assert!(
                !repeats.is_repeat(&transition(1, old, new)),
                "{old} to {new}"
            );
        }
    }

    #[test]
    fn what_a_later_copy_takes_is_a_repeat_only_beside_the_first() {
        let mut repeats = Repeats::default();
        assert!(
            !repeats.is_repeat(&dropped(1, 1, 10)),
            "the first missed it"
        );
        assert!(!repeats.is_repeat(&dropped(1, 0, 20)));
        assert!(repeats.is_repeat(&dropped(1, 1, 21)));
        assert!(!repeats.is_repeat(&dropped(1, 1, 22)), "once for each");
    }

    #[test]
    fn the_same_packet_dropped_twice_by_first_copies_is_two() {
        let mut repeats = Repeats::default();
        assert!(!repeats.is_repeat(&dropped(1, 0, 20)));
        assert!(!repeats.is_repeat(&dropped(1, 0, 21)));
        assert!(!repeats.is_repeat(&dropped(1, 1, 21 + APART)), "too late");
    }
}
