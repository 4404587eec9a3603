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

static INSERT_AGAIN: [Hook; 1] = [copy(
    "mm_filemap_add_to_page_cache_again",
    "mm_filemap_add_to_page_cache",
)];
static DELETE_AGAIN: [Hook; 1] = [copy(
    "mm_filemap_delete_from_page_cache_again",
    "mm_filemap_delete_from_page_cache",
)];
static DIRTY_FOLIO_AGAIN: [Hook; 1] =
    [copy("writeback_dirty_folio_again", "writeback_dirty_folio")];
static DIRTY_PAGE_AGAIN: [Hook; 1] = [copy("writeback_dirty_page_again", "writeback_dirty_page")];
static PAGE_BIO_AGAIN: [Hook; 1] = [copy("page_cache_bio_again", "block_bio_queue")];
static PAGE_ENTER_AGAIN: [Hook; 1] = [copy("page_cache_enter_again", "sys_enter")];
static PAGE_EXIT_AGAIN: [Hook; 1] = [copy("page_cache_exit_again", "sys_exit")];
static PAGE_FAULT_AGAIN: [Hook; 1] = [copy("page_cache_fault_again", "page_fault_user")];

static TCP_STATE_AGAIN: [Hook; 1] = [copy("tcp_state_again", "inet_sock_set_state")];
static RETRANSMIT_AGAIN: [Hook; 1] = [copy("tcp_retransmit_skb_again", "tcp_retransmit_skb")];
static SEND_RESET_AGAIN: [Hook; 1] = [copy("tcp_send_reset_again", "tcp_send_reset")];
static RECEIVE_RESET_AGAIN: [Hook; 1] = [copy("tcp_receive_reset_again", "tcp_receive_reset")];
static DESTROY_AGAIN: [Hook; 1] = [copy("tcp_destroy_sock_again", "tcp_destroy_sock")];
static ERROR_AGAIN: [Hook; 1] = [copy("inet_sk_error_report_again", "inet_sk_error_report")];
static DROP_AGAIN: [Hook; 1] = [copy("kfree_skb_again", "kfree_skb")];

/// A hook whose tracepoint bears another name than its program.
const fn named(
    program: &'static str,
    symbol: &'static str,
    again: &'static [Hook],
    lost_without: &'static str,
) -> Hook {
    Hook {
        program,
        symbol,
        ladder: TRACEPOINT,
        lost_without,
        again,
    }
}

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
        tracepoint(
            "sched_migrate_task",
            "a change of CPU is known only from where a task runs next",
        ),
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

static BLOCK_BIO_QUEUE_AGAIN: [Hook; 1] = [copy("block_bio_queue_again", "block_bio_queue")];
static BLOCK_BIO_BACKMERGE_AGAIN: [Hook; 1] =
    [copy("block_bio_backmerge_again", "block_bio_backmerge")];
static BLOCK_BIO_FRONTMERGE_AGAIN: [Hook; 1] =
    [copy("block_bio_frontmerge_again", "block_bio_frontmerge")];
static BLOCK_SPLIT_AGAIN: [Hook; 1] = [copy("block_split_again", "block_split")];
static BLOCK_BIO_REMAP_AGAIN: [Hook; 1] = [copy("block_bio_remap_again", "block_bio_remap")];
static BLOCK_BIO_COMPLETE_AGAIN: [Hook; 1] =
    [copy("block_bio_complete_again", "block_bio_complete")];
static BLOCK_GETRQ_AGAIN: [Hook; 1] = [copy("block_getrq_again", "block_getrq")];
static BLOCK_PLUG_AGAIN: [Hook; 1] = [copy("block_plug_again", "block_plug")];
static BLOCK_UNPLUG_AGAIN: [Hook; 1] = [copy("block_unplug_again", "block_unplug")];
static BLOCK_RQ_INSERT_AGAIN: [Hook; 1] = [copy("block_rq_insert_again", "block_rq_insert")];
static BLOCK_RQ_MERGE_AGAIN: [Hook; 1] = [copy("block_rq_merge_again", "block_rq_merge")];
static BLOCK_RQ_ISSUE_AGAIN: [Hook; 1] = [copy("block_rq_issue_again", "block_rq_issue")];
static BLOCK_RQ_REQUEUE_AGAIN: [Hook; 1] = [copy("block_rq_requeue_again", "block_rq_requeue")];
static BLOCK_RQ_COMPLETE_AGAIN: [Hook; 1] = [copy("block_rq_complete_again", "block_rq_complete")];
static INODE_DIRTY_AGAIN: [Hook; 1] = [copy(
    "block_inode_dirty_again",
    "writeback_mark_inode_dirty",
)];

