//! What a watch sums up by peer (round trips, how long connects took), and its connections as a log.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::json;

use super::tables::owner;
use crate::evidence::Table;
use crate::kernel::tcp::{ESTABLISHED, LISTEN, SYN_SENT};
use crate::trace::tcp::flow::{Flow, Role};

/// From the first SYN to the handshake's end, ns, as the end that connects has it.
pub fn connect_ns(flow: &Flow) -> Option<u64> {
    let sent = flow.entered(SYN_SENT)?;
    Some(flow.entered(ESTABLISHED)?.saturating_sub(sent))
}

#[derive(Default)]
struct Peer {
    connections: u64,
    connects: Vec<u64>,
    /// Smoothed round trips at the end, µs.
    trips: Vec<u64>,
}

/// By the remote address and by who connected: connect latency, and the sockets' own round-trip time as it was
/// last; then how the latter is spread.
pub fn peers(closed: &[&Flow]) -> [Table; 2] {
    let mut peers: BTreeMap<(IpAddr, &str), Peer> = BTreeMap::new();
    for flow in closed {
        let key = (flow.ends.remote.ip(), flow.role.word());
        let peer = peers.entry(key).or_default();
        peer.connections += 1;
        peer.connects.extend(connect_ns(flow).map(|ns| ns / 1000));
        let trip = u64::from(flow.snap.srtt_us);
        peer.trips.extend((trip > 0).then_some(trip));
    }
    let columns = [
        ("peer", "peer"),
        ("role", "role"),
        ("connections_count", "connections"),
        ("connect_median_us", "connect µs"),
        ("connect_max_us", "longest"),
        ("rtt_min_us", "rtt µs least"),
        ("rtt_median_us", "median"),
        ("rtt_max_us", "most"),
    ];
    let mut sums = Table::new("peers", "Closed connections by peer", &columns);
    let columns = [
        ("peer", "peer"),
        ("role", "role"),
        ("from_us", "from µs"),
        ("below_us", "below µs"),
        ("count", "connections"),
    ];
    let mut spread =
        Table::new("rtt", "Round-trip times of closed connections", &columns).detailed();
    for ((peer, role), mut its) in peers {
        its.connects.sort_unstable();
        its.trips.sort_unstable();
        sums.rows.push(vec![
            json!(peer.to_string()),
            json!(role),
            json!(its.connections),
            json!(median(&its.connects)),
            json!(its.connects.last()),
            json!(its.trips.first()),
            json!(median(&its.trips)),
            json!(its.trips.last()),
        ]);
        let mut buckets: BTreeMap<u32, u64> = BTreeMap::new();
        for trip in &its.trips {
            *buckets.entry(trip.ilog2()).or_default() += 1;
        }
        for (bucket, count) in buckets {
            spread.rows.push(vec![
                json!(peer.to_string()),
                json!(role),
                json!(1_u64 << bucket),
                json!(2_u64 << bucket),
                json!(count),
            ]);
        }
    }
    [sums, spread]
}

fn median(sorted: &[u64]) -> Option<u64> {
    sorted.get(sorted.len() / 2).copied()
}

/// connect, accept, listen and close, each a line in order of time.
pub fn log<'a>(flows: impl Iterator<Item = &'a Flow>, since: u64, begun: u64) -> Table {
    let mut lines = Vec::new();
    for flow in flows {
        let begin = match flow.role {
            Role::Active => Some(("connect", ESTABLISHED)),
            Role::Passive => Some(("accept", ESTABLISHED)),
            Role::Listener => Some(("listen", LISTEN)),
            Role::Unknown => None,
        };
        let begin = begin.and_then(|(what, state)| Some((flow.entered(state)?, what)));
        let end = flow.closed.map(|at| (at, "close"));
        let told = begin.into_iter().chain(end).filter(|(at, _)| *at > since);
        lines.extend(told.map(|(at, what)| (at, flow.ends, what, flow)));
    }
    lines.sort_by_key(|(at, ends, what, _)| (*at, *ends, *what));
    let columns = [
        ("at_ms", "at ms"),
        ("what", "what"),
        ("pid", "pid"),
        ("process", "process"),
        ("local", "local"),
        ("remote", "remote"),
    ];
    let mut table = Table::new("log", "Connections in time", &columns).detailed();
    for (at, ends, what, flow) in lines {
        let (pid, process, _) = owner(flow);
        table.rows.push(vec![
            json!(at.saturating_sub(begun) as f64 / 1e6),
            json!(what),
            pid,
            process,
            json!(ends.local.to_string()),
            json!(ends.remote.to_string()),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::trace::tcp::ends::Ends;

    fn flow(role: Role, begun: u64, took: u64, srtt_us: u32) -> Flow {
        let ends = Ends {
            netns: 1,
            local: "10.0.0.1:4000".parse().unwrap(),
            remote: "10.0.0.2:80".parse().unwrap(),
        };
        let mut flow = Flow::new(ends, 2, begun, role);
        if role == Role::Active {
            flow.step(SYN_SENT, Some(begun));
        }
        flow.step(ESTABLISHED, Some(begun + took));
        flow.closed = Some(begun + took + 1_000_000);
        flow.snap.srtt_us = srtt_us;
        flow
    }

    #[test]
    fn a_peer_has_its_connects_and_round_trips() {
        let flows = [
            flow(Role::Active, 0, 30_000, 20),
            flow(Role::Active, 0, 90_000, 900),
            flow(Role::Active, 0, 40_000, 21),
            flow(Role::Passive, 0, 5_000, 0),
        ];
        let all: Vec<&Flow> = flows.iter().collect();
        let [sums, spread] = peers(&all);
        assert_eq!(sums.rows.len(), 2, "who connects has a row of its own");
        assert_eq!(sums.rows[0][2..], [3, 40, 90, 20, 21, 900].map(Value::from));
        // Nobody measured the other's, and it did not connect.
        assert_eq!(sums.rows[1][3..], vec![Value::Null; 5]);
        let buckets: Vec<Value> = spread.rows.iter().map(|row| row[2].clone()).collect();
        assert_eq!(buckets, [16, 512].map(Value::from));
        let counts: Vec<Value> = spread.rows.iter().map(|row| row[4].clone()).collect();
        assert_eq!(counts, [2, 1].map(Value::from));
    }

    #[test]
    fn a_connection_that_failed_has_no_latency() {
        let mut failed = Flow::new(Ends::default(), 2, 5, Role::Active);
        failed.step(SYN_SENT, Some(5));
        assert_eq!(connect_ns(&failed), None);
        assert_eq!(connect_ns(&flow(Role::Active, 5, 7, 0)), Some(7));
    }

    #[test]
    fn the_log_has_begins_and_ends_in_order_of_time() {
        let flows = [flow(Role::Passive, 10, 5, 0), flow(Role::Active, 1, 9, 0)];
        let table = log(flows.iter(), 0, 0);
        let what: Vec<&str> = table
            .rows
            .iter()
            .filter_map(|row| row[1].as_str())
            .collect();
        assert_eq!(what, ["connect", "accept", "close", "close"]);
        assert_eq!(log(flows.iter(), 1_000_000, 0).rows.len(), 2, "what is new");
    }
}
