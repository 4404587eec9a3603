//! Sockets followed through streams built by hand, and through streams whose records came in any order.

use std::collections::VecDeque;

use probes_common::event::{Header, Kind};
use probes_common::tcp::{
    SockId, TIMER_EXPIRED, TIMER_STARTED, TIMER_TIME_WAIT, TcpDestroy, TcpState, TcpTimer,
};
use proptest::prelude::*;

use super::flow::{Flow, Role, Source};
use super::flows::Flows;
use super::marks::{OwnerMark, SocketMark};
use crate::kernel::tcp::*;
use crate::stream::order::Order;
use crate::stream::{Body, Event, Item};

const LO: [u8; 16] = [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Whoever runs when a packet comes.
pub(crate) const BYSTANDER: (u32, &str) = (4242, "bystander");

fn id(sock: u64, ports: (u16, u16)) -> SockId {
    SockId {
        sock,
        netns: 7,
        family: AF_INET,
        local_port: ports.0,
        remote_port: ports.1,
        local_addr: LO,
        remote_addr: LO,
        ..SockId::default()
    }
}

fn event(ktime: u64, kind: Kind, by: u32, body: Body) -> Item {
    let header = Header {
        ktime,
        kind: kind as u16,
        pid: by,
        tgid: by,
        ..Header::default()
    };
    Item::Event(Event { header, body })
}

pub(crate) fn change(
    ktime: u64,
    sock: u64,
    ports: (u16, u16),
    old: u8,
    new: u8,
    by: (u32, &str),
) -> Item {
    let mut its = TcpState {
        id: id(sock, ports),
        old,
        new,
        ..TcpState::default()
    };
    its.comm[..by.1.len()].copy_from_slice(by.1.as_bytes());
    event(ktime, Kind::TcpState, by.0, Body::TcpState(its))
}

pub(crate) fn waits(ktime: u64, small: u64, ports: (u16, u16), state: u8, action: u8) -> Item {
    let mut its = TcpTimer {
        id: id(small, ports),
        which: TIMER_TIME_WAIT,
        action,
        timeout: 15_000,
        ..TcpTimer::default()
    };
    its.id.state = state;
    event(ktime, Kind::TcpTimer, BYSTANDER.0, Body::TcpTimer(its))
}

fn destroyed(ktime: u64, sock: u64, ports: (u16, u16)) -> Item {
    let its = TcpDestroy {
        id: id(sock, ports),
        ..TcpDestroy::default()
    };
    event(ktime, Kind::TcpDestroy, BYSTANDER.0, Body::TcpDestroy(its))
}

pub(crate) const CLIENT: (u32, &str) = (10, "client");
pub(crate) const SERVER: (u32, &str) = (20, "server");

/// The client connects and closes first; both ends on this machine. `at` is the time of its first event.
pub(crate) fn connection(at: u64, gap: u64, (client, server): (u64, u64), port: u16) -> Vec<Item> {
    let (out, back) = ((port, 80), (80, port));
    let t = |n: u64| at + n * gap;
    vec![
        change(t(0), client, (0, 80), CLOSE, SYN_SENT, CLIENT),
        change(t(1), server, (80, 0), LISTEN, SYN_RECV, BYSTANDER),
        change(t(2), server, back, SYN_RECV, ESTABLISHED, BYSTANDER),
        change(t(3), client, out, SYN_SENT, ESTABLISHED, BYSTANDER),
        change(t(4), client, out, ESTABLISHED, FIN_WAIT1, CLIENT),
        change(t(5), server, back, ESTABLISHED, CLOSE_WAIT, BYSTANDER),
        change(t(6), client, out, FIN_WAIT1, FIN_WAIT2, BYSTANDER),
        change(t(7), server, back, CLOSE_WAIT, LAST_ACK, SERVER),
        waits(t(8), client + 1, out, TIME_WAIT, TIMER_STARTED),
        change(t(9), client, out, FIN_WAIT2, CLOSE, BYSTANDER),
        destroyed(t(10), client, out),
        change(t(11), server, back, LAST_ACK, CLOSE, BYSTANDER),
        destroyed(t(12), server, back),
        waits(t(13), client + 1, out, TIME_WAIT, TIMER_EXPIRED),
    ]
}

fn fold(items: &[Item]) -> (Flows, Vec<Flow>) {
    let mut flows = Flows::default();
    let mut done = Vec::new();
    for item in items {
        flows.item(item);
        done.extend(flows.take_done());
    }
    (flows, done)
}

#[test]
fn both_ends_go_their_way_and_only_callers_are_named() {
    let (flows, done) = fold(&connection(100, 10, (0x1000, 0x2000), 40_000));
    assert_eq!((flows.open().count(), done.len()), (0, 2));
    let (server, client) = (&done[0], &done[1]);
    assert_eq!(
        client.states(),
        [
            "SYN_SENT",
            "ESTABLISHED",
            "FIN_WAIT1",
            "FIN_WAIT2",
            "TIME_WAIT",
            "CLOSE"
        ]
    );
    assert_eq!(
        server.states(),
        ["SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK", "CLOSE"]
    );
    assert_eq!((client.role, server.role), (Role::Active, Role::Passive));
    assert_eq!(client.ends.local.port(), 40_000);
    assert_eq!(client.ends, server.ends.mirrored());
    let owner = |flow: &Flow| {
        flow.owner
            .clone()
            .map(|its| (its.pid, its.comm, its.source))
    };
    assert_eq!(owner(client), Some((10, "client".to_owned(), Source::Call)));
    assert_eq!(
        owner(server),
        Some((20, "server".to_owned(), Source::Close))
    );
    assert!(client.faults.is_empty() && server.faults.is_empty());
    // In TIME_WAIT from the start of its timer to its expiry.
    assert_eq!(client.spans(0)[4], (TIME_WAIT, Some(50)));
    assert_eq!(client.time_wait.unwrap().timeout, 15_000);
}

#[test]
fn an_orphans_time_wait_begins_at_the_latest_with_its_peers_end() {
    let mut items = connection(0, 10, (0x1000, 0x2000), 40_000);
    // The small socket takes over in FIN_WAIT2, and the timer's second start falls into the same slot.
    items[8] = waits(65, 0x1001, (40_000, 80), FIN_WAIT2, TIMER_STARTED);
    items[9] = change(66, 0x1000, (40_000, 80), FIN_WAIT2, CLOSE, BYSTANDER);
    items.sort_by_key(Item::ktime);
    let (_, done) = fold(&items);
    let client = &done[1];
    assert_eq!(client.states().last(), Some(&"CLOSE"));
    assert_eq!(client.entered(TIME_WAIT), Some(110));
    assert!(client.faults.is_empty(), "{:?}", client.faults);
}

#[test]
fn a_pointer_used_again_is_another_socket() {
    let mut items = connection(100, 10, (0x1000, 0x2000), 40_000);
    items.extend(connection(1000, 10, (0x1000, 0x2000), 40_001));
    let (_, done) = fold(&items);
    let generations: Vec<u32> = done.iter().map(|flow| flow.generation).collect();
    assert_eq!(generations, [1, 1, 2, 2]);
    assert!(done.iter().all(|flow| flow.faults.is_empty()));
}

/// Newer kernels tell a child's peer at once.
#[test]
fn a_child_is_half_open_from_its_request_on_and_no_longer() {
    for peer in [0, 40_000] {
        let mut request = TcpTimer {
            id: id(0x9000, (80, 40_000)),
            which: probes_common::tcp::TIMER_REQUEST,
            action: TIMER_STARTED,
            ..TcpTimer::default()
        };
        request.id.state = NEW_SYN_RECV;
        let mut items = connection(100, 10, (0x1000, 0x2000), 40_000);
        items[1] = change(110, 0x2000, (80, peer), LISTEN, SYN_RECV, BYSTANDER);
        items.insert(
            1,
            event(105, Kind::TcpTimer, BYSTANDER.0, Body::TcpTimer(request)),
        );
        let (flows, done) = fold(&items);
        assert_eq!((flows.half_open().count(), done.len()), (0, 2));
        assert_eq!(done[0].spans(0)[0], (SYN_RECV, Some(15)));
    }
}

#[test]
fn what_does_not_follow_is_told() {
    let mut items = connection(100, 10, (0x1000, 0x2000), 40_000);
    items.remove(6);
    let (_, done) = fold(&items);
    assert_eq!(
        done[1].faults,
        ["left FIN_WAIT2, but was last seen to enter FIN_WAIT1"]
    );
    let (_, done) = fold(&[
        change(1, 5, (1, 2), CLOSE, SYN_SENT, CLIENT),
        change(2, 5, (1, 2), SYN_SENT, CLOSE_WAIT, BYSTANDER),
        destroyed(3, 5, (1, 2)),
    ]);
    let told = [
        "SYN_SENT→CLOSE_WAIT is not in the diagram",
        "destroyed while in CLOSE_WAIT",
    ];
    assert_eq!(done[0].faults, told);
}

#[test]
fn a_reused_port_ends_the_time_wait_before() {
    let mut items = connection(100, 10, (0x1000, 0x2000), 40_000);
    items.pop();
    items.extend(connection(1000, 10, (0x3000, 0x4000), 40_000));
    let (flows, done) = fold(&items);
    assert_eq!((flows.open().count(), done.len()), (0, 4));
    let cut = done.iter().find(|flow| flow.sock == 0x1000).unwrap();
    assert_eq!(cut.time_wait.unwrap().expired, None);
    assert_eq!(cut.ended, Some(1030));
}

fn listed(ktime: u64, state: u8, ports: (u16, u16), owner: Option<(u32, &str)>) -> Item {
    let end = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let owner = owner.map(|(pid, comm)| OwnerMark {
        pid,
        comm: comm.to_owned(),
    });
    let mark = SocketMark {
        netns: 7,
        family: AF_INET,
        state,
        local: end(ports.0),
        remote: end(ports.1),
        cookie: 0,
        inode: 1,
        uid: 0,
        holders: owner.iter().map(|owner| owner.pid).collect(),
        owner,
        timer: 0,
        expires_ms: 0,
        bytes_acked: 5,
        bytes_received: 6,
        rtt_us: 7,
    };
    Item::Mark(mark.to_mark(ktime).unwrap())
}

#[test]
fn a_connection_from_before_the_start_has_its_owner_and_its_end() {
    let (out, back) = ((40_000, 80), (80, 40_000));
    let (flows, done) = fold(&[
        listed(10, ESTABLISHED, out, Some(CLIENT)),
        listed(10, ESTABLISHED, back, Some(SERVER)),
        listed(10, LISTEN, (80, 0), Some(SERVER)),
        change(20, 0x2000, back, ESTABLISHED, CLOSE_WAIT, BYSTANDER),
        change(30, 0x2000, back, CLOSE_WAIT, CLOSE, BYSTANDER),
    ]);
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].owner.as_ref().unwrap().pid, 20);
    assert_eq!(done[0].role, Role::Unknown);
    assert_eq!(
        done[0].spans(0),
        [(ESTABLISHED, None), (CLOSE_WAIT, Some(10))]
    );
    assert_eq!(flows.open().count(), 2);
}

