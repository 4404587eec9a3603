//! The sentences of accept-queue, written before measuring.

use crate::evidence::Claim;

pub static CLAIMS: [Claim; 2] = [
    Claim {
        id: "accept-queue/drops-ack",
        number: "established_count",
        statement: "With tcp_abort_on_overflow 0 the final ACK that meets a full accept queue is dropped: the \
                    client is ESTABLISHED, the server stays half-open and resends its SYN-ACK.",
        holds_if: "IPv4 and IPv6: after the ACK has come in and an overflow is counted, the client is \
                   ESTABLISHED, its request is still half-open, the listener's queue has not grown, no RST is \
                   sent, and at least one SYN-ACK is resent",
        refuted_if: "the client is reset or accepted while the queue is full, its request is gone, or no \
                     SYN-ACK is resent",
    },
    Claim {
        id: "accept-queue/abort-on-overflow",
        number: "resets_count",
        statement: "With tcp_abort_on_overflow 1 the final ACK that meets a full accept queue is answered with \
                    a RST, and the client is told ECONNRESET.",
        holds_if: "IPv4 and IPv6: after the ACK has come in and an overflow is counted, a RST goes to the \
                   client, the client is closed with ECONNRESET, and its request is gone",
        refuted_if: "no RST goes to the client, or the client stays ESTABLISHED",
    },
];
