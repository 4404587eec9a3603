//! What is claimed, and what would refute it.

use crate::evidence::Claim;

pub const SWITCH_COST: Claim = Claim {
    id: "wakeups/switch-cost",
    number: "pipe_switches_ratio",
    statement: "A blocking hand-off between two tasks on one CPU, to the other and back, costs exactly two \
        context switches.",
    holds_if: "by pipe and by futex: in every hand-off in which nobody else has the CPU each task sleeps exactly \
        once and there are exactly two switches (sched_switch), from the one to the other and back; these are at \
        least half of all; the kernel's own voluntary and involuntary switches of both tasks are those seen",
    refuted_if: "such a hand-off has another number of switches, or of sleeps",
};

pub const CHAIN: Claim = Claim {
    id: "wakeups/chain",
    number: "chains_right_count",
    statement: "In A→B→C wakings alone show the chain and the time of each hop, and each delay from waking over \
        being queued to running has its cause: busy CPU, migration, idle exit, or a timer's interrupt as waker.",
    holds_if: "in every turn of the lab: the hop to C follows from the hop to B; each waking lies inside the call \
        that its waker stamped; from B's waking to C's is as long as their stamps allow; the delay is split in \
        order at sched_wakeup. Where the waker kept the CPU, the delay reaches to its end and is told as busy, of the \
        first hops at least three of four with the waker's name (in between the chain's head may look after it); \
        where the sleeper was given another CPU, it names the migration and the CPU; a nap is ended by \
        hrtimer_wakeup at or after its time, whoever is current",
    refuted_if: "a chain, a time, an order or a provoked cause is found otherwise",
};

pub static CLAIMS: [Claim; 2] = [SWITCH_COST, CHAIN];
