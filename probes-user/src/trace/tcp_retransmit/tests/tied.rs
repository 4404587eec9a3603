//! Resends and the losses that they answer.

use probes_common::tcp::{TIMER_EXPIRED, TIMER_REQUEST, TIMER_STARTED};

use super::kit::*;
use crate::trace::tcp_retransmit::cause::Cause;
use crate::trace::tcp_retransmit::ties::{Resend, Tie, resends};

fn found(wire: &Wire) -> Vec<Resend> {
    resends(&wire.events, &symbols())
}

fn lost_at(at: u64) -> Tie {
    Tie::SegmentLost { at, rule: 1 }
}

#[test]
fn a_resend_is_tied_to_the_drop_of_its_segment() {
    let mut wire = Wire::default();
    wire.data(10, 1_000, true)
        .data(20, 2_000, false)
        .data(30, 3_000, true);
    wire.resend(50, 2_000, resend_with(BY_ACK, RECOVERY, 1))
        .data(60, 2_000, true);
    let found = found(&wire);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].tie, found[0].copy, found[0].needless),
        (lost_at(20), 1, false)
    );
}

#[test]
fn its_own_packet_is_not_its_loss_though_it_comes_first() {
    let mut wire = Wire::default();
    // The resend's packet is dropped before the tracepoint fires.
    wire.data(10, 1_000, false)
        .data(200, 1_000, false)
        .rto(201, 1_000, 0);
    wire.data(600, 1_000, true).rto(601, 1_000, 1);
    let ties: Vec<Tie> = found(&wire).iter().map(|its| its.tie).collect();
    assert_eq!(ties, [lost_at(10), lost_at(200)]);
}

#[test]
fn sequence_numbers_wrap() {
    let seq = u32::MAX - 300;
    let mut wire = Wire::default();
    wire.data(10, seq, false)
        .rto(200, seq, 0)
        .data(210, seq, true);
    assert_eq!(found(&wire)[0].tie, lost_at(10));
    let mut other = Wire::default();
    other
        .data(10, seq.wrapping_add(1_000), false)
        .rto(200, seq, 0);
    assert_eq!(found(&other)[0].tie, Tie::Nothing);
}

#[test]
fn a_lost_acknowledgement_explains_a_needless_resend() {
    let mut wire = Wire::default();
    wire.data(10, 1_000, true).ack(20, 2_000, false);
    wire.rto(200, 1_000, 0).data(210, 1_000, true);
    let its = &found(&wire)[0];
    assert_eq!(
        (its.tie, its.needless),
        (Tie::AckLost { at: 20, rule: 1 }, true)
    );
}

#[test]
fn an_acknowledgement_that_got_through_explains_nothing() {
    let mut wire = Wire::default();
    wire.data(10, 1_000, true)
        .ack(20, 2_000, false)
        .ack(30, 2_000, true);
    wire.rto(200, 1_000, 0);
    assert_eq!(found(&wire)[0].tie, Tie::Nothing);
    // One of the byte before does not count.
    let mut short = Wire::default();
    short
        .data(10, 1_000, true)
        .ack(20, 1_999, false)
        .rto(200, 1_000, 0);
    assert_eq!(found(&short)[0].tie, Tie::Nothing);
}

#[test]
fn what_is_dropped_afterwards_explains_nothing() {
    let mut wire = Wire::default();
    wire.data(10, 1_000, true)
        .rto(200, 1_000, 0)
        .data(210, 1_000, false);
    assert_eq!(found(&wire)[0].tie, Tie::Nothing);
}

#[test]
fn another_connections_drop_explains_nothing() {
    let mut wire = Wire::default();
    wire.packet(10, false, 1_000, MSS, ACK, 0, false)
        .rto(200, 1_000, 0);
    assert_eq!(found(&wire)[0].tie, Tie::Nothing);
}

#[test]
fn a_resend_of_several_segments_is_needless_only_if_all_got_through() {
    let mut its = Wire::default();
    its.data(10, 1_000, true).data(20, 2_000, false);
    its.rto(200, 1_000, 0);
    if let Some(event) = its.events.last_mut()
        && let crate::stream::Body::TcpRetransmit(resend) = &mut event.body
    {
        resend.end_seq = 3_000;
    }
    let its = &found(&its)[0];
    assert_eq!((its.tie, its.needless), (lost_at(20), false));
}

#[test]
fn waits_are_those_of_the_sockets_own_timer() {
    let mut wire = Wire::default();
    wire.data(0, 1_000, false).armed(1, 50);
    wire.timer(2, SOCK + 1, 1, TIMER_STARTED, 999);
    wire.expired(200 * MS)
        .rto(200 * MS + 5, 1_000, 0)
        .armed(200 * MS + 6, 100);
    wire.expired(600 * MS)
        .rto(600 * MS + 5, 1_000, 1)
        .armed(600 * MS + 6, 200);
    let found = found(&wire);
    let waits: Vec<_> = found.iter().map(|its| (its.waited, its.armed)).collect();
    assert_eq!(waits, [(Some(50), Some(100)), (Some(100), Some(200))]);
    assert_eq!(found[1].waited_ns, Some(400 * MS - 1));
    assert!(found.iter().all(|its| its.timer_expired));
}

#[test]
fn an_acknowledgements_resend_has_no_wait_of_a_timer() {
    let mut wire = Wire::default();
    wire.data(0, 1_000, false).armed(1, 50);
    wire.resend(10, 1_000, resend_with(BY_ACK, RECOVERY, 1))
        .armed(11, 51);
    let its = &found(&wire)[0];
    assert_eq!((its.waited, its.armed), (None, None));
}

#[test]
fn a_syn_ack_is_found_by_its_ends() {
    let mut wire = Wire::default();
    wire.packet(10, true, 500, 0, 2, 0, true)
        .packet(20, false, 900, 0, 18, 501, false);
    wire.timer(21, REQUEST, TIMER_REQUEST, TIMER_STARTED, 250);
    wire.timer(1_000 * MS, REQUEST, TIMER_REQUEST, TIMER_EXPIRED, 0);
    wire.synack(1_000 * MS + 5)
        .packet(1_000 * MS + 4, false, 900, 0, 18, 501, true);
    let its = &found(&wire)[0];
    assert_eq!(
        (its.cause, its.tie, its.waited),
        (Cause::SynAck, lost_at(20), Some(250))
    );
    assert!(its.timer_expired && its.on_wire);
}

#[test]
fn a_client_that_hears_no_syn_ack_resends_for_a_lost_answer() {
    let mut wire = Wire::default();
    wire.packet(10, true, 500, 0, 2, 0, true)
        .packet(20, false, 900, 0, 18, 501, false);
    let mut syn = resend_with(BY_RTO, LOSS, 0);
    (syn.flags, syn.id.state) = (2, 2);
    wire.resend(1_000, 500, syn);
    if let Some(event) = wire.events.last_mut()
        && let crate::stream::Body::TcpRetransmit(resend) = &mut event.body
    {
        resend.end_seq = 501;
    }
    assert_eq!(found(&wire)[0].tie, Tie::AckLost { at: 20, rule: 1 });
}