pub static BLOCK: Instrument = Instrument {
    name: "block",
    question: "What became of each request of a disk, how long did it wait and work, and whose was it?",
    object: object!("block"),
    hooks: &[
        twice(
            "block_bio_queue",
            &BLOCK_BIO_QUEUE_AGAIN,
            "what was asked of a disk is not known",
        ),
        twice(
            "block_bio_backmerge",
            &BLOCK_BIO_BACKMERGE_AGAIN,
            "merges are seen only as fewer requests",
        ),
        twice(
            "block_bio_frontmerge",
            &BLOCK_BIO_FRONTMERGE_AGAIN,
            "merges are seen only as fewer requests",
        ),
        twice(
            "block_split",
            &BLOCK_SPLIT_AGAIN,
            "splits are seen only as more requests",
        ),
        twice(
            "block_bio_remap",
            &BLOCK_BIO_REMAP_AGAIN,
            "how much came through partitions and mappers is not known",
        ),
        twice(
            "block_bio_complete",
            &BLOCK_BIO_COMPLETE_AGAIN,
            "bios that drivers end themselves are not seen",
        ),
        twice(
            "block_getrq",
            &BLOCK_GETRQ_AGAIN,
            "who submitted a request, and when, is known only from its insertion on",
        ),
        twice(
            "block_plug",
            &BLOCK_PLUG_AGAIN,
            "how requests were held back for merging is not seen",
        ),
        twice(
            "block_unplug",
            &BLOCK_UNPLUG_AGAIN,
            "how requests were held back for merging is not seen",
        ),
        twice(
            "block_rq_insert",
            &BLOCK_RQ_INSERT_AGAIN,
            "when a request came to the scheduler is not known",
        ),
        twice(
            "block_rq_merge",
            &BLOCK_RQ_MERGE_AGAIN,
            "merges are seen only as fewer requests",
        ),
        twice(
            "block_rq_issue",
            &BLOCK_RQ_ISSUE_AGAIN,
            "nothing says when a request went to the driver",
        ),
        twice(
            "block_rq_requeue",
            &BLOCK_RQ_REQUEUE_AGAIN,
            "requests that the driver gave back look slow",
        ),
        twice(
            "block_rq_complete",
            &BLOCK_RQ_COMPLETE_AGAIN,
            "nothing says when a request was done",
        ),
        named(
            "block_inode_dirty",
            "writeback_mark_inode_dirty",
            &INODE_DIRTY_AGAIN,
            "who dirtied what a kernel worker writes back is not known",
        ),
    ],
};

static SUBMIT_REQ_AGAIN: [Hook; 1] = [copy("io_uring_submit_req_again", "io_uring_submit_req")];
static SUBMIT_SQE_AGAIN: [Hook; 1] = [copy("io_uring_submit_sqe_again", "io_uring_submit_sqe")];
static POLL_ARM_AGAIN: [Hook; 1] = [copy("io_uring_poll_arm_again", "io_uring_poll_arm")];
static ASYNC_WORK_AGAIN: [Hook; 1] = [copy(
    "io_uring_queue_async_work_again",
    "io_uring_queue_async_work",
)];
static COMPLETE_AGAIN: [Hook; 1] = [copy("io_uring_complete_again", "io_uring_complete")];

pub static URING: Instrument = Instrument {
    name: "uring",
    question: "Which way did each request of io_uring take: inline, by poll, by a worker, and how long?",
    object: object!("uring"),
    hooks: &[
        twice(
            "io_uring_submit_req",
            &SUBMIT_REQ_AGAIN,
            "requests are not known (up to 6.1 io_uring_submit_sqe tells them)",
        ),
        twice(
            "io_uring_submit_sqe",
            &SUBMIT_SQE_AGAIN,
            "requests are not known (since 6.5 io_uring_submit_req tells them)",
        ),
        twice(
            "io_uring_poll_arm",
            &POLL_ARM_AGAIN,
            "a request that waits for its file looks as if a device had it",
        ),
        twice(
            "io_uring_queue_async_work",
            &ASYNC_WORK_AGAIN,
            "a request that a worker does looks as if a device had it",
        ),
        twice(
            "io_uring_complete",
            &COMPLETE_AGAIN,
            "nothing says when a request was complete",
        ),
        tracepoint(
            "io_uring_cqe_overflow",
            "completions that found no room are not seen (before 5.16 none are)",
        ),
    ],
};

