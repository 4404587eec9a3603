//! Hooks as data: which program, in which instrument, by which ladder it attaches, what is lost without it.

/// A way to attach, tried in the order of the hook's ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rung {
    /// BTF-typed tracepoint: direct loads.
    TpBtf,
    /// Raw tracepoint: the same program, every field by probe read.
    RawTp,
    Fentry,
    Fexit,
    /// A classifier on packets: loaded, and attached to an interface only when a lab asks (`instrument::tc`).
    Tc,
}

impl Rung {
    pub const fn name(self) -> &'static str {
        match self {
            Rung::TpBtf => "tp_btf",
            Rung::RawTp => "raw_tp",
            Rung::Fentry => "fentry",
            Rung::Fexit => "fexit",
            Rung::Tc => "tc",
        }
    }

    /// May the program read typed pointers directly when attached this way?
    pub const fn direct(self) -> bool {
        !matches!(self, Rung::RawTp | Rung::Tc)
    }

    pub fn from_name(name: &str) -> Option<Rung> {
        [
            Rung::TpBtf,
            Rung::RawTp,
            Rung::Fentry,
            Rung::Fexit,
            Rung::Tc,
        ]
        .into_iter()
        .find(|rung| rung.name() == name)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Hook {
    /// The program's function in the object.
    pub program: &'static str,
    /// The tracepoint or function in the kernel.
    pub symbol: &'static str,
    pub ladder: &'static [Rung],
    pub lost_without: &'static str,
    /// The hooks of its further copies, for events that the kernel keeps from a program while it is already
    /// running on the same CPU.
    pub again: &'static [Hook],
}

#[derive(Debug, PartialEq, Eq)]
pub struct Instrument {
    pub name: &'static str,
    /// One line for the docs.
    pub question: &'static str,
    pub hooks: &'static [Hook],
    pub object: Object,
}

/// An ELF, aligned as its parser wants it.
#[derive(PartialEq, Eq)]
pub struct Object(pub &'static [u8]);

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

const TRACEPOINT: &[Rung] = &[Rung::TpBtf, Rung::RawTp];

const fn tracepoint(name: &'static str, lost_without: &'static str) -> Hook {
    Hook {
        program: name,
        symbol: name,
        ladder: TRACEPOINT,
        lost_without,
        again: &[],
    }
}

/// A hook whose events can interrupt each other, with the programs of its further copies.
const fn twice(name: &'static str, again: &'static [Hook], lost_without: &'static str) -> Hook {
    Hook {
        program: name,
        symbol: name,
        ladder: TRACEPOINT,
        lost_without,
        again,
    }
}

const fn copy(program: &'static str, symbol: &'static str) -> Hook {
    let lost_without = "an event that interrupts another one of its hook is lost";
    Hook {
        program,
        symbol,
        ladder: TRACEPOINT,
        lost_without,
        again: &[],
    }
}

static SYS_ENTER_AGAIN: [Hook; 2] = [
    copy("sys_enter_again", "sys_enter"),
    copy("sys_enter_third", "sys_enter"),
];
static SYS_EXIT_AGAIN: [Hook; 2] = [
    copy("sys_exit_again", "sys_exit"),
    copy("sys_exit_third", "sys_exit"),
];
static SET_STATE_AGAIN: [Hook; 1] = [copy("inet_sock_set_state_again", "inet_sock_set_state")];
static FORK_AGAIN: [Hook; 1] = [copy("sched_process_fork_again", "sched_process_fork")];
static EXEC_AGAIN: [Hook; 1] = [copy("sched_process_exec_again", "sched_process_exec")];
static EXIT_AGAIN: [Hook; 1] = [copy("sched_process_exit_again", "sched_process_exit")];

static TCP_STATE_AGAIN: [Hook; 1] = [copy("tcp_state_again", "inet_sock_set_state")];
static RETRANSMIT_AGAIN: [Hook; 1] = [copy("tcp_retransmit_skb_again", "tcp_retransmit_skb")];
static SEND_RESET_AGAIN: [Hook; 1] = [copy("tcp_send_reset_again", "tcp_send_reset")];
static RECEIVE_RESET_AGAIN: [Hook; 1] = [copy("tcp_receive_reset_again", "tcp_receive_reset")];
static DESTROY_AGAIN: [Hook; 1] = [copy("tcp_destroy_sock_again", "tcp_destroy_sock")];
static ERROR_AGAIN: [Hook; 1] = [copy("inet_sk_error_report_again", "inet_sk_error_report")];
static DROP_AGAIN: [Hook; 1] = [copy("kfree_skb_again", "kfree_skb")];

const fn function(
    program: &'static str,
    symbol: &'static str,
    ladder: &'static [Rung],
    lost_without: &'static str,
) -> Hook {
    Hook {
        program,
        symbol,
        ladder,
        lost_without,
        again: &[],
    }
}

#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

macro_rules! object {
    ($name:literal) => {{
        static BYTES: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(
            env!("PROBES_EBPF_OBJECTS"),
            "/",
            $name
        )));
        Object(&BYTES.0)
    }};
}

