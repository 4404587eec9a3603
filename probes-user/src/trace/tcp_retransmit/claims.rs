//! The sentences of tcp-retransmit, and the numbers that settle them, written before measuring.

use crate::evidence::Claim;

pub const TIED: &str = "tcp-retransmit/every-resend-has-its-loss";
pub const BACKS_OFF: &str = "tcp-retransmit/rto-backs-off";
pub const TAIL: &str = "tcp-retransmit/tail-loss-probe";
pub const LONE: &str = "tcp-retransmit/lone-segment-waits";
pub const FAST: &str = "tcp-retransmit/fast";
pub const THREE: &str = "tcp-retransmit/needs-three-duplicates";
pub const SYN: &str = "tcp-retransmit/syn";
pub const SYN_ACK: &str = "tcp-retransmit/syn-ack";
pub const NEEDLESS: &str = "tcp-retransmit/needless-resends-are-told";

pub static CLAIMS: [Claim; 9] = [
    Claim {
        id: TIED,
        number: "segment_lost_count",
        statement: "Every resend answers a loss: of its segment, or of the acknowledgement of its segment.",
        holds_if: "in all cases, each resend repeats bytes of which a copy was dropped before and none got through, \
            or whose acknowledgements had all been dropped; tail-loss probes, which go out on mere silence, are \
            counted apart when nothing was lost; and of each segment the wire carried one copy more than it was resent",
        refuted_if: "one resend that is no probe, of bytes of which nothing was dropped, neither segment nor \
            acknowledgement",
    },
    Claim {
        id: BACKS_OFF,
        number: "everything_v4_waited_ms",
        statement: "When nothing comes back, the retransmission timer resends, each wait twice the one before.",
        holds_if: "cases everything/*: 3 resends by the timer or more in a row, their back-off steps 0, 1, 2 and so on; the first wait \
            (icsk_rto) is at least tcp_rto_min (200 ms), each further one twice the one before; the timer is armed for \
            each, and for the one after, to within 1 jiffy more or a quarter less; no resend comes more than a quarter early",
        refuted_if: "a wait that is not twice the one before, or is armed otherwise, a step that does not count, a \
            first wait below the minimum, or a resend more than a quarter early",
    },
    Claim {
        id: TAIL,
        number: "tail_v4_waited_ms",
        statement: "When the end of a flight is lost, a probe resends its last segment after two round trips.",
        holds_if: "cases tail/* (the last 2 of 10 segments dropped): the first resend is a tail-loss probe of the very \
            last segment, armed for at most 2 smoothed round-trip times and 3 jiffies; the other one follows by \
            recovery; no retransmission time-out",
        refuted_if: "the first resend is no probe, or one of another segment, or is armed for longer, or there is a \
            time-out",
    },
    Claim {
        id: LONE,
        number: "lone_v4_waited_ms",
        statement: "A lost segment that was alone in flight is resent no sooner than after the minimal time-out.",
        holds_if: "cases lone/* (the only segment in flight dropped): its resend, probe or time-out, comes at least \
            tcp_rto_min (200 ms) after the drop, to within a quarter",
        refuted_if: "a resend that comes sooner",
    },
    Claim {
        id: FAST,
        number: "recovered_count",
        statement: "A segment lost amid a flight is resent once acknowledgements tell of later ones, before any timer.",
        holds_if: "cases middle/* (the 3rd of 10 segments dropped, in 5 flights): each dropped segment is resent once, \
            in recovery, by an acknowledgement or RACK's reordering timer; no time-out",
        refuted_if: "a dropped segment that is resent by a time-out or a probe, or there is any time-out",
    },
    Claim {
        id: THREE,
        number: "before_rto_count",
        statement: "With less than three duplicate acknowledgements, a loss waits for the retransmission time-out.",
        holds_if: "cases first-of-two/* (the first of 2 segments dropped, in 5 flights, so that one later segment \
            tells of it): each dropped segment is resent by the time-out",
        refuted_if: "a dropped segment is resent otherwise: in recovery or by a probe",
    },
    Claim {
        id: SYN,
        number: "syn_v4_waited_ms",
        statement: "A lost SYN is sent again after one second.",
        holds_if: "cases syn/* (the first SYN dropped): one SYN is resent, by a timer armed for 1 s (to within 1 jiffy \
            more or a quarter less), not sooner",
        refuted_if: "another wait, a second resend, or none",
    },
    Claim {
        id: SYN_ACK,
        number: "syn_ack_v4_waited_ms",
        statement: "A lost SYN-ACK is sent again by the timer of the half-open request, after one second.",
        holds_if: "cases syn-ack/* (the first SYN-ACK dropped, and every SYN but the first): one SYN-ACK is resent, \
            when the request's own timer goes off, armed for 1 s (to within 1 jiffy more or \
            a quarter less), not sooner",
        refuted_if: "another wait, a second resend, or one that no timer of the request's has sent",
    },
    Claim {
        id: NEEDLESS,
        number: "needless_count",
        statement: "When only acknowledgements are lost, the receiver gets the segment again and tells the sender so.",
        holds_if: "cases acks/* (the acknowledgements of a segment and of its first resend dropped): every resend \
            repeats bytes that had got through; the receiver answers each with a D-SACK (TCPDSACKOldSent), and the \
            sender counts those that were not dropped (TCPDSACKRecv), at least 1",
        refuted_if: "a resend of bytes that had not got through, or another number of D-SACKs sent or heard",
    },
];
