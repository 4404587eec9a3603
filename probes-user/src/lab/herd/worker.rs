//! A worker: waits for connections in the way of its variant, accepts, closes at once, counts.
//!
//! Runs in a forked child: no allocation, no panic. The state cell says whether it is in its waiting
//! call; together with "asleep" that makes a waiter, so a worker that sleeps elsewhere (at the gate, in
//! its accept delay) is not taken for one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::Duration;

use rustix::event::epoll;
use rustix::event::{FdSetElement, PollFd, PollFlags, fd_set_insert, poll, select};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::board::{AT_GATE, BUSY, Board, PARKED, WAITING, WorkerCell};
use super::failure::Step;
use super::plan::Plan;
use super::socket;
use crate::lab::KernelView;
use crate::lab::child::set_name;
use crate::lab::shared::{await_fact, park, pause};
use crate::trace::herd::marks::Variant;

/// nginx's accept_mutex_delay defaults to 500 ms; shorter here, so that its timers show in a short scene.
const ACCEPT_MUTEX_DELAY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// What a worker inherits from the master.
#[derive(Clone, Copy)]
pub struct Inherited<'fd> {
    /// None = each worker makes its own (SO_REUSEPORT).
    pub listener: Option<BorrowedFd<'fd>>,
    /// The instance made before fork, with the listener registered.
    pub epoll: Option<BorrowedFd<'fd>>,
}

struct Worker<'a> {
    plan: &'a Plan,
    board: &'a Board,
    cell: &'a WorkerCell,
    index: usize,
}

/// The worker's whole life; ends only by a signal.
pub fn run(
    plan: &Plan,
    board: &Board,
    view: &dyn KernelView,
    index: usize,
    inherited: Inherited<'_>,
) -> i32 {
    set_name(c"herd-worker");
    let Some(cell) = board.workers().get(index) else {
        return 1;
    };
    cell.state.store(AT_GATE, Release);
    park(&board.head().gate, PARKED);
    cell.state.store(BUSY, Release);
    let worker = Worker {
        plan,
        board,
        cell,
        index,
    };
    worker.await_turn(view);
    let own = match inherited.listener {
        Some(_) => None,
        None => Some(worker.or_fail(Step::Listen, socket::listener(plan.variant, plan.port))),
    };
    let Some(listener) = inherited.listener.or(own.as_ref().map(AsFd::as_fd)) else {
        return 1;
    };
    match plan.variant {
        Variant::Accept => worker.serve_by_accept(listener),
        Variant::PollAccept | Variant::Poll => worker.serve_by_poll(listener),
        Variant::Select => worker.serve_by_select(listener),
        Variant::AcceptMutex => worker.serve_by_mutex(listener),
        _ => worker.serve_by_epoll(listener, inherited.epoll),
    }
}

