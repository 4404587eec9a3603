//! The state diagram of TCP (RFC 9293, figure 5) as a table of what `inet_sock_set_state` may say.
//!
//! Linux says CLOSE where TIME_WAIT begins, because a smaller socket takes over, and where a listener's child
//! is made it says LISTEN→SYN_RECV of the child. A transition that is not here has no place in the diagram:
//! then the evidence (or the kernel) is wrong, and nothing is settled by it.

use crate::kernel::tcp::{
    CLOSE, CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, LAST_ACK, LISTEN, SYN_RECV,
    SYN_SENT,
};

/// From, to, and what does it.
pub const TRANSITIONS: &[(u8, u8, &str)] = &[
    (CLOSE, LISTEN, "listen"),
    (CLOSE, SYN_SENT, "connect: SYN sent"),
    (
        LISTEN,
        SYN_RECV,
        "a child for a SYN, made when its last ACK came",
    ),
    (LISTEN, CLOSE, "close of a listener"),
    (SYN_SENT, ESTABLISHED, "SYN+ACK came, ACK sent"),
    (SYN_SENT, SYN_RECV, "SYN came: simultaneous open"),
    (SYN_SENT, CLOSE, "close, reset or timeout"),
    (SYN_RECV, ESTABLISHED, "ACK of the SYN came"),
    (SYN_RECV, FIN_WAIT1, "close: FIN sent"),
    (SYN_RECV, CLOSE_WAIT, "FIN came"),
    (SYN_RECV, CLOSE, "reset or timeout"),
    (ESTABLISHED, FIN_WAIT1, "close or shutdown: FIN sent"),
    (ESTABLISHED, CLOSE_WAIT, "FIN came"),
    (ESTABLISHED, CLOSE, "reset, sent or received, or timeout"),
    (FIN_WAIT1, FIN_WAIT2, "ACK of the FIN came"),
    (FIN_WAIT1, CLOSING, "FIN came: simultaneous close"),
    (FIN_WAIT1, CLOSE, "reset or timeout"),
    (
        FIN_WAIT2,
        CLOSE,
        "FIN came: TIME_WAIT; or reset, or timeout",
    ),
    (
        CLOSING,
        CLOSE,
        "ACK of the FIN came: TIME_WAIT; or reset, or timeout",
    ),
    (CLOSE_WAIT, LAST_ACK, "close: FIN sent"),
    (CLOSE_WAIT, CLOSE, "reset, sent or received, or timeout"),
    (LAST_ACK, CLOSE, "ACK of the FIN came; or reset, or timeout"),
];

/// Is there such an arrow?
pub fn allows(from: u8, to: u8) -> bool {
    TRANSITIONS
        .iter()
        .any(|(old, new, _)| (*old, *new) == (from, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tcp::TIME_WAIT;

    #[test]
    fn every_state_but_time_wait_can_be_entered_and_left() {
        let states = [
            LISTEN,
            SYN_SENT,
            SYN_RECV,
            ESTABLISHED,
            FIN_WAIT1,
            FIN_WAIT2,
            CLOSING,
            CLOSE_WAIT,
            LAST_ACK,
            CLOSE,
        ];
        for state in states {
            assert!(
                TRANSITIONS.iter().any(|(from, _, _)| *from == state),
                "{state}"
            );
            assert!(TRANSITIONS.iter().any(|(_, to, _)| *to == state), "{state}");
        }
        assert!(
            TRANSITIONS
                .iter()
                .all(|(from, to, _)| *from != TIME_WAIT && *to != TIME_WAIT)
        );
    }

    #[test]
    fn short_cuts_are_refused() {
        for (from, to) in [
            (CLOSE, ESTABLISHED),
            (FIN_WAIT2, FIN_WAIT1),
            (CLOSE_WAIT, CLOSING),
            (ESTABLISHED, LISTEN),
        ] {
            assert!(!allows(from, to), "{from} {to}");
        }
    }
}