#[test]
fn a_list_made_while_a_connection_begins_is_the_same_connection() {
    let mut items = connection(100, 10, (0x1000, 0x2000), 40_000);
    // Listed at the time of the start, though made a moment later.
    items.insert(0, listed(90, ESTABLISHED, (40_000, 80), Some(CLIENT)));
    items.insert(1, listed(90, ESTABLISHED, (80, 40_000), Some(SERVER)));
    let (flows, done) = fold(&items);
    assert_eq!((flows.open().count(), done.len()), (0, 2));
    assert!(done.iter().all(|flow| flow.faults.is_empty()));
    assert_eq!(done[0].owner.as_ref().unwrap().source, Source::Descriptor);
}

#[test]
fn a_listener_of_several_processes_names_nobody() {
    for (holders, named) in [(vec![20], Some(20)), (vec![20, 21], None)] {
        let Item::Mark(mut mark) = listed(1, LISTEN, (80, 0), Some(SERVER)) else {
            continue;
        };
        mark.data["holders"] = serde_json::json!(holders);
        let mut items = vec![Item::Mark(mark)];
        items.extend(connection(100, 10, (0x1000, 0x2000), 40_000).drain(..5));
        let (flows, _) = fold(&items);
        let server = flows.open().find(|flow| flow.sock == 0x2000).unwrap();
        assert_eq!(server.owner.as_ref().map(|owner| owner.pid), named);
    }
}

