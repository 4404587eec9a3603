//! The claims, and from requests and calls to findings.

use serde_json::{Map, Value, json};

use super::evidence::{self, Made, Seen, words};
use super::marks::Way;
use super::script::{AIO, BLOCK, NONBLOCK, URING};
use crate::claims_of;
use crate::evidence::{Claim, ClaimResult, Finding};
use crate::trace::scripted::{CaseLog, Cases};
use crate::trace::{Ending, LabOptions};

type Blocked = (ClaimResult, String);
type Numbers = Vec<(&'static str, Value)>;
type Judge = fn(&CaseLog) -> Result<(bool, String, Numbers), Blocked>;

const EAGAIN: i64 = -(libc::EAGAIN as i64);

struct Question {
    claim: Claim,
    case: &'static str,
    judge: Judge,
}

static QUESTIONS: [Question; 4] = [
    Question {
        claim: Claim {
            id: "async-io/returns-early",
            number: "early_count",
            statement: "Submitting a read to io_uring returns at once, before there is anything to read; the \
                completion comes later.",
            holds_if: "of an empty pipe, an empty socket and an empty pipe with IOSQE_ASYNC: io_uring_enter \
                returns (event) before the other side writes, the ring shows no completion then, and the \
                completion (event) comes after the write; NOP and a cached read are complete before \
                io_uring_enter returns (control)",
            refuted_if: "io_uring_enter returns only when the other side has written, or such a read is \
                complete before that",
        },
        case: URING,
        judge: returns_early,
    },
    Question {
        claim: Claim {
            id: "async-io/aio-returns-early",
            number: "pipe_sleeps_count",
            statement: "Submitting a read to Linux's own aio (io_submit) returns at once, before there is \
                anything to read.",
            holds_if: "io_submit of a read of an empty pipe returns before the other side writes",
            refuted_if: "io_submit sleeps until the other side has written, and the read is complete when it \
                returns",
        },
        case: AIO,
        judge: aio_returns_early,
    },
    Question {
        claim: Claim {
            id: "async-io/eagain",
            number: "blocking_sleeps_count",
            statement: "A non-blocking read with nothing there does not wait: it gives EAGAIN at once.",
            holds_if: "with O_NONBLOCK read() of an empty pipe and of an empty socket gives EAGAIN, by the \
                script and by event, and its task is not switched out asleep in the call; without O_NONBLOCK \
                the same read sleeps until the other side writes (control)",
            refuted_if: "such a read sleeps, or gives anything but EAGAIN",
        },
        case: NONBLOCK,
        judge: eagain,
    },
    Question {
        claim: Claim {
            id: "async-io/inline-or-worker",
            number: "polled_count",
            statement: "io_uring does a request either at once, inside the submitting call, or in a worker \
                thread.",
            holds_if: "every request of the lab is completed below io_submit_sqes or was given to a worker \
                (io_uring_queue_async_work); controls: NOP and a cached read inline; IOSQE_ASYNC and fsync by \
                a worker; completions seen are those reaped, one by one",
            refuted_if: "a request is completed by neither: it waited for its file (io_uring_poll_arm), or the \
                file itself completed it later",
        },
        case: URING,
        judge: inline_or_worker,
    },
];

pub static CLAIMS: [Claim; QUESTIONS.len()] = claims_of!(QUESTIONS);

/// Without one of the two no request is known; which one there is depends on the kernel.
pub const SUBMITS: [&str; 2] = ["io_uring_submit_req", "io_uring_submit_sqe"];

pub fn judge(
    cases: &Cases,
    attached: &[String],
    options: &LabOptions,
    ending: &Ending,
) -> Vec<Finding> {
    let asked = QUESTIONS.iter().filter(|its| options.wants(its.case));
    asked
        .map(|question| {
            let (result, because, numbers) = match settle(question, cases, attached, ending) {
                Ok((true, says, numbers)) => (ClaimResult::Holds, says, numbers),
                Ok((false, says, numbers)) => (ClaimResult::Refuted, says, numbers),
                Err((result, why)) => (result, why, Vec::new()),
            };
            let numbers = numbers.into_iter();
            Finding {
                id: question.claim.id.to_owned(),
                result,
                statement: question.claim.statement.to_owned(),
                because,
                numbers: numbers
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect::<Map<_, _>>(),
            }
        })
        .collect()
}

fn settle(
    question: &Question,
    cases: &Cases,
    attached: &[String],
    ending: &Ending,
) -> Result<(bool, String, Numbers), Blocked> {
    if let Some(blocked) = ending.blocks(&["Waking", "Wakeup"]) {
        return Err(blocked);
    }
    let known = |hook: &&str| attached.iter().any(|its| its == hook);
    if question.case == URING && !SUBMITS.iter().any(known) {
        let why = format!("neither {} nor {} attached", SUBMITS[0], SUBMITS[1]);
        return Err((ClaimResult::Unsupported, why));
    }
    let Some(log) = cases.find(question.case) else {
        let why = match ending.interrupted {
            true => "interrupted before",
            false => "the lab never came to",
        };
        return Err(inconclusive(format!("{why} case {}", question.case)));
    };
    if log.ended_at.is_none() {
        return Err(inconclusive(format!("case {} has no end", log.label)));
    }
    (question.judge)(log)
}

fn inconclusive(why: impl Into<String>) -> Blocked {
    (ClaimResult::Inconclusive, why.into())
}

/// All requests, each told alike by the ring and by events, the controls gone where they must.
fn believed(log: &CaseLog) -> Result<Vec<Seen>, Blocked> {
    let requests = evidence::requests(log);
    for seen in &requests {
        let name = &seen.request.name;
        let Some(way) = seen.way() else {
            let told = seen.done.len();
            return Err(inconclusive(format!(
                "{name}: {told} completions told, and not as the ring showed it"
            )));
        };
        if seen.returned_at.is_none() {
            return Err(inconclusive(format!(
                "{name}: the return of io_uring_enter was not seen"
            )));
        }
        if let Some(must) = seen.request.must
            && must != way
        {
            let (went, must) = (words(way), words(must));
            return Err(inconclusive(format!(
                "the control \"{name}\" went {went} and not {must}"
            )));
        }
    }
    match requests.is_empty() {
        true => Err(inconclusive("no request was made")),
        false => Ok(requests),
    }
}

fn returns_early(log: &CaseLog) -> Result<(bool, String, Numbers), Blocked> {
    let requests = believed(log)?;
    let starved: Vec<&Seen> = requests.iter().filter(|s| s.request.starved).collect();
    let inline = requests
        .iter()
        .filter(|seen| seen.way() == Some(Way::Inline) && seen.early() == Some(false));
    let controls = inline.count();
    if controls < 2 || starved.len() < 3 {
        return Err(inconclusive("a control is missing"));
    }
    let early = |seen: &&&Seen| {
        let (at, served) = (seen.completion(), seen.served_at.unwrap_or_default());
        seen.early() == Some(true)
            && seen.shown == Some(0)
            && seen.returned_at.is_some_and(|returned| returned < served)
            && at.is_some_and(|(at, _)| at > served)
    };
    let count = starved.iter().filter(early).count();
    let says = format!(
        "{count} of {} reads with nothing to read were complete only after io_uring_enter had returned and the \
         other side had written; {controls} requests that could be done at once were complete before it returned",
        starved.len()
    );
    let numbers = vec![
        ("starved_count", json!(starved.len())),
        ("early_count", json!(count)),
        ("complete_in_call_count", json!(controls)),
    ];
    Ok((count == starved.len(), says, numbers))
}

fn inline_or_worker(log: &CaseLog) -> Result<(bool, String, Numbers), Blocked> {
    let requests = believed(log)?;
    let by = |way: Way| -> Vec<&str> {
        let its = requests.iter().filter(|seen| seen.way() == Some(way));
        its.map(|seen| seen.request.name.as_str()).collect()
    };
    let (polled, file) = (by(Way::Polled), by(Way::File));
    let (inline, worker) = (by(Way::Inline).len(), by(Way::Worker).len());
    let mut says = format!(
        "of {} requests {inline} were done inline and {worker} by a worker",
        requests.len()
    );
    for (names, what) in [
        (&polled, "waited for the file by poll"),
        (&file, "were completed later by the file itself"),
    ] {
        if !names.is_empty() {
            says += &format!("; {} {what} ({})", names.len(), names.join(", "));
        }
    }
    let numbers = vec![
        ("requests_count", json!(requests.len())),
        ("inline_count", json!(inline)),
        ("worker_count", json!(worker)),
        ("polled_count", json!(polled.len())),
        ("file_count", json!(file.len())),
    ];
    Ok((polled.is_empty() && file.is_empty(), says, numbers))
}

fn made(log: &CaseLog, part: &str) -> Result<Made, Blocked> {
    let mut calls = evidence::calls(log).into_iter();
    let Some(made) = calls.find(|made| made.call.name.contains(part)) else {
        return Err(inconclusive(format!("no call \"{part}\"")));
    };
    match made.agrees() {
        true => Ok(made),
        false => Err(inconclusive(format!(
            "{}: what it returned was not seen, or not as the script had it",
            made.call.name
        ))),
    }
}

/// Slept until the other side wrote, and went on after it.
fn blocked(made: &Made) -> bool {
    let served = made.returned.as_ref().map_or(0, |its| its.served_at);
    let waited = made
        .seen
        .is_some_and(|(begun, ended, _)| begun < served && served < ended);
    waited && made.sleeps > 0
}

fn eagain(log: &CaseLog) -> Result<(bool, String, Numbers), Blocked> {
    let control = made(log, "blocking")?;
    if !blocked(&control) {
        return Err(inconclusive(
            "a blocking read of an empty pipe did not sleep",
        ));
    }
    let (pipe, socket) = (
        made(log, "empty pipe, O_NONBLOCK")?,
        made(log, "empty socket")?,
    );
    let file = made(log, "cold file, O_NONBLOCK")?;
    let at_once = |made: &Made| {
        made.sleeps == 0 && made.returned.as_ref().is_some_and(|its| its.ret == EAGAIN)
    };
    let ret = |made: &Made| made.returned.as_ref().map_or(0, |its| its.ret);
    let answer = |made: &Made| match ret(made) {
        EAGAIN => format!("EAGAIN, {} sleeps", made.sleeps),
        other => format!("{other}, {} sleeps", made.sleeps),
    };
    let took = |made: &Made| json!(made.took());
    let says = format!(
        "pipe: {}; socket: {}; the blocking read slept {} times. A file not in the cache: O_NONBLOCK does not \
         hold for files, {} of {BLOCK} bytes after {} sleeps",
        answer(&pipe),
        answer(&socket),
        control.sleeps,
        ret(&file),
        file.sleeps,
    );
    let numbers = vec![
        ("pipe_ns", took(&pipe)),
        ("socket_ns", took(&socket)),
        ("blocking_ns", took(&control)),
        ("blocking_sleeps_count", json!(control.sleeps)),
        ("cold_file_ret_count", json!(ret(&file))),
        ("cold_file_sleeps_count", json!(file.sleeps)),
        (
            "nowait_cold_ret_count",
            json!(ret(&made(log, "cold file, RWF_NOWAIT")?)),
        ),
        (
            "nowait_warm_ret_count",
            json!(ret(&made(log, "warm file, RWF_NOWAIT")?)),
        ),
    ];
    Ok((at_once(&pipe) && at_once(&socket), says, numbers))
}

fn aio_returns_early(log: &CaseLog) -> Result<(bool, String, Numbers), Blocked> {
    let pipe = made(log, "aio: empty pipe")?;
    let (file, direct) = (made(log, "aio: cold file")?, made(log, "aio: O_DIRECT")?);
    let complete = |made: &Made| made.returned.as_ref().map_or(0, |its| its.complete);
    let early = !blocked(&pipe);
    if early != (complete(&pipe) == 0) {
        return Err(inconclusive(
            "io_submit of a pipe: its time and what was complete contradict each other",
        ));
    }
    let told = |made: &Made| match (complete(made), made.sleeps) {
        (0, sleeps) => format!("not complete at its return, {sleeps} sleeps in it"),
        (_, sleeps) => format!("complete at its return, {sleeps} sleeps in it"),
    };
    let says = format!(
        "io_submit of an empty pipe {}; of a file not in the cache: {}; with O_DIRECT: {}",
        match early {
            true => "returned before the other side wrote".to_owned(),
            false => format!("slept {} times until the other side wrote", pipe.sleeps),
        },
        told(&file),
        told(&direct),
    );
    let numbers = vec![
        ("pipe_sleeps_count", json!(pipe.sleeps)),
        ("pipe_complete_count", json!(complete(&pipe))),
        ("cold_file_sleeps_count", json!(file.sleeps)),
        ("cold_file_complete_count", json!(complete(&file))),
        ("direct_sleeps_count", json!(direct.sleeps)),
        ("direct_complete_count", json!(complete(&direct))),
    ];
    Ok((early, says, numbers))
}