pub static PAGE_CACHE: Instrument = Instrument {
    name: "page_cache",
    question: "What comes into the page cache, was it there when asked for, who dirties and writes it back?",
    object: object!("page_cache"),
    hooks: &[
        twice(
            "mm_filemap_add_to_page_cache",
            &INSERT_AGAIN,
            "nothing says what came into the page cache",
        ),
        twice(
            "mm_filemap_delete_from_page_cache",
            &DELETE_AGAIN,
            "what leaves the page cache, used or not, is not seen",
        ),
        twice(
            "writeback_dirty_folio",
            &DIRTY_FOLIO_AGAIN,
            "who dirtied a page is not seen (5.10 has writeback_dirty_page instead)",
        ),
        twice(
            "writeback_dirty_page",
            &DIRTY_PAGE_AGAIN,
            "who dirtied a page is not seen (6.1 and later have writeback_dirty_folio instead)",
        ),
        named(
            "page_cache_bio",
            "block_bio_queue",
            &PAGE_BIO_AGAIN,
            "who writes pages back, and when, is not seen",
        ),
        named(
            "page_cache_enter",
            "sys_enter",
            &PAGE_ENTER_AGAIN,
            "what a read call asks for is not known",
        ),
        named(
            "page_cache_exit",
            "sys_exit",
            &PAGE_EXIT_AGAIN,
            "what a read call got is not known",
        ),
        named(
            "page_cache_fault",
            "page_fault_user",
            &PAGE_FAULT_AGAIN,
            "page faults are known from the process's own counts only",
        ),
        tracepoint(
            "mm_filemap_get_pages",
            "look-ups are known from the read calls alone",
        ),
        tracepoint(
            "mm_filemap_fault",
            "on which file a page fault was is known only where a page came in",
        ),
        tracepoint(
            "mm_filemap_map_pages",
            "faults that map pages around them are not told apart",
        ),
        tracepoint("page_cache_sync_ra", READ_AHEAD),
        tracepoint("page_cache_async_ra", READ_AHEAD),
        tracepoint("mm_lru_activate", "which pages became active is not seen"),
    ],
};

const READ_AHEAD: &str =
    "whether read-ahead was synchronous is concluded from what its call found missing";

static COPY_DATAGRAM_AGAIN: [Hook; 1] = [copy(
    "skb_copy_datagram_iovec_again",
    "skb_copy_datagram_iovec",
)];
const READS: &str = "bytes read into user memory are derived from what read() returned";

pub static COPY: Instrument = Instrument {
    name: "copy",
    question: "Was the payload of a connection copied, or did packets hold the sender's own pages?",
    object: object!("copy"),
    hooks: &[
        tracepoint(
            "net_dev_queue",
            "nothing says whose pages a packet leaves with",
        ),
        twice(
            "skb_copy_datagram_iovec",
            &COPY_DATAGRAM_AGAIN,
            "nothing says whose pages a packet arrives with",
        ),
        tracepoint(
            "mm_page_alloc",
            "pages allocated for copies are not counted",
        ),
        tracepoint("page_fault_user", "page faults are counted by rusage only"),
        tracepoint(
            "page_fault_kernel",
            "page faults inside system calls are not told apart",
        ),
        function(
            "tcp_sendmsg_turn",
            "tcp_sendmsg_locked",
            TRACEPOINT,
            "the kind of memory that TCP was given is not seen by turn",
        ),
        function(
            "tcp_sendmsg_locked",
            "tcp_sendmsg_locked",
            &[Rung::Fexit],
            "bytes given to TCP by kind of memory are derived from the pages of packets",
        ),
        function(
            "do_tcp_sendpages",
            "do_tcp_sendpages",
            &[Rung::Fexit],
            "bytes given to TCP as pages are derived from the pages of packets",
        ),
        returning("generic_file_read_iter", READS),
        returning("shmem_file_read_iter", READS),
    ],
};

pub static RUNQUEUE: Instrument = Instrument {
    name: "runqueue",
    question: "How long do tasks wait for a CPU, and why; how long do they run and sleep?",
    object: object!("runqueue"),
    hooks: &[
        named(
            "runq_wakeup",
            "sched_wakeup",
            &[],
            "nothing says when a task was queued",
        ),
        named(
            "runq_wakeup_new",
            "sched_wakeup_new",
            &[],
            "the first wait of a new task is not counted",
        ),
        named(
            "runq_migrate",
            "sched_migrate_task",
            &[],
            "delays by migration are told as those of the CPU that the task came to",
        ),
        named(
            "runq_switch",
            "sched_switch",
            &[],
            "nothing says when a task runs",
        ),
    ],
};

/// Every instrument there is.
pub static INSTRUMENTS: &[&Instrument] = &[
    &SCHED,
    &SYSCALLS,
    &SOCK,
    &WAITQUEUE,
    &TCP,
    &HANDSHAKE,
    &SURGEON,
    &BLOCK,
    &PAGE_CACHE,
    &URING,
    &COPY,
    &RUNQUEUE,
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