/// Connections beside each other, the records of each of their sockets for itself.
pub(crate) fn connections(starts: &[(u64, u64)]) -> Vec<Vec<Item>> {
    let mut queues = Vec::new();
    for (n, (at, gap)) in (0_u64..).zip(starts) {
        // Distinct times: the low digits are the connection's own.
        let socks = (0x1_0000 * (n + 1), 0x1_0000 * (n + 1) + 8);
        let items = connection(at * 100 + n, gap * 100, socks, 40_000 + n as u16);
        for sock in [0_u64, 1, 8] {
            let own = items.iter().filter(|item| sock_of(item) & 0xffff == sock);
            queues.push(own.cloned().collect());
        }
    }
    queues
}

/// As CPUs may hand them over: each keeps its own order, which one is read next is arbitrary.
pub(crate) fn mixed(queues: Vec<Vec<Item>>, seed: &[usize]) -> Vec<Item> {
    let mut queues: Vec<VecDeque<Item>> = queues.into_iter().map(VecDeque::from).collect();
    let mut mixed = Vec::new();
    let mut pick = seed.iter().cycle();
    loop {
        queues.retain(|queue| !queue.is_empty());
        let (Some(at), false) = (pick.next(), queues.is_empty()) else {
            return mixed;
        };
        let at = at % queues.len();
        mixed.extend(queues[at].pop_front());
    }
}

