//! Hooks on sockets and packets.

use super::{
    Aligned, Hook, Instrument, Object, Rung, TRACEPOINT, copy, function, named, returning,
    tracepoint,
};

pub static SOCK: Instrument = Instrument {
    name: "sock",
    question: "Which connection is being delivered on this CPU, and to which listener?",
    object: object!("sock"),
    hooks: &[
        twice!(
            "inet_sock_set_state",
            "nothing ties a wakeup to a connection"
        ),
        tracepoint(
            "sk_data_ready",
            "which listener of a group became ready is known only by who accepts",
        ),
    ],
};

pub static TCP: Instrument = Instrument {
    name: "tcp",
    question: "What became of each followed TCP socket: states, resends, resets, timers, drops, end?",
    object: object!("tcp"),
    hooks: &[
        twice!("tcp_state" of "inet_sock_set_state", "no socket's life is seen"),
        twice!("tcp_retransmit_skb", "resent segments are not seen"),
        tracepoint(
            "tcp_retransmit_synack",
            "resent SYN-ACKs are seen as packets at most",
        ),
        twice!("tcp_send_reset", "nothing says why a reset was sent"),
        twice!(
            "tcp_receive_reset",
            "a reset that came in is not told from another end"
        ),
        twice!(
            "tcp_destroy_sock",
            "the end of a socket is known only by its last state"
        ),
        twice!(
            "inet_sk_error_report",
            "errors are seen only as results of system calls"
        ),
        twice!(
            "kfree_skb",
            "nothing says where and why a packet was dropped"
        ),
        tracepoint("timer_start", "which timer runs, and how long, is not seen"),
        tracepoint(
            "timer_expire_entry",
            "whether a timer ran out or was stopped is not seen",
        ),
    ],
};

pub static HANDSHAKE: Instrument = Instrument {
    name: "handshake",
    question: "What did a listener do with a SYN, a cookie, a request, an accept?",
    object: object!("handshake"),
    hooks: &[
        returning("tcp_conn_request", QUEUES),
        returning("cookie_v4_init_sequence", COOKIES),
        returning("cookie_v6_init_sequence", COOKIES),
        returning("cookie_v4_check", COOKIES),
        returning("cookie_v6_check", COOKIES),
        returning(
            "inet_csk_accept",
            "who accepted a connection is not known by socket",
        ),
        returning(
            "inet_csk_reqsk_queue_drop",
            "a request that is given up is known only by what follows",
        ),
        Hook {
            program: "request_queued",
            symbol: "timer_start",
            ladder: TRACEPOINT,
            lost_without: "how full a listener's queues were is known only from lists",
            again: &[],
        },
    ],
};

pub static SURGEON: Instrument = Instrument {
    name: "surgeon",
    question: "Which TCP packets came in at the lab's interface, and which of them are to be lost?",
    object: object!("surgeon"),
    hooks: &[function(
        "surgeon",
        "clsact ingress",
        &[Rung::Tc],
        "no packet can be lost on purpose, and none is seen",
    )],
};

const QUEUES: &str = "the queues of a listener at each SYN are known only from counters";

const COOKIES: &str = "cookies are known only from counters";
