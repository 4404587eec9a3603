//! Drops a socket transition that two copies of a program took.
//!
//! A later copy takes what it cannot prove an earlier one has taken (see `again` in probes-ebpf); the two
//! records follow each other within a microsecond. A socket cannot make the same transition twice without
//! another one in between, so the repetition is told by identity.

use probes_common::event::SockState;

use super::item::{Body, Event};

/// Transitions remembered: far more than can lie between the two copies of one event.
const KEPT: usize = 16;

#[derive(Debug, Default)]
pub struct Repeats {
    recent: [Option<SockState>; KEPT],
    next: usize,
}

impl Repeats {
    pub fn is_repeat(&mut self, event: &Event) -> bool {
        let Body::SockState(state) = &event.body else {
            return false;
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use probes_common::event::Header;

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
}