impl Worker<'_> {
    /// Lets the worker before fall asleep first: the order of registration and of the first wait is
    /// then the order of the index, and who is woken first can be told from it.
    fn await_turn(&self, view: &dyn KernelView) {
        let Some(before) = self
            .index
            .checked_sub(1)
            .and_then(|index| self.board.workers().get(index))
        else {
            return;
        };
        let pid = before.pid.load(Relaxed);
        let its_turn_is_over = || before.state.load(Acquire) == WAITING && view.asleep(pid);
        if !await_fact(self.plan.budget, its_turn_is_over) {
            self.board.fail(Step::AwaitAsleep, None, self.index as u32);
        }
    }

    fn serve_by_accept(&self, listener: BorrowedFd<'_>) -> ! {
        loop {
            let accepted = self.waiting(|| socket::accept(listener));
            self.take(accepted);
        }
    }

    fn serve_by_poll(&self, listener: BorrowedFd<'_>) -> ! {
        loop {
            let mut fds = [PollFd::from_borrowed_fd(listener, PollFlags::IN)];
            self.wait_for_event(|| poll(&mut fds, None));
            self.be_late();
            self.take(socket::accept(listener));
        }
    }

    fn serve_by_select(&self, listener: BorrowedFd<'_>) -> ! {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&listener);
        loop {
            let mut set = [FdSetElement::default()];
            if !(0..64).contains(&fd) {
                self.fail(Step::Wait, Errno::BADF);
            }
            fd_set_insert(&mut set, fd);
            self.wait_for_event(|| {
                // SAFETY: the set holds one open descriptor below 64, the set's size.
                let ready = unsafe { select(fd + 1, Some(&mut set), None, None, None) };
                ready.map(|count| count as usize)
            });
            self.be_late();
            self.take(socket::accept(listener));
        }
    }

    fn serve_by_epoll(&self, listener: BorrowedFd<'_>, shared: Option<BorrowedFd<'_>>) -> ! {
        let variant = self.plan.variant;
        let own: Option<OwnedFd> = shared.is_none().then(|| {
            let own = self.or_fail(Step::MakeEpoll, socket::epoll_instance());
            self.or_fail(
                Step::Register,
                socket::register(own.as_fd(), listener, variant),
            );
            own
        });
        let Some(instance) = shared.or(own.as_ref().map(AsFd::as_fd)) else {
            self.fail(Step::MakeEpoll, Errno::BADF)
        };
        let drain = matches!(variant, Variant::EdgePerProcess | Variant::EdgeShared);
        let oneshot = matches!(variant, Variant::OneshotPerProcess | Variant::OneshotShared);
        loop {
            if self.wait_in_epoll(instance, None) {
                self.be_late();
                // An edge is told once: whoever gets it must take all there is.
                while self.take(socket::accept(listener)) && drain {}
                if oneshot {
                    self.or_fail(Step::Register, socket::rearm(instance, listener, variant));
                }
            }
        }
    }

    /// As nginx's event loop with accept_mutex on (ngx_trylock_accept_mutex, ngx_process_events_and_timers):
    /// the lock is tried before each wait and given back after each. Who gets it keeps the listener
    /// registered, also across giving it back; who does not takes the listener out and waits with a timeout.
    fn serve_by_mutex(&self, listener: BorrowedFd<'_>) -> ! {
        let mutex = &self.board.head().accept_mutex;
        let own_pid = self.cell.pid.load(Relaxed);
        let instance = self.or_fail(Step::MakeEpoll, socket::epoll_instance());
        let instance = instance.as_fd();
        let mut registered = false;
        loop {
            let held = mutex.compare_exchange(0, own_pid, AcqRel, Relaxed).is_ok();
            if held && !registered {
                self.or_fail(
                    Step::Register,
                    socket::register(instance, listener, self.plan.variant),
                );
            } else if !held && registered {
                self.or_fail(Step::Register, epoll::delete(instance, listener));
            }
            registered = held;
            if self.wait_in_epoll(instance, (!held).then_some(&ACCEPT_MUTEX_DELAY)) {
                self.be_late();
                self.take(socket::accept(listener));
            }
            if held {
                mutex.store(0, Release);
            }
        }
    }

    /// Says whether there is an event; a timeout has none.
    fn wait_in_epoll(&self, instance: BorrowedFd<'_>, timeout: Option<&Timespec>) -> bool {
        // One event per call: the listener is all there is.
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }];
        self.wait_once(|| epoll::wait(instance, &mut events, timeout)) > 0
    }

    fn wait_for_event(&self, mut call: impl FnMut() -> Result<usize, Errno>) {
        while self.wait_once(&mut call) == 0 {}
    }

    /// Events returned; none when a signal (SIGCONT) ended the wait.
    fn wait_once(&self, call: impl FnOnce() -> Result<usize, Errno>) -> usize {
        match self.waiting(call) {
            Err(Errno::INTR) => 0,
            other => self.or_fail(Step::Wait, other),
        }
    }

    fn waiting<T>(&self, call: impl FnOnce() -> T) -> T {
        self.cell.state.store(WAITING, Release);
        let result = call();
        self.cell.state.store(BUSY, Release);
        self.cell.returns.fetch_add(1, Relaxed);
        result
    }

    fn be_late(&self) {
        if self.plan.accept_delay > Duration::ZERO {
            pause(self.plan.accept_delay);
        }
    }

    /// Closes an accepted connection at once and counts it; says whether there was one.
    fn take(&self, accepted: Result<(OwnedFd, u16), Errno>) -> bool {
        match accepted {
            Ok((connection, port)) => {
                drop(connection);
                self.board.log_accept(self.index, port);
                true
            }
            Err(Errno::AGAIN) => {
                self.cell.eagain.fetch_add(1, Relaxed);
                false
            }
            Err(Errno::INTR | Errno::CONNABORTED) => false,
            Err(errno) => self.fail(Step::Accept, errno),
        }
    }

    fn or_fail<T>(&self, step: Step, result: Result<T, Errno>) -> T {
        match result {
            Ok(value) => value,
            Err(errno) => self.fail(step, errno),
        }
    }

    fn fail(&self, step: Step, errno: Errno) -> ! {
        self.board.fail(step, Some(errno), self.index as u32)
    }
}

const _: () = assert!(Duration::from_millis(500).as_nanos() > ACCEPT_MUTEX_DELAY.tv_nsec as u128);
