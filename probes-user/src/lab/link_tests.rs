use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};

use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use super::*;
use crate::lab::KernelView;
use crate::lab::bench::{ACK, PORT, RST, grown, operated, pair, v4, v6};
use crate::lab::netns::Nstat;
use crate::lab::shared::await_fact;

const BYTES: usize = 64 << 10;

/// Payloads of what carries 64 KiB from client to server.
fn payloads(bench: &crate::lab::bench::Bench, address: SocketAddr) -> Vec<u16> {
    let (mut client, mut server) = pair(address);
    let writer = std::thread::spawn(move || {
        client.write_all(&[7; BYTES]).unwrap();
        client
    });
    server.read_exact(&mut vec![0; BYTES]).unwrap();
    drop(writer.join().unwrap());
    let packets = bench.packets();
    let data = packets
        .iter()
        .filter(|p| p.dest_port == PORT && p.payload > 0);
    data.map(|p| p.payload).collect()
}

#[test]
fn without_offload_no_packet_is_longer_than_a_segment() {
    for (address, headers) in [(v4(), 52), (v6(), 72)] {
        operated(move |bench| {
            set_mtu("lo", 1500).unwrap();
            let bundled = payloads(bench, address);
            assert!(bundled.iter().any(|len| *len > 1500), "{bundled:?}");
            no_offload("lo").unwrap();
            let before = Nstat::read().unwrap();
            let cut = payloads(bench, address);
            let segment = 1500 - headers;
            assert!(cut.iter().all(|len| *len <= segment), "{cut:?}");
            let whole = cut.iter().filter(|len| **len == segment).count();
            assert!(whole + 2 >= BYTES / usize::from(segment), "{cut:?}");
            let again = grown(&before, "TcpRetransSegs");
            if again == 0 {
                assert_eq!(
                    cut.iter().map(|len| usize::from(*len)).sum::<usize>(),
                    BYTES
                );
            }
        });
    }
}

#[test]
fn added_addresses_can_be_listened_on_at_once() {
    operated(|bench| {
        for (prefix, address) in [
            ("10.9.0.1/24", "10.9.0.1:20000"),
            ("fd00:9::1/64", "[fd00:9::1]:20000"),
        ] {
            add_address("lo", prefix).unwrap();
            let address: SocketAddr = address.parse().unwrap();
            let (client, _server) = pair(address);
            assert_eq!(client.peer_addr().unwrap(), address);
            assert!(!bench.packets().is_empty());
            let twice = format!("{:#}", add_address("lo", prefix).unwrap_err());
            assert!(twice.contains("exists"), "{twice}");
        }
        assert!(add_address("lo", "10.9.0.1").is_err());
        assert!(add_address("lo", "10.9.0.1/33").is_err());
        assert!(add_address("nosuch0", "10.9.0.1/24").is_err());
        assert!(set_mtu("lo", 0).is_err() || set_mtu("nosuch0", 1500).is_err());
    });
}

#[test]
fn what_goes_into_a_hole_vanishes_without_a_word() {
    for (own, foreign, dest, second) in [
        (
            "10.9.0.1/24",
            "192.0.2.0/24",
            "192.0.2.7:20000",
            "198.51.100.0/24",
        ),
        (
            "fd00:9::1/64",
            "2001:db8::/32",
            "[2001:db8::7]:20000",
            "fd00:7::/64",
        ),
    ] {
        operated(move |bench| {
            add_address("lo", own).unwrap();
            let source: IpAddr = own.split('/').next().unwrap().parse().unwrap();
            add_hole(foreign, Some(source)).unwrap();
            if source.is_ipv6() {
                bench.shared.operate(HOLE_END).unwrap();
            }
            let dest: SocketAddr = dest.parse().unwrap();
            let family = if dest.is_ipv4() {
                AddressFamily::INET
            } else {
                AddressFamily::INET6
            };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let client = socket_with(family, SocketType::STREAM, flags, None).unwrap();
            assert_eq!(connect(&client, &dest), Err(Errno::INPROGRESS));
            // The SYN and its first resend, and nothing in answer.
            let mut packets = Vec::new();
            let both = await_fact(std::time::Duration::from_secs(30), || {
                packets.extend(bench.packets());
                packets.len() >= 2
            });
            assert!(both, "{packets:?}");
            assert!(packets.iter().all(|p| p.flags & (ACK | RST) == 0));
            assert_eq!(socket_error(&client).unwrap(), Ok(()));
            // A second prefix shares the hole.
            add_hole(second, None).unwrap();
        });
    }
}
