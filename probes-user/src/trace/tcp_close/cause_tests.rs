use super::*;

const CLOSING_CALL: [&str; 3] = ["tcp_send_active_reset", "__tcp_close", "tcp_close"];

fn with<'a>(stack: &[&'a str]) -> Reset<'a> {
    Reset {
        stack: stack.to_vec(),
        socket: true,
        state: CLOSE,
        before: Some(1),
        ..Reset::default()
    }
}

fn told<'a>(stack: &[&'a str], reason: &'a str) -> Reset<'a> {
    Reset {
        reason: Some(reason),
        ..with(stack)
    }
}

#[test]
fn close_with_unread_data_is_known_with_and_without_a_reason() {
    let by_count = Reset {
        unread: 7,
        ..with(&CLOSING_CALL)
    };
    assert_eq!(classify(&by_count), Cause::UnreadData);
    assert_eq!(
        classify(&told(&CLOSING_CALL, "TCP_ABORT_ON_CLOSE")),
        Cause::UnreadData
    );
}

#[test]
fn a_close_that_nothing_explains_is_not_known() {
    assert_eq!(classify(&with(&CLOSING_CALL)), Cause::Unknown);
}

#[test]
fn linger_zero_goes_through_disconnect_inside_close_and_connect_unspec_does_not() {
    let inside = [
        "tcp_send_active_reset",
        "tcp_disconnect",
        "__tcp_close",
        "tcp_close",
    ];
    assert_eq!(classify(&with(&inside)), Cause::LingerZero);
    assert_eq!(classify(&with(&inside[..2])), Cause::Disconnect);
}

#[test]
fn a_listeners_children_are_the_listeners_although_its_close_disconnects_them() {
    let stack = [
        "tcp_send_active_reset",
        "tcp_disconnect",
        "inet_child_forget",
        "inet_csk_listen_stop",
        "__tcp_close",
        "tcp_close",
    ];
    assert_eq!(classify(&with(&stack)), Cause::ListenerClosed);
}

#[test]
fn an_ending_process_is_told_from_a_close() {
    let stack = [
        "tcp_send_active_reset",
        "__tcp_close",
        "tcp_close",
        "do_exit",
        "do_group_exit",
    ];
    let reset = Reset {
        unread: 1,
        ..with(&stack)
    };
    assert_eq!(classify(&reset), Cause::KilledUnread);
    let linger = [
        "tcp_send_active_reset",
        "tcp_disconnect",
        "tcp_close",
        "do_exit",
    ];
    assert_eq!(classify(&with(&linger)), Cause::KilledLingerZero);
}

#[test]
fn negative_linger2_is_known_by_reason_or_by_the_state_before() {
    let before = Reset {
        before: Some(FIN_WAIT2),
        ..with(&CLOSING_CALL)
    };
    assert_eq!(classify(&before), Cause::Linger2);
    assert_eq!(
        classify(&told(&CLOSING_CALL, "TCP_ABORT_ON_LINGER")),
        Cause::Linger2
    );
}

#[test]
fn destroyed_timed_out_and_out_of_memory() {
    let abort = ["tcp_send_active_reset", "tcp_abort"];
    assert_eq!(classify(&with(&abort)), Cause::Destroyed);
    let timer = ["tcp_send_active_reset", "tcp_keepalive_timer"];
    let alive = Reset {
        state: 1,
        ..with(&timer)
    };
    assert_eq!(classify(&alive), Cause::SilentPeer);
    let orphan = Reset {
        state: FIN_WAIT2,
        ..with(&timer)
    };
    assert_eq!(classify(&orphan), Cause::OrphanTimeout);
    let write = ["tcp_send_active_reset", "tcp_write_timer_handler"];
    assert_eq!(classify(&with(&write)), Cause::Memory);
    let memory = told(&CLOSING_CALL, "TCP_ABORT_ON_MEMORY");
    assert_eq!(classify(&memory), Cause::Memory);
}

#[test]
fn data_for_a_closed_socket_is_known_by_reason_or_by_the_state_before() {
    let stack = ["tcp_v4_send_reset", "tcp_v4_do_rcv"];
    for before in [FIN_WAIT1, FIN_WAIT2, CLOSING, LAST_ACK] {
        let reset = Reset {
            before: Some(before),
            ..with(&stack)
        };
        assert_eq!(classify(&reset), Cause::DataAfterClose);
    }
    assert_eq!(
        classify(&told(&stack, "TCP_ABORT_ON_DATA")),
        Cause::DataAfterClose
    );
}

#[test]
fn answers_without_a_full_socket() {
    let stack = ["tcp_v6_send_reset"];
    let nobody = Reset {
        socket: false,
        ..with(&stack)
    };
    assert_eq!(classify(&nobody), Cause::NoSocket);
    let no_frames = Reset::default();
    assert_eq!(classify(&no_frames), Cause::NoSocket);
    for (state, cause) in [
        (TIME_WAIT, Cause::TimeWait),
        (LISTEN, Cause::NotAsked),
        (SYN_SENT, Cause::BadAnswer),
        (NEW_SYN_RECV, Cause::BadRequest),
        (1, Cause::BadSegment),
    ] {
        let reset = Reset {
            state,
            before: None,
            ..with(&stack)
        };
        assert_eq!(classify(&reset), cause, "state {state}");
    }
}

/// The kernel's own reason for this one is a SYN that is not valid: it shares the exit.
#[test]
fn an_overflow_is_known_by_the_listeners_queue() {
    let full = Reset {
        queue_full: true,
        state: LISTEN,
        ..told(&["tcp_v4_send_reset", "tcp_check_req"], "INVALID_SYN")
    };
    assert_eq!(classify(&full), Cause::QueueFull);
}

#[test]
fn a_backlog_answered_inside_the_owners_close_is_an_answer() {
    let stack = ["tcp_v4_send_reset", "tcp_v4_do_rcv", "tcp_close"];
    let reset = Reset {
        before: Some(FIN_WAIT1),
        unread: 5,
        ..with(&stack)
    };
    assert_eq!(classify(&reset), Cause::DataAfterClose);
}
