//! The surgeon on the loopback device of a sandbox, against the script's own record and the namespace's counters.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use probes_common::tcp::{OPT_SACK, OPT_TSTAMP, OPT_WSCALE, PACKET_DROPPED, PACKET_PASSED, Packet};

use super::*;
use crate::instrument::memory::Shared;
use crate::instrument::{Attachment, Setup, Without, attach};
use crate::kernel::{Kernel, raise_memlock};
use crate::lab::KernelView;
use crate::lab::netns::Nstat;
use crate::lab::sandbox::{Sandbox, enter};
use crate::session::start;
use crate::stream::Body;
use crate::stream::decode::decode;
use crate::stream::ring::Ring;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const PORT: u16 = 20_000;

/// The loaded instrument and its ring.
struct Bench {
    shared: Shared,
    ring: Mutex<Ring>,
    netns: u32,
    _attachment: Attachment,
}

impl Bench {
    /// Packets since the last call.
    fn packets(&self) -> Vec<Packet> {
        let mut packets = Vec::new();
        self.ring.lock().unwrap().drain(|bytes| {
            if let Ok(event) = decode(bytes)
                && let Body::Packet(packet) = event.body
            {
                packets.push(packet);
            }
        });
        packets
    }

    fn set(&self, rules: &[Rule]) {
        self.shared.set_rules(rules).unwrap();
        self.packets();
    }

    fn counts(&self) -> Vec<(u64, u64)> {
        let counts = self.shared.rule_counts().unwrap();
        counts.iter().map(|c| (c.matched, c.dropped)).collect()
    }
}

/// Runs `script` on a thread in a sandbox whose `lo` the surgeon is on.
fn operated(script: impl FnOnce(&Bench) + Send + 'static) {
    const RING: u32 = 4 << 20;
    raise_memlock().unwrap();
    let kernel = Kernel::running().expect("needs root");
    let facts = start::facts(&["surgeon"]).unwrap();
    let setup = Setup {
        facts: &facts,
        pid_bytes: kernel.pid_max.next_power_of_two().max(4096),
        ring_bytes: RING,
        syscalls: &[],
        needs: &["surgeon"],
        without: &Without::default(),
    };
    let (attachment, _) = attach(&["surgeon"], &setup).unwrap();
    let report = &attachment.reports[0];
    assert_eq!(report.attached_as.as_deref(), Some("tc"), "{report:?}");
    let shared = start::shared(&attachment, setup.pid_bytes).unwrap();
    let sandbox = Sandbox::new().expect("needs root");
    let ring = Mutex::new(Ring::new(attachment.maps.get("EVENTS").unwrap(), RING).unwrap());
    let bench = Bench {
        shared,
        ring,
        netns: sandbox.inum(),
        _attachment: attachment,
    };
    let run = move || {
        enter(sandbox.netns()).unwrap();
        bench.shared.operate("lo").unwrap();
        bench.shared.set_netns(bench.netns);
        bench.shared.set_enabled(true);
        script(&bench);
    };
    std::thread::spawn(run).join().unwrap();
}

fn v4() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, PORT).into()
}

fn v6() -> SocketAddr {
    (Ipv6Addr::LOCALHOST, PORT).into()
}

/// A connection through a listener: (client, server).
fn pair(address: SocketAddr) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).unwrap();
    let client = TcpStream::connect(address).unwrap();
    let server = listener.accept().unwrap().0;
    for end in [&client, &server] {
        end.set_nodelay(true).unwrap();
        end.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    }
    (client, server)
}

fn retransmitted(before: &Nstat) -> u64 {
    let grown = Nstat::read().unwrap().since(before);
    grown.get("TcpRetransSegs").copied().unwrap_or(0)
}

#[test]
fn a_lost_syn_is_sent_again_and_told_with_its_rule() {
    for address in [v4(), v6()] {
        operated(move |bench| {
            bench.set(&[Rule::new(7, Segment::Syn).to(PORT).kth(1)]);
            let (before, begun) = (Nstat::read().unwrap(), Instant::now());
            let _pair = pair(address);
            assert!(begun.elapsed() > Duration::from_millis(800));
            assert_eq!(bench.counts(), [(2, 1)]);
            assert_eq!(retransmitted(&before), 1);
            let packets = bench.packets();
            let syns: Vec<&Packet> = packets.iter().filter(|p| p.flags == SYN).collect();
            assert_eq!(syns.len(), 2, "{packets:?}");
            assert_eq!(
                (syns[0].verdict, syns[1].verdict),
                (PACKET_DROPPED, PACKET_PASSED)
            );
            assert_eq!((syns[0].matched, syns[1].matched), (1, 2));
            assert_eq!((syns[0].rule, syns[0].seq), (7, syns[1].seq));
            let syn = syns[0];
            assert_eq!(syn.options, OPT_SACK | OPT_TSTAMP | OPT_WSCALE);
            assert_eq!(syn.family, if address.is_ipv4() { 2 } else { 10 });
            assert_eq!((syn.dest_port, syn.payload, syn.ifindex), (PORT, 0, 1));
            assert_eq!(syn.mss, if address.is_ipv4() { 65_495 } else { 65_476 });
            assert!(
                syn.wscale < 15 && syn.tsval != 0 && syn.tsecr == 0,
                "{syn:?}"
            );
            assert_eq!(syn.netns, bench.netns);
            let mut expected = [0; 16];
            if address.is_ipv4() {
                expected[..4].copy_from_slice(&[127, 0, 0, 1]);
            } else {
                expected[15] = 1;
            }
            assert_eq!((syn.source_addr, syn.dest_addr), (expected, expected));
        });
    }
}
