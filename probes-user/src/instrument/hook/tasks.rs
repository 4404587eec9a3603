//! Hooks on tasks: who wakes whom, who runs, what is asked of the kernel.

use super::{Aligned, Hook, Instrument, Object, Rung, copy, function, named, tracepoint};

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
        twice!(
            "sched_process_fork",
            "children of watched tasks are not followed"
        ),
        twice!(
            "sched_process_exec",
            "names of tasks after exec stay the old ones"
        ),
        twice!(
            "sched_process_exit",
            "the byte of an ended task would pass to a new one"
        ),
    ],
};

/// Tasks preempt each other so often that even a second copy is busy at times.
static SYS_ENTER_COPIES: [Hook; 2] = [
    copy("sys_enter_again", "sys_enter"),
    copy("sys_enter_third", "sys_enter"),
];
static SYS_EXIT_COPIES: [Hook; 2] = [
    copy("sys_exit_again", "sys_exit"),
    copy("sys_exit_third", "sys_exit"),
];

pub static SYSCALLS: Instrument = Instrument {
    name: "syscalls",
    question: "What did the watched tasks ask of the kernel, and what came back?",
    object: object!("syscalls"),
    hooks: &[
        named(
            "sys_enter",
            "sys_enter",
            &SYS_ENTER_COPIES,
            "nothing says what a task slept in",
        ),
        named(
            "sys_exit",
            "sys_exit",
            &SYS_EXIT_COPIES,
            "nothing says who accepted a connection",
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

pub static RUNQUEUE: Instrument = Instrument {
    name: "runqueue",
    question: "How long do tasks wait for a CPU, and why; how long do they run and sleep?",
    object: object!("runqueue"),
    hooks: &[
        named(
            "runq_waking",
            "sched_waking",
            &[],
            "nothing says who woke a task",
        ),
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

const BRACKET: &str = "a wakeup is tied to its connection by the kernel stack alone";

const EXCLUSIVE: &str =
    "whether a wait-queue entry was exclusive is not seen, only how many were woken";
