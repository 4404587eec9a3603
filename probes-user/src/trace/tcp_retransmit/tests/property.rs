//! The order in which CPUs hand over their events changes nothing, and no event makes the correlator panic.

use probes_common::tcp::{TIMER_EXPIRED, TIMER_STARTED, TIMER_WRITE};
use proptest::prelude::*;

use super::kit::*;
use crate::stream::Event;
use crate::trace::scripted::CaseLog;
use crate::trace::tcp_retransmit::case::Judged;
use crate::trace::tcp_retransmit::ledger::ledger;
use crate::trace::tcp_retransmit::ties::resends;
use crate::trace::tcp_retransmit::verdict::Clock;

#[derive(Debug, Clone)]
enum Step {
    Data(u32, bool),
    Ack(u32, bool),
    Resend(u32, u8, u8, usize),
    Timer(bool, u64),
    Synack,
}

fn step() -> impl Strategy<Value = Step> {
    // A few segments around the wrap of the sequence numbers.
    let seq = (0u32..6).prop_map(|at| (u32::MAX - 2_500).wrapping_add(at * u32::from(MSS)));
    prop_oneof![
        (seq.clone(), any::<bool>()).prop_map(|(seq, passes)| Step::Data(seq, passes)),
        (seq.clone(), any::<bool>()).prop_map(|(seq, passes)| Step::Ack(seq, passes)),
        (seq, 0u8..5, 0u8..7, 0usize..4)
            .prop_map(|(seq, ca, pending, stack)| Step::Resend(seq, ca, pending, stack)),
        (any::<bool>(), 0u64..500).prop_map(|(start, wait)| Step::Timer(start, wait)),
        Just(Step::Synack),
    ]
}

/// One every 10 µs: no two at one time.
fn stream(steps: &[Step]) -> Vec<Event> {
    let mut wire = Wire::default();
    for (at, step) in steps.iter().enumerate() {
        let time = 10_000 * (at as u64 + 1);
        match *step {
            Step::Data(seq, passes) => wire.data(time, seq, passes),
            Step::Ack(ack, passes) => wire.ack(time, ack, passes),
            Step::Resend(seq, ca, pending, stack) => {
                let stack = [BY_RTO, BY_PROBE, BY_ACK, &[]][stack];
                wire.resend(time, seq, resend_with(stack, ca, pending))
            }
            Step::Timer(start, wait) => {
                let action = if start { TIMER_STARTED } else { TIMER_EXPIRED };
                wire.timer(time, SOCK, TIMER_WRITE, action, wait)
            }
            Step::Synack => wire.synack(time),
        };
    }
    wire.events
}

fn tables(events: Vec<Event>) -> crate::evidence::Ledger {
    let log = CaseLog {
        label: "middle/v4".to_owned(),
        netns: 7,
        events,
        ..CaseLog::default()
    };
    ledger(
        &[Judged::new(&log, &symbols())],
        &Clock { jiffy_ns: 4 * MS },
    )
}

proptest! {
    #[test]
    fn any_interleaving_of_the_cpus_gives_the_same_ledger(
        steps in prop::collection::vec(step(), 0..40),
        order in any::<u64>(),
    ) {
        let events = stream(&steps);
        let mut mixed = events.clone();
        // Every CPU keeps its own order; which one is read next is arbitrary.
        let mut seed = order;
        let mut queues: Vec<std::collections::VecDeque<Event>> = (0..4)
            .map(|cpu| events.iter().filter(|event| event.header.cpu == cpu).copied().collect())
            .collect();
        mixed.clear();
        while queues.iter().any(|queue| !queue.is_empty()) {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let queue = (seed >> 60) as usize % 4;
            mixed.extend(queues[queue].pop_front());
        }
        prop_assert_eq!(mixed.len(), events.len());
        prop_assert_eq!(resends(&mixed, &symbols()), resends(&events, &symbols()));
        prop_assert_eq!(tables(mixed), tables(events));
    }

    #[test]
    fn every_tie_is_to_a_packet_that_was_dropped_before(steps in prop::collection::vec(step(), 0..40)) {
        let events = stream(&steps);
        for its in resends(&events, &symbols()) {
            let Some(at) = its.tie.lost_at() else { continue };
            prop_assert!(at < its.time);
            let dropped = events.iter().any(|event| {
                event.header.ktime == at
                    && matches!(&event.body, crate::stream::Body::Packet(packet) if packet.verdict == 1)
            });
            prop_assert!(dropped);
        }
    }
}
