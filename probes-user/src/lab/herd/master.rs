//! The master: makes the listener inside the sandbox, forks the workers and the client, ends them.
//!
//! A true pre-fork server: workers inherit the listener, and the shared epoll instance where the variant
//! has one. The master sleeps on the gate during the scene and reaps nobody before the end, so the pids
//! it wrote stay theirs. Runs in a forked child: no allocation, no panic.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering::{Relaxed, Release};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, setpgid, waitpid};

use super::board::{AT_GATE, Board, END};
use super::failure::{MASTER, Step};
use super::plan::Plan;
use super::worker::Inherited;
use super::{client, socket, worker};
use crate::lab::shared::park;
use crate::lab::{KernelView, child, sandbox};
use crate::trace::herd::marks::Variant;

/// The master's whole life; its children end before it.
pub fn run(plan: &Plan, board: &Board, view: &dyn KernelView, netns: BorrowedFd<'_>) -> i32 {
    child::set_name(c"herd-master");
    // Ctrl-C at the terminal is for the tool, which must close its window before workers die.
    let _ = setpgid(None, None);
    match sandbox::enter(netns) {
        Ok(()) => child::close_inherited(),
        Err(errno) => return refuse(board, Step::Enter, errno),
    }
    let code = match build(plan, board, view) {
        Ok(()) => 0,
        Err((step, errno)) => refuse(board, step, errno),
    };
    board.head().master.store(AT_GATE, Release);
    while await_end(board) != END {}
    end_children(board);
    code
}

fn refuse(board: &Board, step: Step, errno: Errno) -> i32 {
    board.record_failure(step, Some(errno), MASTER);
    1
}

fn await_end(board: &Board) -> u32 {
    let gate = &board.head().gate;
    let shown = gate.load(std::sync::atomic::Ordering::Acquire);
    if shown == END { END } else { park(gate, shown) }
}

/// Sockets, workers, client. The descriptors made here are the workers' to inherit; the master's own
/// copies are closed on return, as only the waiters are to hold them.
fn build(plan: &Plan, board: &Board, view: &dyn KernelView) -> Result<(), (Step, Errno)> {
    let listener = match plan.variant {
        Variant::Reuseport => None,
        variant => {
            Some(socket::listener(variant, plan.port).map_err(|errno| (Step::Listen, errno))?)
        }
    };
    let shared_instance = matches!(
        plan.variant,
        Variant::SharedInstance | Variant::EdgeShared | Variant::OneshotShared
    );
    let epoll = match &listener {
        Some(listener) if shared_instance => {
            let instance = socket::epoll_instance().map_err(|errno| (Step::MakeEpoll, errno))?;
            socket::register(instance.as_fd(), listener.as_fd(), plan.variant)
                .map_err(|errno| (Step::Register, errno))?;
            Some(instance)
        }
        _ => None,
    };
    let inherited = Inherited {
        listener: listener.as_ref().map(AsFd::as_fd),
        epoll: epoll.as_ref().map(AsFd::as_fd),
    };
    for (index, cell) in board.workers().iter().enumerate() {
        // SAFETY: the worker makes system calls and writes shared memory, nothing else.
        let pid = unsafe { child::fork(|| worker::run(plan, board, view, index, inherited)) }
            .map_err(|error| (Step::ForkWorker, errno(&error)))?;
        cell.pid
            .store(pid.as_raw_nonzero().get().unsigned_abs(), Release);
    }
    // SAFETY: as for the workers.
    let pid = unsafe { child::fork(|| client::run(plan, board, view)) }
        .map_err(|error| (Step::ForkClient, errno(&error)))?;
    board
        .head()
        .client_pid
        .store(pid.as_raw_nonzero().get().unsigned_abs(), Release);
    Ok(())
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn end_children(board: &Board) {
    let pids = || {
        let workers = board.workers().iter().map(|cell| &cell.pid);
        let pids = workers
            .chain(std::iter::once(&board.head().client_pid))
            .map(|pid| pid.load(Relaxed));
        pids.filter_map(|pid| Pid::from_raw(pid.cast_signed()))
    };
    for pid in pids() {
        let _ = kill_process(pid, Signal::KILL);
    }
    for pid in pids() {
        while waitpid(Some(pid), WaitOptions::empty()).is_err_and(|errno| errno == Errno::INTR) {}
    }
}