pub static SCHED: Instrument = Instrument {
    name: "sched",
    question: "Who wakes whom, who runs, who is born and ends?",
    object: object!("sched"),
    hooks: &[
        tracepoint("sched_waking", "nothing says who woke a task"),
        tracepoint("sched_wakeup", "a wake under way looks like a sleep"),
        tracepoint(
            "sched_wakeup_new",
            "the first run of a new task has no queue time",
        ),
        tracepoint("sched_switch", "nothing says who was asleep"),
        twice(
            "sched_process_fork",
            &FORK_AGAIN,
            "children of watched tasks are not followed",
        ),
        twice(
            "sched_process_exec",
            &EXEC_AGAIN,
            "names of tasks after exec stay the old ones",
        ),
        twice(
            "sched_process_exit",
            &EXIT_AGAIN,
            "the byte of an ended task would pass to a new one",
        ),
    ],
};

pub static SYSCALLS: Instrument = Instrument {
    name: "syscalls",
    question: "What did the watched tasks ask of the kernel, and what came back?",
    object: object!("syscalls"),
    hooks: &[
        twice(
            "sys_enter",
            &SYS_ENTER_AGAIN,
            "nothing says what a task slept in",
        ),
        twice(
            "sys_exit",
            &SYS_EXIT_AGAIN,
            "nothing says who accepted a connection",
        ),
    ],
};

pub static SOCK: Instrument = Instrument {
    name: "sock",
    question: "Which connection is being delivered on this CPU, and to which listener?",
    object: object!("sock"),
    hooks: &[
        twice(
            "inet_sock_set_state",
            &SET_STATE_AGAIN,
            "nothing ties a wakeup to a connection",
        ),
        tracepoint(
            "sk_data_ready",
            "which listener of a group became ready is known only by who accepts",
        ),
    ],
};

pub static WAITQUEUE: Instrument = Instrument {
    name: "waitqueue",
    question: "Which wait-queue entries did a connection run, and were they exclusive?",
    object: object!("waitqueue"),
    hooks: &[
        function(
            "tcp_child_process",
            "tcp_child_process",
            &[Rung::Fentry],
            BRACKET,
        ),
        function(
            "tcp_child_process_exit",
            "tcp_child_process",
            &[Rung::Fexit],
            BRACKET,
        ),
        function(
            "autoremove_wake_function",
            "autoremove_wake_function",
            &[Rung::Fexit],
            EXCLUSIVE,
        ),
        function(
            "ep_autoremove_wake_function",
            "ep_autoremove_wake_function",
            &[Rung::Fexit],
            EXCLUSIVE,
        ),
        function("pollwake", "pollwake", &[Rung::Fexit], EXCLUSIVE),
        function(
            "ep_poll_callback",
            "ep_poll_callback",
            &[Rung::Fexit],
            EXCLUSIVE,
        ),
    ],
};

pub static TCP: Instrument = Instrument {
    name: "tcp",
    question: "What became of each followed TCP socket: states, resends, resets, timers, drops, end?",
    object: object!("tcp"),
    hooks: &[
        Hook {
            program: "tcp_state",
            symbol: "inet_sock_set_state",
            ladder: TRACEPOINT,
            lost_without: "no socket's life is seen",
            again: &TCP_STATE_AGAIN,
        },
        twice(
            "tcp_retransmit_skb",
            &RETRANSMIT_AGAIN,
            "resent segments are not seen",
        ),
        tracepoint(
            "tcp_retransmit_synack",
            "resent SYN-ACKs are seen as packets at most",
        ),
        twice(
            "tcp_send_reset",
            &SEND_RESET_AGAIN,
            "nothing says why a reset was sent",
        ),
        twice(
            "tcp_receive_reset",
            &RECEIVE_RESET_AGAIN,
            "a reset that came in is not told from another end",
        ),
        twice(
            "tcp_destroy_sock",
            &DESTROY_AGAIN,
            "the end of a socket is known only by its last state",
        ),
        twice(
            "inet_sk_error_report",
            &ERROR_AGAIN,
            "errors are seen only as results of system calls",
        ),
        twice(
            "kfree_skb",
            &DROP_AGAIN,
            "nothing says where and why a packet was dropped",
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

/// A function of this name, looked at when it returns.
const fn returning(name: &'static str, lost_without: &'static str) -> Hook {
    function(name, name, &[Rung::Fexit], lost_without)
}

const QUEUES: &str = "the queues of a listener at each SYN are known only from counters";
const COOKIES: &str = "cookies are known only from counters";
const BRACKET: &str = "a wakeup is tied to its connection by the kernel stack alone";
const EXCLUSIVE: &str =
    "whether a wait-queue entry was exclusive is not seen, only how many were woken";

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

/// Every instrument there is.
pub static INSTRUMENTS: &[&Instrument] = &[
    &SCHED, &SYSCALLS, &SOCK, &WAITQUEUE, &TCP, &HANDSHAKE, &SURGEON,
];

/// The hook of this program, with its instrument.
pub fn hook(program: &str) -> Option<(&'static Instrument, &'static Hook)> {
    INSTRUMENTS.iter().find_map(|instrument| {
        instrument
            .hooks
            .iter()
            .find(|hook| hook.program == program)
            .map(|hook| (*instrument, hook))
    })
}
