//! Why was this task woken? Answered by the kernel stack that came with `sched_waking`.
//!
//! In interrupt context the current task is an innocent bystander, so the stack is read from the top
//! down to the first interrupt or softirq frame and no further. What could fool it: frames of an
//! interrupted `tcp_child_process` below the boundary; a timer that fires inside the bracket of the
//! function probes; 5.10, which lists the top frame twice; a return address one past its function.

use probes_common::event::{STACK_DEPTH, WAKING_IN_CHILD, Waking};
use serde::Serialize;

use super::symbols::{self, Frame};
use crate::kernel::symbols::stack::inside;
use crate::trace::Symbol;

/// Why a task was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A new connection on a listener.
    Connection,
    /// A worker that left epoll_wait passed the event on.
    Cascade,
    /// Data on an established socket.
    Data,
    Timer,
    /// A socket's lock handed over between two of its users.
    LockHandoff,
    Signal,
    Futex,
    /// A dying task let go of something.
    Exit,
    Pipe,
    Other,
    /// No stack came with the event and no bracket says more.
    Unknown,
}

impl Cause {
    pub const ALL: [Cause; 11] = [
        Cause::Connection,
        Cause::Cascade,
        Cause::Data,
        Cause::Timer,
        Cause::LockHandoff,
        Cause::Signal,
        Cause::Futex,
        Cause::Exit,
        Cause::Pipe,
        Cause::Other,
        Cause::Unknown,
    ];

    /// As printed, and as part of JSON keys.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Connection => "connection",
            Cause::Cascade => "cascade",
            Cause::Data => "data",
            Cause::Timer => "timer",
            Cause::LockHandoff => "lock",
            Cause::Signal => "signal",
            Cause::Futex => "futex",
            Cause::Exit => "exit",
            Cause::Pipe => "pipe",
            Cause::Other => "other",
            Cause::Unknown => "unknown",
        }
    }
}

/// Reads stacks with the symbols of the kernel they were taken on.
#[derive(Debug, Default)]
pub struct Classifier {
    /// Ranges by start address; only functions that say something.
    ranges: Vec<(u64, u64, Frame)>,
}

impl Classifier {
    pub fn new(symbols: &[Symbol]) -> Classifier {
        let mut ranges: Vec<_> = symbols
            .iter()
            .filter_map(|symbol| Some((symbol.start, symbol.end, symbols::frame(&symbol.name)?)))
            .collect();
        ranges.sort_unstable_by_key(|range| range.0);
        Classifier { ranges }
    }

    pub fn classify(&self, waking: &Waking) -> Cause {
        let depth = usize::try_from(waking.depth)
            .unwrap_or(STACK_DEPTH)
            .min(STACK_DEPTH);
        let in_child = waking.flags & WAKING_IN_CHILD != 0;
        if depth == 0 {
            return if in_child {
                Cause::Connection
            } else {
                Cause::Unknown
            };
        }
        self.read(&waking.stack[..depth], in_child)
    }

    /// Of a stack alone.
    pub fn of_stack(&self, stack: &[u64]) -> Cause {
        match stack.is_empty() {
            true => Cause::Unknown,
            false => self.read(stack, false),
        }
    }

    fn read(&self, stack: &[u64], in_child: bool) -> Cause {
        let mut readable = false;
        for (position, address) in stack.iter().enumerate() {
            match self.frame(*address, position) {
                Some(Frame::Child) => return Cause::Connection,
                Some(Frame::Readable) => readable = true,
                // A reader's own release_sock below a readable socket delivers the backlog: still data.
                Some(Frame::Decides(cause)) if !readable => return cause,
                Some(Frame::Decides(_)) => break,
                // Nothing above the interrupt speaks of a socket: the bracket is that of what it cut into.
                Some(Frame::Boundary) if !readable => return Cause::Other,
                Some(Frame::Boundary) => break,
                None => {}
            }
        }
        match (in_child, readable) {
            (true, _) => Cause::Connection,
            (false, true) => Cause::Data,
            (false, false) => Cause::Other,
        }
    }

    fn frame(&self, address: u64, position: usize) -> Option<Frame> {
        let inside = inside(position, address);
        let after = self.ranges.partition_point(|range| range.0 <= inside);
        let (_, end, frame) = *self.ranges.get(after.checked_sub(1)?)?;
        (inside < end).then_some(frame)
    }
}
