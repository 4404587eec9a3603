use std::net::TcpListener;
use std::time::Duration;

use probes_common::tcp::{OPT_SACK, OPT_TSTAMP, OPT_WSCALE};

use super::*;
use crate::lab::KernelView;
use crate::lab::bench::{ACK, PORT, SYN, grown, operated};
use crate::lab::link::{HOLE_END, add_address, add_hole};
use crate::lab::netns::Nstat;
use crate::lab::shared::await_fact;

#[test]
fn a_spoofed_syn_is_answered_to_its_source() {
    for (own, foreign, source, dest) in [
        (
            "10.9.0.1/24",
            "10.8.0.0/16",
            "10.8.3.4:1234",
            "10.9.0.1:20000",
        ),
        (
            "fd00:9::1/64",
            "fd00:8::/64",
            "[fd00:8::34]:1234",
            "[fd00:9::1]:20000",
        ),
    ] {
        operated(move |bench| {
            add_address("lo", own).unwrap();
            add_hole(foreign, None).unwrap();
            let (source, dest): (SocketAddr, SocketAddr) =
                (source.parse().unwrap(), dest.parse().unwrap());
            if dest.is_ipv6() {
                bench.shared.operate(HOLE_END).unwrap();
            }
            let _listener = TcpListener::bind(dest).unwrap();
            let before = Nstat::read().unwrap();
            let wire = Injector::new("lo").unwrap();
            wire.syn(source, dest, 0xffff_fff0, &USUAL).unwrap();
            let mut packets = Vec::new();
            let answered = await_fact(Duration::from_secs(10), || {
                packets.extend(bench.packets());
                packets.len() >= 2
            });
            assert!(answered, "{packets:?}");
            let (syn, answer) = (&packets[0], &packets[1]);
            assert_eq!(
                (syn.flags, syn.seq, syn.mss, syn.wscale),
                (SYN, 0xffff_fff0, 1460, 7)
            );
            assert_eq!(syn.options, OPT_SACK | OPT_TSTAMP | OPT_WSCALE);
            assert_eq!((syn.tsval, syn.tsecr, syn.source_port), (1, 0, 1234));
            assert_eq!((answer.flags, answer.ack), (SYN | ACK, 0xffff_fff1));
            assert_eq!((answer.source_port, answer.dest_port), (PORT, 1234));
            assert_eq!(answer.dest_addr, syn.source_addr);
            assert_eq!(answer.tsecr, 1);
            assert_eq!(grown(&before, "TcpInCsumErrors"), 0);
        });
    }
}

#[test]
fn odd_options_are_padded_and_impossible_ends_refused() {
    let end = |text: &str| text.parse::<SocketAddr>().unwrap();
    let frame = syn(end("10.0.0.1:1"), end("10.0.0.2:2"), 9, &[2, 4, 5]).unwrap();
    assert_eq!(frame.len(), 14 + 20 + 24);
    assert_eq!(frame[14 + 20 + 12], 6 << 4);
    assert!(syn(end("10.0.0.1:1"), end("[::1]:2"), 9, &[]).is_err());
    assert!(syn(end("10.0.0.1:1"), end("10.0.0.2:2"), 9, &[1; 41]).is_err());
}

#[test]
fn checksums_are_those_of_rfc_1071() {
    assert_eq!(
        fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])),
        !0xddf2
    );
}
