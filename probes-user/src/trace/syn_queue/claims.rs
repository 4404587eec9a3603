//! The sentences of syn-queue, written before measuring.

use crate::evidence::Claim;

pub static CLAIMS: [Claim; 5] = [
    Claim {
        id: "syn-queue/overflow-refuses",
        number: "came_through_count",
        statement: "With tcp_syncookies 0 a listener whose SYN queue is full refuses new connections: \
                    it drops their SYNs and does not answer.",
        holds_if: "IPv4 and IPv6: the queue being full of spoofed SYNs, none of 4 genuine connects comes \
                   through or is sent a SYN-ACK, each of their SYNs is counted as dropped, and one before \
                   the flood came through",
        refuted_if: "1 or more of them comes through or is sent a SYN-ACK while the queue is full",
    },
    Claim {
        id: "syn-queue/cookies-when-full",
        number: "came_through_count",
        statement: "With tcp_syncookies 1 a listener whose SYN queue is full still accepts connections, \
                    by cookies and without half-open entries.",
        holds_if: "IPv4 and IPv6: the queue being full of spoofed SYNs, 4 of 4 genuine connects are accepted, \
                   4 valid cookies are counted, and no request timer starts for them",
        refuted_if: "fewer than 4 of 4 are accepted while the queue is full",
    },
    Claim {
        id: "syn-queue/cookies-always",
        number: "came_through_count",
        statement: "With tcp_syncookies 2 every connection is made by a cookie, however empty the SYN queue; \
                    nothing is ever half-open.",
        holds_if: "IPv4 and IPv6: every genuine connection is accepted by a valid cookie, no request timer \
                   starts for them or for the spoofed SYNs, and one made just before with tcp_syncookies 1 \
                   had a request timer and no cookie",
        refuted_if: "1 or more connections without a valid cookie, or 1 or more half-open entries",
    },
    Claim {
        id: "syn-queue/cookies-lose-options",
        number: "timestamps_1_v4_lost",
        statement: "A connection made by a SYN cookie loses TCP options that both ends wanted: \
                    SACK, window scale or timestamps.",
        holds_if: "IPv4 and IPv6, with TCP timestamps and without: at least one option that a connection \
                   without cookies has is missing in the SYN-ACK and in TCP_INFO of both ends",
        refuted_if: "with TCP timestamps or without, the connection by cookie has every option that the one \
                     without cookies has",
    },
    Claim {
        id: "syn-queue/binding-limit",
        number: "limit_backlog_v4_held_count",
        statement: "A listener holds as many half-open connections as the smallest of its backlog, somaxconn \
                    and tcp_max_syn_backlog says.",
        holds_if: "IPv4 and IPv6: each of the three in turn being the smallest, tcp_max_syn_backlog without \
                   cookies and with, the entries held at the end of the flood are exactly that many",
        refuted_if: "in any of these cases another number is held",
    },
];
