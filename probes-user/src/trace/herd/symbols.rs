//! The kernel functions that the classifier of wakings knows, and what each says about the cause.
//!
//! One list for everything: `Trace::symbols` asks the kernel for these names, the classifier reads
//! them back out of stacks. Compiler clones (`ep_scan_ready_list.constprop.0`) count as the function.

use super::stack::Cause;
use crate::kernel::symbols::stack::{self, SOFTIRQS};

/// What a frame says to a reader who comes from the top of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// The cause is settled here.
    Decides(Cause),
    /// Data became readable on some socket; on a listener `tcp_child_process` stands further down.
    Readable,
    /// The passive socket is being completed: the waking is the connection's.
    Child,
    /// Below is the context that was interrupted, or that happened to enable softirqs: somebody else's.
    Boundary,
}

const FRAMES: &[(&str, Frame)] = &[
    ("tcp_child_process", Frame::Child),
    ("sock_def_readable", Frame::Readable),
    ("tcp_data_ready", Frame::Readable),
    ("tcp_data_queue", Frame::Readable),
    ("hrtimer_wakeup", Frame::Decides(Cause::Timer)),
    ("process_timeout", Frame::Decides(Cause::Timer)),
    ("ep_scan_ready_list", Frame::Decides(Cause::Cascade)),
    ("ep_done_scan", Frame::Decides(Cause::Cascade)),
    ("ep_send_events", Frame::Decides(Cause::Cascade)),
    ("ep_send_events_proc", Frame::Decides(Cause::Cascade)),
    ("release_sock", Frame::Decides(Cause::LockHandoff)),
    ("__release_sock", Frame::Decides(Cause::LockHandoff)),
    ("__lock_sock", Frame::Decides(Cause::LockHandoff)),
    ("lock_sock_nested", Frame::Decides(Cause::LockHandoff)),
    ("inet_csk_accept", Frame::Decides(Cause::LockHandoff)),
    ("complete_signal", Frame::Decides(Cause::Signal)),
    ("signal_wake_up_state", Frame::Decides(Cause::Signal)),
    ("futex_wake", Frame::Decides(Cause::Futex)),
    ("do_futex", Frame::Decides(Cause::Futex)),
    ("rwsem_wake", Frame::Decides(Cause::Exit)),
    ("ep_free", Frame::Decides(Cause::Exit)),
    ("ep_clear_and_put", Frame::Decides(Cause::Exit)),
    ("do_exit", Frame::Decides(Cause::Exit)),
    ("do_group_exit", Frame::Decides(Cause::Exit)),
    ("pipe_write", Frame::Decides(Cause::Pipe)),
    ("anon_pipe_write", Frame::Decides(Cause::Pipe)),
    ("pipe_read", Frame::Decides(Cause::Pipe)),
    ("anon_pipe_read", Frame::Decides(Cause::Pipe)),
    ("pipe_release", Frame::Decides(Cause::Pipe)),
    ("eventfd_write", Frame::Decides(Cause::Pipe)),
];

/// For `Trace::symbols`.
pub static NAMES: [&str; FRAMES.len() + SOFTIRQS.len()] = stack::names(FRAMES);

/// What a function of this name says; None = nothing.
pub fn frame(name: &str) -> Option<Frame> {
    let boundary = || stack::is_boundary(name).then_some(Frame::Boundary);
    stack::said(FRAMES, name).or_else(boundary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_count_as_the_function() {
        assert_eq!(
            frame("ep_scan_ready_list.constprop.0"),
            Some(Frame::Decides(Cause::Cascade))
        );
        assert_eq!(frame("handle_softirqs.cold"), Some(Frame::Boundary));
    }

    #[test]
    fn interrupt_entries_are_boundaries_and_plain_functions_say_nothing() {
        assert_eq!(
            frame("asm_sysvec_apic_timer_interrupt"),
            Some(Frame::Boundary)
        );
        assert_eq!(frame("asm_common_interrupt"), Some(Frame::Boundary));
        assert_eq!(frame("try_to_wake_up"), None);
    }

    #[test]
    fn no_name_stands_twice() {
        let mut names = NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), NAMES.len());
    }
}
