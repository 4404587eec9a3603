//! Whatever comes, nothing panics; and the order among CPUs of what happens at once changes nothing.

use probes_common::event::{
    DataReady, Exec, Exit, Fork, Header, STACK_DEPTH, SockState, Switch, SysEnter, SysExit,
    WaitWake, Wakeup, Waking,
};
use proptest::prelude::*;

use super::super::marks::{Arrival, Variant};
use super::super::testkit::*;
use crate::render::text;
use crate::stream::{Body, Event, Item};
use crate::trace::{Ending, Mode};

fn body() -> impl Strategy<Value = Body> {
    let pid = 100..106u32;
    let nr = prop::sample::select(vec![7u32, 23, 43, 232, 233, 281, 288, 999]);
    let sock = prop::sample::select(vec![0u64, 0x5000_0100, 0x5000_0200, 0x9999]);
    let address = prop::sample::select(
        frames(CHILD)
            .1
            .into_iter()
            .chain(frames(CASCADE).1)
            .collect::<Vec<_>>(),
    );
    prop_oneof![
        (
            pid.clone(),
            any::<u32>(),
            sock.clone(),
            any::<u32>(),
            prop::collection::vec(address, STACK_DEPTH)
        )
            .prop_map(|(target, flags, conn, depth, stack)| {
                let stack: [u64; STACK_DEPTH] = stack.try_into().unwrap();
                Body::Waking(Waking {
                    target,
                    flags,
                    conn,
                    depth,
                    _pad: 0,
                    stack,
                })
            }),
        (pid.clone(), 0..2u32).prop_map(|(target, new)| Body::Wakeup(Wakeup { target, new })),
        (pid.clone(), pid.clone(), 0..300u32, any::<u32>()).prop_map(
            |(prev, next, prev_state, flags)| Body::Switch(Switch {
                prev,
                next,
                prev_state,
                flags
            })
        ),
        (pid.clone(), pid.clone()).prop_map(|(parent, child)| Body::Fork(Fork {
            parent,
            child,
            child_tgid: child,
            _pad: 0,
            comm: [0xff; 16]
        })),
        pid.clone().prop_map(|pid| Body::Exec(Exec {
            pid,
            _pad: 0,
            comm: [b'x'; 16]
        })),
        pid.clone()
            .prop_map(|pid| Body::Exit(Exit { pid, tgid: pid })),
        nr.clone().prop_map(|nr| Body::SysEnter(SysEnter {
            nr,
            _pad: 0,
            args: [0; 4]
        })),
        (nr, -12..2i64, sock.clone(), any::<[u64; 4]>(), any::<u32>()).prop_map(
            |(nr, ret, new_sock, args, epoll_events)| Body::SysExit(SysExit {
                nr,
                epoll_events,
                ret,
                args,
                fd_sock: 1,
                new_sock,
                fd_port: PORT,
                fd_state: 10,
                new_local_port: PORT,
                new_remote_port: 1
            })
        ),
        (sock.clone(), 0..12u8, 0..12u8).prop_map(|(sock, old, new)| Body::SockState(SockState {
            sock,
            netns: 1,
            family: 2,
            old: if old > 5 { 3 } else { old },
            new: if new > 5 { 1 } else { new },
            local_port: PORT,
            remote_port: 40_001,
            _pad: 0,
            local_addr: [0; 16],
            remote_addr: [0; 16]
        })),
        sock.clone().prop_map(|sock| Body::DataReady(DataReady {
            sock,
            conn: sock,
            local_port: PORT,
            _pad: [0; 3]
        })),
        (sock, any::<u32>(), any::<i32>()).prop_map(|(conn, function, ret)| Body::WaitWake(
            WaitWake {
                conn,
                entry_flags: function,
                function,
                ret,
                epoll_events: 0
            }
        )),
    ]
}

fn item() -> impl Strategy<Value = Item> {
    (any::<u64>(), 100..106u32, 0..3u32, body()).prop_map(|(ktime, pid, phase, body)| {
        let header = Header {
            ktime,
            kind: 0,
            len: 0,
            cpu: 0,
            pid,
            tgid: pid,
            phase,
            again: 0,
        };
        Item::Event(Event { header, body })
    })
}

/// A small scene as a skeleton to put garbage into.
fn skeleton() -> Vec<Item> {
    let mut script = Script::new();
    script.scene(Variant::PerProcessInstance, Arrival::Sequential, 4);
    for _ in 0..3 {
        script.herd(&[0, 1, 2, 3]);
    }
    script.end();
    script.items
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_stream_makes_the_fold_panic(garbage in prop::collection::vec((any::<prop::sample::Index>(), item()), 0..80)) {
        let mut items = skeleton();
        for (at, item) in garbage {
            let at = at.index(items.len() + 1);
            items.insert(at, item);
        }
        for mode in [Mode::Lab, Mode::Watch] {
            let mut context = context("epoll-herd", mode);
            context.timeline = Some(1);
            let outcome = fold(&context, &items, &Ending::default());
            let page = text::ledger(&outcome.ledger, text::Style { colour: false, verbose: true });
            prop_assert!(page.lines().all(|line| line.chars().count() <= text::WIDTH), "{page}");
        }
    }

    /// Every worker lives on its own CPU; each CPU's events keep their order and get times of their own
    /// (scaled by its speed) between two connections. Sorted by time, the ledger must be the same.
    #[test]
    fn interleaving_of_cpus_does_not_change_the_ledger(
        speeds in prop::collection::vec(prop::collection::vec(1..50u64, 4), 6)
    ) {
        let tables = |items: &[Item]| {
            let outcome = fold(&context("epoll-herd", Mode::Lab), items, &Ending::default());
            // Times differ by construction; counts must not.
            let herd = outcome.ledger.tables.into_iter().find(|table| table.id == "herd").unwrap();
            let results: Vec<_> = outcome.findings.iter().map(|found| (found.id.clone(), found.result)).collect();
            (herd, results)
        };
        let plain = tables(&interleaved(&vec![vec![1; 4]; 6]));
        prop_assert_eq!(tables(&interleaved(&speeds)), plain);
    }
}

/// Four workers, each on its own CPU at its own speed, per connection: wakings first, then all run at once.
fn interleaved(speeds: &[Vec<u64>]) -> Vec<Item> {
    let mut script = Script::new();
    script.scene(Variant::PerProcessInstance, Arrival::Sequential, 4);
    for speed in speeds {
        let conn = script.connect();
        for index in 0..4 {
            script.waking(CLIENT, script.pid(index), conn.sock, CHILD, 0);
        }
        let (start, mark) = (script.now, script.items.len());
        let mut end = start;
        for index in 0..4u32 {
            script.now = start + u64::from(index);
            let (pid, first) = (script.pid(index), script.items.len());
            script.cpu = index;
            script.wakeup(pid);
            if index == 0 {
                script.wins(pid, conn)
            } else {
                script.loses(pid)
            };
            for item in &mut script.items[first..] {
                if let Item::Event(event) = item {
                    let passed = event.header.ktime - start;
                    event.header.ktime = start + passed * speed[index as usize];
                    end = end.max(event.header.ktime);
                }
            }
        }
        script.items[mark..].sort_by_key(Item::ktime);
        script.now = end + 1;
    }
    script.end();
    script.items
}