/// By the stream's own order.
pub(crate) fn in_order(items: Vec<Item>) -> Vec<Item> {
    let mut order = Order::default();
    items.into_iter().for_each(|item| order.push(item));
    let mut sorted = Vec::new();
    order.flush(|item| sorted.push(item));
    sorted
}

proptest! {
    /// Records of several CPUs lie in the ring in any order, each socket's own in theirs; ordered by time they
    /// make the same ledger.
    #[test]
    fn any_interleaving_makes_the_same_ledger(
        starts in proptest::collection::vec((0_u64..5_000, 1_u64..40), 1..12),
        seed in proptest::collection::vec(0_usize..64, 400),
    ) {
        let queues = connections(&starts);
        let straight: Vec<Item> = queues.iter().flatten().cloned().collect();
        let mixed = mixed(queues, &seed);
        let ledger = |items: Vec<Item>| {
            let (flows, done) = fold(&in_order(items));
            prop_assert_eq!(flows.open().count(), 0);
            prop_assert!(done.iter().all(|flow| flow.faults.is_empty()));
            Ok(done)
        };
        prop_assert_eq!(ledger(straight)?, ledger(mixed)?);
    }

    /// Whatever comes, nothing panics, and every socket ends once or is open.
    #[test]
    fn any_events_at_all_are_survived(
        changes in proptest::collection::vec((0_u64..4, 1_u8..13, 1_u8..13, 0_u16..3), 0..60),
    ) {
        let mut items = Vec::new();
        for (at, (sock, old, new, port)) in changes.into_iter().enumerate() {
            let at = at as u64;
            items.push(change(at, sock, (port, 80), old, new, CLIENT));
            items.push(waits(at, sock + 100, (port, 80), old, 1 + new % 2));
        }
        let (flows, done) = fold(&items);
        prop_assert!(flows.open().all(|flow| flow.ended.is_none()));
        prop_assert!(done.iter().all(|flow| flow.ended.is_some()));
    }
}

fn sock_of(item: &Item) -> u64 {
    match item {
        Item::Event(Event {
            body: Body::TcpState(its),
            ..
        }) => its.id.sock,
        Item::Event(Event {
            body: Body::TcpTimer(its),
            ..
        }) => its.id.sock,
        Item::Event(Event {
            body: Body::TcpDestroy(its),
            ..
        }) => its.id.sock,
        _ => 0,
    }
}
