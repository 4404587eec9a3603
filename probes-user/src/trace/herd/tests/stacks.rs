//! Stacks as the five kernels give them.

use probes_common::event::{STACK_DEPTH, WAKING_BRACKETED, WAKING_IN_CHILD, Waking};

use super::super::stack::{Cause, Classifier};
use super::super::testkit::{CASCADE, CHILD, LOCK, TIMER, frames, symbols};

const INTERRUPT: &str = "asm_sysvec_apic_timer_interrupt";

fn classify(names: &[&str], flags: u32) -> Cause {
    let (depth, stack) = frames(names);
    let waking = Waking {
        target: 1,
        flags,
        conn: 0,
        depth,
        _pad: 0,
        stack,
    };
    Classifier::new(&symbols()).classify(&waking)
}

#[test]
fn each_cause_is_read_from_its_own_frames() {
    let table: &[(&[&str], Cause)] = &[
        (CHILD, Cause::Connection),
        (CASCADE, Cause::Cascade),
        (TIMER, Cause::Timer),
        (LOCK, Cause::LockHandoff),
        (
            &[
                "try_to_wake_up",
                "process_timeout",
                "call_timer_fn",
                "__do_softirq",
            ],
            Cause::Timer,
        ),
        (
            &[
                "try_to_wake_up",
                "sock_def_readable",
                "tcp_data_queue",
                "tcp_rcv_established",
            ],
            Cause::Data,
        ),
        (
            &["try_to_wake_up", "signal_wake_up_state", "complete_signal"],
            Cause::Signal,
        ),
        (
            &["try_to_wake_up", "wake_up_q", "futex_wake", "do_futex"],
            Cause::Futex,
        ),
        (
            &["try_to_wake_up", "__wake_up_common", "ep_free", "do_exit"],
            Cause::Exit,
        ),
        (
            &[
                "try_to_wake_up",
                "__wake_up_common",
                "pipe_write",
                "vfs_write",
            ],
            Cause::Pipe,
        ),
        (&["try_to_wake_up", "something", "else"], Cause::Other),
    ];
    for (names, cause) in table {
        assert_eq!(classify(names, 0), *cause, "{names:?}");
    }
}

#[test]
fn frames_below_an_interrupt_are_somebody_elses() {
    let over_child = [
        "try_to_wake_up",
        "hrtimer_wakeup",
        INTERRUPT,
        "tcp_child_process",
        "tcp_v4_rcv",
    ];
    assert_eq!(classify(&over_child, 0), Cause::Timer);
    let unknown_over_child = [
        "try_to_wake_up",
        "some_driver",
        INTERRUPT,
        "tcp_child_process",
    ];
    assert_eq!(classify(&unknown_over_child, 0), Cause::Other);
    let data_over_child = [
        "try_to_wake_up",
        "sock_def_readable",
        "tcp_data_queue",
        "handle_softirqs",
        INTERRUPT,
        "tcp_child_process",
    ];
    assert_eq!(classify(&data_over_child, 0), Cause::Data);
}

#[test]
fn a_softirq_run_by_a_worker_that_leaves_epoll_wait_is_no_cascade() {
    let names = [
        "try_to_wake_up",
        "sock_def_readable",
        "tcp_child_process",
        "__do_softirq",
        "ep_done_scan",
    ];
    assert_eq!(classify(&names, 0), Cause::Connection);
    let other = [
        "try_to_wake_up",
        "some_driver",
        "__do_softirq",
        "ep_done_scan",
    ];
    assert_eq!(classify(&other, 0), Cause::Other);
}

#[test]
fn the_doubled_top_frame_of_5_10_changes_nothing() {
    let mut doubled = vec![CHILD[0]];
    doubled.extend(CHILD);
    assert_eq!(classify(&doubled, 0), Cause::Connection);
    let cascade = ["ep_scan_ready_list", "ep_scan_ready_list", "do_epoll_wait"];
    assert_eq!(classify(&cascade, 0), Cause::Cascade);
}

#[test]
fn a_bracket_decides_where_the_stack_is_silent_but_not_against_a_timer() {
    let flags = WAKING_BRACKETED | WAKING_IN_CHILD;
    assert_eq!(classify(&[], flags), Cause::Connection);
    assert_eq!(
        classify(&["try_to_wake_up", "sock_def_readable"], flags),
        Cause::Connection
    );
    assert_eq!(classify(TIMER, flags), Cause::Timer);
    assert_eq!(
        classify(&["try_to_wake_up", "some_driver", INTERRUPT], flags),
        Cause::Other
    );
    assert_eq!(classify(&[], WAKING_BRACKETED), Cause::Unknown);
    assert_eq!(classify(&[], 0), Cause::Unknown);
}

#[test]
fn a_return_address_one_past_its_function_still_belongs_to_it() {
    let known = symbols();
    let child = known
        .iter()
        .find(|symbol| symbol.name == "tcp_child_process")
        .unwrap();
    let mut stack = [0; STACK_DEPTH];
    stack[0] = 1;
    stack[1] = child.end;
    let waking = Waking {
        target: 1,
        flags: 0,
        conn: 0,
        depth: 2,
        _pad: 0,
        stack,
    };
    assert_eq!(Classifier::new(&known).classify(&waking), Cause::Connection);
}

#[test]
fn a_depth_beyond_the_stack_is_cut() {
    let (_, stack) = frames(CHILD);
    let waking = Waking {
        target: 1,
        flags: 0,
        conn: 0,
        depth: u32::MAX,
        _pad: 0,
        stack,
    };
    assert_eq!(
        Classifier::new(&symbols()).classify(&waking),
        Cause::Connection
    );
}
