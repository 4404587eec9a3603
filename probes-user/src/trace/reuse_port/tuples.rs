//! The connections' ends: which tuples a sample is made of, from its seed alone.
//!
//! Lab and fold make the same ones, so a mark need only say the seed. Tuples of a sample differ from one another:
//! numbers run through a ring in steps that have no factor in common with its length.

use crate::lab::family::Family;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Client ports are in a ring of so many from here on; the sockets' own ports are below.
const FIRST_PORT: u16 = 10_000;
pub const PORTS: u32 = 50_000;
/// 127.a.b.c with c from 1 to 254.
const ADDRESSES: u32 = 256 * 256 * 254;

/// In what the tuples of a sample differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Client ports and, with IPv4, client addresses (`lo` has one IPv6 address).
    Clients,
    Ports,
    /// IPv4 only, as the next.
    Addresses,
    /// The address that is connected to.
    Destinations,
}

impl Kind {
    pub fn of(family: Family) -> &'static [Kind] {
        match family {
            Family::V4 => &[Kind::Ports, Kind::Addresses, Kind::Destinations],
            Family::V6 => &[Kind::Ports],
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Clients => "clients",
            Kind::Ports => "ports",
            Kind::Addresses => "addresses",
            Kind::Destinations => "destinations",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    pub client: SocketAddr,
    pub server: IpAddr,
}

pub fn nth(kind: Kind, family: Family, seed: u64, index: u32) -> Tuple {
    let port_at = |index| FIRST_PORT + ring(seed, 1, index, PORTS) as u16;
    let address_at = |index| match family {
        Family::V4 => loopback(ring(seed, 2, index, ADDRESSES)),
        Family::V6 => family.localhost(),
    };
    let (ports, clients, servers) = match kind {
        Kind::Clients => (index, index, 0),
        Kind::Ports => (index, 0, 0),
        Kind::Addresses => (0, index, 0),
        Kind::Destinations => (0, 0, index),
    };
    let server = match kind {
        Kind::Destinations => address_at(servers),
        _ => family.localhost(),
    };
    let client = match kind {
        Kind::Clients | Kind::Addresses => address_at(clients),
        _ => family.localhost(),
    };
    Tuple {
        client: SocketAddr::new(client, port_at(ports)),
        server,
    }
}

fn loopback(number: u32) -> IpAddr {
    let [_, a, b, _] = (number / 254).wrapping_shl(8).to_be_bytes();
    Ipv4Addr::new(127, a, b, 1 + (number % 254) as u8).into()
}

/// The index-th of all numbers below `len`, in an order that the seed chooses.
fn ring(seed: u64, salt: u64, index: u32, len: u32) -> u32 {
    let random = mix(seed ^ mix(salt));
    let start = random % u64::from(len);
    let mut step = 1 + mix(random) % u64::from(len - 1);
    while gcd(step, u64::from(len)) != 1 {
        step = 1 + step % u64::from(len - 1);
    }
    ((start + u64::from(index) * step) % u64::from(len)) as u32
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// SplitMix64.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn distinct<T: Ord>(items: impl Iterator<Item = T>) -> usize {
        items.collect::<BTreeSet<T>>().len()
    }

    #[test]
    fn tuples_of_a_sample_differ_in_what_its_kind_says() {
        for seed in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
            for kind in Kind::of(Family::V4) {
                let tuples: Vec<Tuple> =
                    (0..500).map(|i| nth(*kind, Family::V4, seed, i)).collect();
                let counts = [
                    distinct(tuples.iter().map(|tuple| tuple.client.port())),
                    distinct(tuples.iter().map(|tuple| tuple.client.ip())),
                    distinct(tuples.iter().map(|tuple| tuple.server)),
                ];
                let expected = match kind {
                    Kind::Clients => [500, 500, 1],
                    Kind::Ports => [500, 1, 1],
                    Kind::Addresses => [1, 500, 1],
                    Kind::Destinations => [1, 1, 500],
                };
                assert_eq!(counts, expected, "{kind:?} {seed}");
            }
        }
    }

    #[test]
    fn a_whole_ring_of_clients_has_no_port_twice_and_stays_on_loopback() {
        for family in Family::BOTH {
            let tuples = || (0..PORTS).map(|i| nth(Kind::Clients, family, 7, i));
            assert_eq!(distinct(tuples().map(|its| its.client.port())), 50_000);
            assert!(tuples().all(|its| its.client.ip().is_loopback()
                && its.server.is_loopback()
                && its.client.port() >= FIRST_PORT));
        }
    }

    #[test]
    fn addresses_leave_out_network_and_broadcast() {
        assert_eq!(loopback(0), Ipv4Addr::new(127, 0, 0, 1));
        assert_eq!(loopback(ADDRESSES - 1), Ipv4Addr::new(127, 255, 255, 254));
    }
}
