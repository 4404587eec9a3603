//! What accept-herd and epoll-herd share: the scenes, their marks, the fold, the ledger, the verdicts.
//!
//! The question: how many sleeping waiters does one connection wake? From `inet_sock_set_state` (the
//! connection), `sched_waking` with its stack (who is woken, why), `sched_switch` (who slept), and the
//! system calls (who won, who found nothing). Two folds share one crowd: a lab's is cut into scenes and
//! judged, a watch's runs on and is only shown.

pub mod audit;
pub mod calls;
pub mod checks;
pub mod connection;
pub mod crowd;
pub mod kind;
pub mod lab_fold;
mod lab_ledger;
pub mod marks;
mod numbers;
pub mod order;
pub mod question;
pub mod registrations;
pub mod scene;
pub mod scenes;
pub mod stack;
pub mod symbols;
pub mod tasks;
pub mod timeline;
pub mod totals;
pub mod verdict;
mod wait_queue;
mod watch_fold;
mod watch_ledger;
mod watch_remarks;
pub mod worker;

use question::Question;

use crate::trace::{Context, Fold, Mode};

/// Programs of the herd traces, needed ones first.
pub static HOOKS: &[&str] = &[
    "sched_waking",
    "sched_wakeup",
    "sched_wakeup_new",
    "sched_switch",
    "sched_process_fork",
    "sched_process_exec",
    "sched_process_exit",
    "sys_enter",
    "sys_exit",
    "inet_sock_set_state",
    "sk_data_ready",
    "tcp_child_process",
    "tcp_child_process_exit",
    "autoremove_wake_function",
    "ep_autoremove_wake_function",
    "pollwake",
    "ep_poll_callback",
];

/// Without one of these nothing says who slept, who was woken, or what for.
pub static NEEDS: &[&str] = &[
    "sched_waking",
    "sched_wakeup",
    "sched_switch",
    "sched_process_fork",
    "sched_process_exit",
    "sys_enter",
    "sys_exit",
    "inet_sock_set_state",
];

pub fn fold(questions: &'static [Question], context: &Context) -> Box<dyn Fold> {
    match context.mode {
        Mode::Lab => Box::new(lab_fold::LabFold::new(questions, context)),
        Mode::Watch => Box::new(watch_fold::WatchFold::new(context)),
    }
}

#[cfg(test)]
pub mod testkit;
#[cfg(test)]
mod tests;
