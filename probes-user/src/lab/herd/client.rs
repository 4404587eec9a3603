//! The client: makes the connections, one at a time or in bursts, each when all workers are asleep again.
//!
//! Runs in a forked child: no allocation, no panic. It writes the phase before each action, so events are
//! tied to an action by number; times are taken around connect().

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, connect, sockopt};
use rustix::time::Timespec;

use super::board::{AT_GATE, BUSY, Board, DONE, PARKED, WAITING};
use super::failure::{CLIENT, Step};
use super::plan::Plan;
use super::socket;
use crate::lab::KernelView;
use crate::lab::child::{close_inherited, set_name};
use crate::lab::shared::{await_fact, now, park};
use crate::trace::herd::marks::Variant;

/// Connections that may be open at once: stays below the usual descriptor limit of 1024.
pub const MAX_BURST: usize = 512;

struct Client<'a> {
    plan: &'a Plan,
    board: &'a Board,
    view: &'a dyn KernelView,
}

/// The client's whole life; ends only by a signal.
pub fn run(plan: &Plan, board: &Board, view: &dyn KernelView) -> i32 {
    set_name(c"herd-client");
    // The listener and the epoll instance are the workers' alone.
    close_inherited();
    let head = board.head();
    head.client.store(AT_GATE, Release);
    park(&head.gate, PARKED);
    head.client.store(BUSY, Release);
    let client = Client { plan, board, view };
    let mut open = [const { None }; MAX_BURST];
    let mut next = 0;
    while next < plan.connections {
        let count = plan.burst.min(plan.connections - next);
        client.one_phase(next, count, &mut open);
        next += count;
    }
    client.await_all_asleep();
    // What happens from here on belongs to no connection.
    view.set_phase(0);
    client.await_timeouts();
    client.await_all_asleep();
    head.client.store(DONE, Release);
    board.rest()
}

impl Client<'_> {
    /// All connections of one phase, from the first connect() to the last close.
    fn one_phase(&self, first: u32, count: u32, open: &mut [Option<OwnedFd>; MAX_BURST]) {
        self.await_all_asleep();
        let phase = self.plan.first_phase + first;
        self.view.set_phase(phase);
        for (slot, index) in open.iter_mut().zip(first..first + count) {
            *slot = Some(self.connect(index, phase));
        }
        self.step();
        let wanted = u64::from(first + count);
        if !await_fact(self.plan.budget, || {
            self.board.head().accepted.load(Acquire) >= wanted
        }) {
            self.fail(Step::AwaitAccepted, None);
        }
        for slot in open.iter_mut() {
            if let Some(connection) = slot.take() {
                self.await_eof(&connection);
            }
        }
    }

    fn await_all_asleep(&self) {
        self.step();
        let all_asleep = || {
            let mut all = true;
            for worker in self.board.workers() {
                let waits = worker.state.load(Acquire) == WAITING
                    && self.view.asleep(worker.pid.load(Relaxed));
                worker.seen_asleep.store(u32::from(waits), Relaxed);
                all &= waits;
            }
            all
        };
        if !await_fact(self.plan.budget, all_asleep) {
            self.fail(Step::AwaitAsleep, None);
        }
    }

    /// Waiting with a timeout is what the accept mutex costs its losers, and a short scene would not show
    /// it: the scene lasts until each worker's wait has ended once.
    fn await_timeouts(&self) {
        let all_have_returned = || {
            self.board
                .workers()
                .iter()
                .all(|worker| worker.returns.load(Relaxed) > 0)
        };
        self.step();
        if self.plan.variant == Variant::AcceptMutex
            && !await_fact(self.plan.budget, all_have_returned)
        {
            self.fail(Step::AwaitTimeouts, None);
        }
    }

    /// One connect(): blocking when alone, otherwise not waiting for the one before.
    fn connect(&self, index: u32, phase: u32) -> OwnedFd {
        let port = self.plan.client_port(index);
        let flags = if self.plan.burst > 1 {
            SocketFlags::NONBLOCK
        } else {
            SocketFlags::empty()
        };
        let made = socket::bound(port, flags, false).and_then(|socket| {
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(self.plan.budget))?;
            Ok(socket)
        });
        let (Ok(socket), Some(cell)) = (&made, self.board.connections().get(index as usize)) else {
            self.fail(Step::MakeClientSocket, made.err())
        };
        cell.phase.store(phase, Relaxed);
        cell.client_port.store(u32::from(port), Relaxed);
        cell.begun_at.store(now(), Release);
        let result = connect(socket, &socket::address(self.plan.port));
        cell.connected_at.store(now(), Release);
        match (result, made) {
            (Ok(()) | Err(Errno::INPROGRESS), Ok(socket))
                if result.is_ok() || self.plan.burst > 1 =>
            {
                self.board.head().made.fetch_add(1, Release);
                socket
            }
            (result, _) => self.fail(Step::Connect, result.err()),
        }
    }

    fn await_eof(&self, connection: &OwnedFd) {
        self.step();
        let end = now() + self.plan.budget.as_nanos() as u64;
        loop {
            let left = end.saturating_sub(now());
            let limit = Timespec {
                tv_sec: (left / 1_000_000_000).cast_signed(),
                tv_nsec: (left % 1_000_000_000).cast_signed(),
            };
            let mut fds = [PollFd::from_borrowed_fd(connection.as_fd(), PollFlags::IN)];
            match poll(&mut fds, Some(&limit)) {
                Ok(0) => self.fail(Step::AwaitEof, None),
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(errno) => self.fail(Step::AwaitEof, Some(errno)),
            }
        }
        // In a burst this also tells whether the connection came about at all.
        match rustix::io::read(connection, &mut [0_u8; 1]) {
            Ok(0) => {}
            Ok(_) => self.fail(Step::AwaitEof, Some(Errno::PROTO)),
            Err(errno) => self.fail(Step::AwaitEof, Some(errno)),
        }
    }

    /// A sign of life for the tool.
    fn step(&self) {
        self.board.head().client_steps.fetch_add(1, Release);
    }

    fn fail(&self, step: Step, errno: Option<Errno>) -> ! {
        self.board.fail(step, errno, CLIENT)
    }
}
