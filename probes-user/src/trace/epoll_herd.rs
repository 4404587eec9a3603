//! epoll-herd: N processes wait in epoll_wait for one listening socket. Who wakes, and which cure helps?
//!
//! From the hooks of [`super::herd`]. What could fool it: level-triggered cascades from worker to
//! worker (told apart by their stack), a woken worker that looks and sleeps on inside the same
//! epoll_wait (so neither EAGAIN nor returns measure a herd), time-outs of the waiting call.

use super::herd::kind::HerdTrace;
use super::herd::marks::Variant;
use super::herd::question::Question;
use super::herd::scenes;
use crate::claims_of;
use crate::evidence::Claim;

/// The herd that the cures are to remove.
const UNCURED: &[Variant] = &[Variant::PerProcessInstance];

static QUESTIONS: [Question; 7] = [
    Question::every(
        "epoll-herd/shared-instance",
        "One connection wakes every process that waits in one epoll instance made before fork.",
        Variant::SharedInstance,
        &[Variant::Poll, Variant::Select],
    ),
    Question::every(
        "epoll-herd/per-process-instance",
        "One connection wakes every process that waits in an epoll instance of its own.",
        Variant::PerProcessInstance,
        &[Variant::Poll, Variant::Select],
    ),
    Question::one(
        "epoll-herd/exclusive",
        "With EPOLLEXCLUSIVE, one connection wakes exactly one of the processes with an epoll instance each.",
        Variant::Exclusive,
        UNCURED,
    ),
    Question::one(
        "epoll-herd/edge",
        "With EPOLLET, one connection wakes exactly one of the processes with an epoll instance each.",
        Variant::EdgePerProcess,
        &[Variant::PerProcessInstance, Variant::EdgeShared],
    ),
    Question::one(
        "epoll-herd/oneshot",
        "With EPOLLONESHOT, one connection wakes exactly one of the processes with an epoll instance each.",
        Variant::OneshotPerProcess,
        &[Variant::PerProcessInstance, Variant::OneshotShared],
    ),
    Question::one(
        "epoll-herd/reuseport",
        "With SO_REUSEPORT, one connection wakes exactly one of the processes with a listener each.",
        Variant::Reuseport,
        UNCURED,
    ),
    Question::one(
        "epoll-herd/accept-mutex",
        "With a user-space accept mutex, one connection wakes exactly one of the waiting processes.",
        Variant::AcceptMutex,
        UNCURED,
    ),
];

static CLAIMS: [Claim; QUESTIONS.len()] = claims_of!(QUESTIONS);

pub static EPOLL_HERD: HerdTrace = HerdTrace {
    name: "epoll-herd",
    summary: "how many processes in epoll_wait one connection wakes, and which cure helps at what price",
    page: include_str!("../../../docs/traces/epoll-herd.md"),
    questions: &QUESTIONS,
    claims: &CLAIMS,
    plan: scenes::epoll_plan,
};
