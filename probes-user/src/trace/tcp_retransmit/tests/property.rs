//! The order in which CPUs hand over their events changes nothing, and no event makes the correlator panic.

use probes_common::tcp::{TIMER_EXPIRED, TIMER_STARTED, TIMER_WRITE};
use proptest::prelude::*;

use super::kit::*;
use super::watches::ledger as ledger_of;
use crate::stream::{Event, Item};
use crate::trace::scripted::CaseLog;
use crate::trace::tcp::tests::{in_order, mixed};
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

fn by_cpu(events: &[Event]) -> Vec<Vec<Item>> {
    let of = |cpu| events.iter().filter(move |event| event.header.cpu == cpu);
    (0..4)
        .map(|cpu| of(cpu).copied().map(Item::Event).collect())
        .collect()
}

proptest! {
    #[test]
    fn any_interleaving_of_the_cpus_gives_the_same_ledger(
        steps in prop::collection::vec(step(), 0..40),
        order in prop::collection::vec(0_usize..64, 40),
    ) {
        let events = stream(&steps);
        let mixed: Vec<Event> = mixed(by_cpu(&events), &order)
            .into_iter()
            .filter_map(|item| match item {
                Item::Event(event) => Some(event),
                Item::Mark(_) => None,
            })
            .collect();
        prop_assert_eq!(mixed.len(), events.len());
        prop_assert_eq!(resends(&mixed, &symbols()), resends(&events, &symbols()));
        prop_assert_eq!(tables(mixed), tables(events));
    }

    #[test]
    fn a_watch_tells_the_same_whatever_cpu_is_read_first(
        steps in prop::collection::vec(step(), 0..40),
        order in prop::collection::vec(0_usize..64, 40),
    ) {
        let events = stream(&steps);
        let straight: Vec<Item> = events.iter().copied().map(Item::Event).collect();
        let options = || serde_json::json!({ "jiffy_ns": 4 * MS, "drop": ["data:2", "ack"] });
        let told = ledger_of(&straight, options());
        let mixed = in_order(mixed(by_cpu(&events), &order));
        prop_assert_eq!(ledger_of(&mixed, options()), told);
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
