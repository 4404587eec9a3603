//! What can go wrong in a herd's child, as a number that fits shared memory, and as words.

use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Duration;

use rustix::io::Errno;

use super::board::Board;

/// A step of a child's work. Children record the step and the errno; the tool makes a sentence of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Step {
    Enter = 1,
    Listen,
    MakeEpoll,
    Register,
    ForkWorker,
    ForkClient,
    Wait,
    Accept,
    MakeClientSocket,
    Connect,
    AwaitAsleep,
    AwaitAccepted,
    AwaitEof,
    AwaitTimeouts,
}

impl Step {
    const ALL: [Step; 14] = [
        Step::Enter,
        Step::Listen,
        Step::MakeEpoll,
        Step::Register,
        Step::ForkWorker,
        Step::ForkClient,
        Step::Wait,
        Step::Accept,
        Step::MakeClientSocket,
        Step::Connect,
        Step::AwaitAsleep,
        Step::AwaitAccepted,
        Step::AwaitEof,
        Step::AwaitTimeouts,
    ];

    pub fn from_number(number: u32) -> Option<Step> {
        Step::ALL.into_iter().find(|&step| step as u32 == number)
    }

    /// Completes "could not …".
    pub fn text(self) -> &'static str {
        match self {
            Step::Enter => "enter the sandbox's network namespace",
            Step::Listen => "make the listening socket",
            Step::MakeEpoll => "make an epoll instance",
            Step::Register => "register the listener with epoll_ctl",
            Step::ForkWorker => "fork a worker",
            Step::ForkClient => "fork the client",
            Step::Wait => "wait for a connection",
            Step::Accept => "accept a connection",
            Step::MakeClientSocket => "make the client's socket",
            Step::Connect => "connect",
            Step::AwaitAsleep => "see all workers asleep in their wait",
            Step::AwaitAccepted => "see every connection accepted",
            Step::AwaitEof => "read the end of an accepted connection",
            Step::AwaitTimeouts => "see every worker's timed wait end once",
        }
    }

    pub fn remedy(self) -> &'static str {
        match self {
            Step::Enter => "try as root (CAP_SYS_ADMIN)",
            Step::ForkWorker | Step::ForkClient => "try fewer workers, or a larger pids limit",
            Step::AwaitAsleep | Step::AwaitAccepted | Step::AwaitEof => {
                "try fewer workers, or a less busy machine"
            }
            _ => "try again with -v and report it",
        }
    }
}

/// The first thing that went wrong in a scene.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    pub step: Step,
    /// None = no system call failed: a budget ran out.
    pub errno: Option<Errno>,
    pub who: u32,
}

/// Who failed: a worker's index, or one of these.
pub const MASTER: u32 = u32::MAX;
pub const CLIENT: u32 = u32::MAX - 1;

impl Failure {
    /// As a sentence, with what the board says about it.
    pub fn describe(&self, board: &Board, budget: Duration) -> String {
        let who = match self.who {
            MASTER => "the master".to_owned(),
            CLIENT => "the client".to_owned(),
            index => format!("worker {index}"),
        };
        let cause = match self.errno {
            Some(errno) => format!(": {errno}"),
            None => format!(" within {budget:?}"),
        };
        let detail = match self.step {
            Step::AwaitAsleep => who_is_awake(board),
            Step::AwaitAccepted => {
                let (accepted, made) = (
                    board.head().accepted.load(Acquire),
                    board.head().made.load(Acquire),
                );
                format!(" ({accepted} accepted of {made} made)")
            }
            _ => String::new(),
        };
        format!(
            "{who} could not {}{cause}{detail}; {}",
            self.step.text(),
            self.step.remedy()
        )
    }
}

fn who_is_awake(board: &Board) -> String {
    let cells = board.workers().iter().enumerate();
    let awake = cells.filter(|(_, cell)| cell.seen_asleep.load(Relaxed) == 0);
    let awake: Vec<String> = awake
        .map(|(index, cell)| format!("worker {index} (pid {})", cell.pid.load(Relaxed)))
        .collect();
    format!(" (awake or elsewhere: {})", awake.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_survives_the_trip_through_a_number() {
        for step in Step::ALL {
            assert_eq!(Step::from_number(step as u32), Some(step));
        }
        assert_eq!(Step::from_number(0), None);
    }
}
