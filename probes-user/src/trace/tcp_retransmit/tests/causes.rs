//! The classifier, on stacks and fields as kernels give them.

use super::kit::*;
use crate::trace::tcp_retransmit::cause::{By, Cause, classify};

const PROBE_PENDING: u8 = 5;
const REORDER_PENDING: u8 = 6;
const RTO_PENDING: u8 = 1;

fn told(stack: &[&str], ca_state: u8, pending: u8) -> (Cause, By) {
    classify(&resend_with(stack, ca_state, pending), &symbols())
}

#[test]
fn stack_and_fields_agree_where_nothing_is_inlined() {
    assert_eq!(told(BY_RTO, LOSS, 0), (Cause::Rto, By::Both));
    assert_eq!(
        told(BY_PROBE, OPEN, PROBE_PENDING),
        (Cause::TailProbe, By::Both)
    );
    assert_eq!(told(BY_ACK, RECOVERY, RTO_PENDING), (Cause::Fast, By::Both));
    assert_eq!(told(BY_ACK, LOSS, RTO_PENDING), (Cause::AfterRto, By::Both));
    let reorder = &[
        "tcp_xmit_retransmit_queue",
        "tcp_rack_reo_timeout",
        "tcp_write_timer",
    ];
    assert_eq!(
        told(reorder, RECOVERY, REORDER_PENDING),
        (Cause::RackTimer, By::Stack)
    );
    assert_eq!(
        told(&["tcp_simple_retransmit"], LOSS, RTO_PENDING),
        (Cause::PathMtu, By::Stack)
    );
}

#[test]
fn a_timers_function_that_is_inlined_is_known_by_the_pending_timer() {
    let handler = &["somewhere", "tcp_write_timer_handler", "tcp_write_timer"];
    assert_eq!(told(handler, LOSS, 0).0, Cause::Rto);
    assert_eq!(told(handler, OPEN, PROBE_PENDING).0, Cause::TailProbe);
    assert_eq!(
        told(handler, RECOVERY, REORDER_PENDING),
        (Cause::RackTimer, By::Stack)
    );
}

#[test]
fn a_pending_probe_does_not_make_a_recovery_a_probe() {
    assert_eq!(
        told(BY_ACK, RECOVERY, PROBE_PENDING),
        (Cause::Fast, By::Stack)
    );
    assert_eq!(
        told(&[], RECOVERY, PROBE_PENDING),
        (Cause::Unknown, By::Nothing)
    );
}

#[test]
fn without_a_stack_the_fields_decide() {
    assert_eq!(told(&[], LOSS, 0), (Cause::Rto, By::Fields));
    assert_eq!(told(&[], LOSS, RTO_PENDING), (Cause::AfterRto, By::Fields));
    assert_eq!(told(&[], RECOVERY, RTO_PENDING), (Cause::Fast, By::Fields));
    assert_eq!(
        told(&[], OPEN, PROBE_PENDING),
        (Cause::TailProbe, By::Fields)
    );
    assert_eq!(told(&[], OPEN, 0), (Cause::Unknown, By::Nothing));
}

#[test]
fn what_stands_below_an_interrupt_is_a_bystanders() {
    for boundary in [
        "asm_sysvec_apic_timer_interrupt",
        "handle_softirqs",
        "__do_softirq",
    ] {
        let stack = &["somewhere", boundary, "tcp_ack"];
        assert_eq!(told(stack, LOSS, 0), (Cause::Rto, By::Fields), "{boundary}");
    }
}

#[test]
fn a_syn_is_known_by_its_flag_and_its_end_by_the_state() {
    let mut syn = resend_with(BY_RTO, LOSS, 0);
    syn.flags = 2;
    syn.id.state = 2;
    assert_eq!(classify(&syn, &symbols()), (Cause::Syn, By::Segment));
    syn.id.state = 3;
    assert_eq!(classify(&syn, &symbols()), (Cause::SynAck, By::Segment));
}

#[test]
fn a_depth_beyond_the_stack_is_no_harm() {
    let mut resend = resend_with(BY_RTO, LOSS, 0);
    resend.depth = u32::MAX;
    assert_eq!(classify(&resend, &symbols()).0, Cause::Rto);
}
