//! The surgeon against the script's own record and the namespace's counters.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use probes_common::tcp::{OPT_SACK, OPT_TSTAMP, OPT_WSCALE, PACKET_DROPPED, PACKET_PASSED, Packet};

use super::*;
use crate::instrument::sys;
use crate::lab::KernelView;
use crate::lab::bench::{ACK, FIN, PORT, RST, SYN, grown, operated, pair, sandboxed, v4, v6};
use crate::lab::netns::Nstat;
use crate::lab::shared::await_fact;

/// Far longer than a packet takes to come in.
const SOON: Duration = Duration::from_secs(10);

fn dropped(packets: &[Packet]) -> Vec<&Packet> {
    let lost = |p: &&Packet| p.verdict == PACKET_DROPPED;
    packets.iter().filter(lost).collect()
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
            assert_eq!(grown(&before, "TcpRetransSegs"), 1);
            let packets = bench.packets();
            let syns: Vec<&Packet> = packets.iter().filter(|p| p.flags == SYN).collect();
            let verdicts: Vec<u8> = syns.iter().map(|p| p.verdict).collect();
            assert_eq!(verdicts, [PACKET_DROPPED, PACKET_PASSED]);
            assert_eq!((syns[0].matched, syns[1].matched), (1, 2));
            assert_eq!((syns[0].rule, syns[0].seq), (7, syns[1].seq));
            let syn = syns[0];
            assert_eq!(syn.options, OPT_SACK | OPT_TSTAMP | OPT_WSCALE);
            assert_eq!(syn.family, if address.is_ipv4() { 2 } else { 10 });
            assert_eq!((syn.dest_port, syn.payload, syn.ifindex), (PORT, 0, 1));
            assert_eq!(syn.mss, if address.is_ipv4() { 65_495 } else { 65_476 });
            assert!(syn.wscale < 15 && syn.tsecr == 0, "{syn:?}");
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

#[test]
fn a_lost_syn_ack_is_sent_again() {
    operated(|bench| {
        bench.set(&[Rule::new(1, Segment::SynAck).from(PORT).kth(1)]);
        let _pair = pair(v4());
        let counts = bench.counts()[0];
        assert!(counts.0 >= 2 && counts.1 == 1, "{counts:?}");
        let packets = bench.packets();
        let lost = dropped(&packets);
        assert_eq!(
            (lost.len(), lost[0].flags, lost[0].source_port),
            (1, SYN | ACK, PORT)
        );
    });
}

#[test]
fn a_lost_pure_ack_leaves_the_connection_to_the_data() {
    for address in [v4(), v6()] {
        operated(move |bench| {
            bench.set(&[Rule::new(1, Segment::PureAck).to(PORT).kth(1)]);
            let listener = TcpListener::bind(address).unwrap();
            listener.set_nonblocking(true).unwrap();
            let mut client = TcpStream::connect(address).unwrap();
            // connect returns before its ACK has come in.
            assert!(await_fact(SOON, || bench.counts() == [(1, 1)]));
            let none = listener.accept().unwrap_err();
            assert_eq!(none.kind(), ErrorKind::WouldBlock);
            client.write_all(b"data").unwrap();
            listener.set_nonblocking(false).unwrap();
            let mut text = [0; 4];
            listener.accept().unwrap().0.read_exact(&mut text).unwrap();
            let packets = bench.packets();
            let lost = dropped(&packets);
            assert_eq!((lost.len(), lost[0].flags, lost[0].payload), (1, ACK, 0));
            assert_eq!(lost[0].options, OPT_TSTAMP);
        });
    }
}

#[test]
fn the_third_data_segment_is_lost_and_sent_again() {
    for address in [v4(), v6()] {
        operated(move |bench| {
            let (mut client, mut server) = pair(address);
            bench.set(&[
                Rule::new(1, Segment::Data).to(PORT).kth(3),
                Rule::new(2, Segment::Data).kth(1).to(1),
            ]);
            let before = Nstat::read().unwrap();
            for round in 1..=5_u8 {
                client.write_all(&[round; 100]).unwrap();
                let mut got = [0; 100];
                server.read_exact(&mut got).unwrap();
                assert_eq!(got, [round; 100]);
            }
            assert_eq!(bench.counts(), [(6, 1), (0, 0)]);
            assert_eq!(grown(&before, "TcpRetransSegs"), 1);
            // What came through is what the namespace received; none of it was a bundle.
            let mut packets = Vec::new();
            let settled = await_fact(SOON, || {
                packets.extend(bench.packets());
                grown(&before, "TcpInSegs") + 1 == packets.len() as u64
            });
            assert!(settled, "{packets:?}");
            let data: Vec<&Packet> = packets.iter().filter(|p| p.payload > 0).collect();
            assert_eq!(data.len(), 6);
            assert!(data.iter().all(|p| p.payload == 100 && p.rule == 1));
            let lost: Vec<usize> = (0..6)
                .filter(|i| data[*i].verdict == PACKET_DROPPED)
                .collect();
            assert_eq!(lost, [2]);
            assert_eq!(data[2].seq, data[3].seq);
            assert_eq!(data[3].seq, data[1].seq.wrapping_add(100));
        });
    }
}

#[test]
fn a_lost_fin_is_sent_again() {
    operated(|bench| {
        let (client, mut server) = pair(v6());
        bench.set(&[Rule::new(1, Segment::Fin).to(PORT).kth(1)]);
        drop(client);
        assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(bench.counts(), [(2, 1)]);
        let packets = bench.packets();
        assert_eq!(dropped(&packets)[0].flags & (FIN | SYN | RST), FIN);
    });
}

#[test]
fn a_lost_reset_leaves_the_peer_in_the_dark() {
    operated(|bench| {
        let (client, mut server) = pair(v4());
        bench.set(&[Rule::new(1, Segment::Rst)]);
        rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
        drop(client);
        assert!(await_fact(SOON, || bench.counts() == [(1, 1)]));
        server
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let silent = server.read(&mut [0; 1]).unwrap_err();
        assert_eq!(silent.kind(), ErrorKind::WouldBlock);
        // Positive control: without the rule the next one arrives.
        bench.set(&[]);
        server.write_all(b"?").unwrap();
        let reset = server.read(&mut [0; 1]).unwrap_err();
        assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
        assert!(
            bench
                .packets()
                .iter()
                .any(|p| p.flags & RST != 0 && p.rule == 0)
        );
    });
}

#[test]
fn every_third_is_lost_after_those_skipped() {
    operated(|bench| {
        let (mut client, mut server) = pair(v4());
        let rule = Rule {
            skip: 2,
            every: 3,
            drop: 2,
            ..Rule::new(1, Segment::Data).to(PORT)
        };
        bench.set(&[rule]);
        for _ in 0..8 {
            client.write_all(b"data").unwrap();
            server.read_exact(&mut [0; 4]).unwrap();
        }
        let packets = bench.packets();
        let lost: Vec<u32> = dropped(&packets).iter().map(|p| p.matched).collect();
        assert_eq!(lost, [5, 8]);
        assert_eq!(bench.counts(), [(10, 2)]);
    });
}

#[test]
fn all_are_lost_until_the_rules_are_taken_away() {
    operated(|bench| {
        let (mut client, mut server) = pair(v6());
        bench.set(&[Rule::new(1, Segment::Any)]);
        client.write_all(b"data").unwrap();
        server
            .set_read_timeout(Some(Duration::from_millis(700)))
            .unwrap();
        assert!(server.read(&mut [0; 4]).is_err());
        let counts = bench.counts()[0];
        assert!(counts.0 >= 2 && counts.0 == counts.1, "{counts:?}");
        bench.set(&[]);
        assert_eq!(bench.counts(), []);
        server
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        server.read_exact(&mut [0; 4]).unwrap();
    });
}

#[test]
fn the_first_rule_that_matches_decides_and_new_rules_count_anew() {
    operated(|bench| {
        let (mut client, mut server) = pair(v4());
        let count_only = Rule {
            drop: 0,
            ..Rule::new(1, Segment::Data).to(PORT)
        };
        let rules = [count_only, Rule::new(2, Segment::Data)];
        for _ in 0..2 {
            bench.set(&rules);
            client.write_all(b"data").unwrap();
            server.read_exact(&mut [0; 4]).unwrap();
            assert_eq!(bench.counts(), [(1, 0), (0, 0)]);
        }
        let many = [Rule::new(1, Segment::Any); RULES + 1];
        assert!(bench.shared.set_rules(&many).is_err());
        assert!(
            bench
                .shared
                .set_rules(&[Rule::new(0, Segment::Any)])
                .is_err()
        );
        bench.set(&many[1..]);
        assert_eq!(bench.counts().len(), RULES);
    });
}

#[test]
fn the_last_of_sixteen_rules_is_reached() {
    operated(|bench| {
        let mut rules = [Rule::new(1, Segment::Data).to(1); RULES];
        rules[RULES - 1] = Rule::new(16, Segment::Syn).to(PORT).kth(9);
        bench.set(&rules);
        let _pair = pair(v6());
        assert_eq!(bench.counts()[RULES - 1], (1, 0));
        assert_eq!(bench.packets()[0].rule, 16);
    });
}

#[test]
fn packets_of_many_processors_get_a_number_each() {
    operated(|bench| {
        let rule = Rule {
            drop: 0,
            ..Rule::new(1, Segment::Any)
        };
        bench.set(&[rule]);
        let netns = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4_u16 {
                let netns = &netns;
                scope.spawn(move || {
                    crate::lab::sandbox::enter(std::os::fd::AsFd::as_fd(netns)).unwrap();
                    let mut address = v4();
                    address.set_port(PORT + thread);
                    let (mut client, mut server) = pair(address);
                    for _ in 0..500 {
                        client.write_all(b"data").unwrap();
                        server.read_exact(&mut [0; 4]).unwrap();
                    }
                });
            }
        });
        let mut numbers: Vec<u32> = bench.packets().iter().map(|p| p.matched).collect();
        numbers.sort_unstable();
        assert!(numbers.len() > 4 * 500);
        let last = numbers.len() as u32;
        assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
        assert_eq!(bench.counts(), [(u64::from(last), 0)]);
    });
}

#[test]
fn rules_are_for_the_sandbox_they_were_set_in() {
    operated(|bench| {
        bench.set(&[Rule::new(1, Segment::Any)]);
        let other = crate::lab::sandbox::Sandbox::new().unwrap();
        crate::lab::sandbox::enter(other.netns()).unwrap();
        bench.shared.operate("lo").unwrap();
        let _pair = pair(v4());
        assert_eq!(bench.counts(), [(0, 0)]);
        assert_eq!(bench.packets(), []);
        bench.shared.set_netns(other.inum());
        let _second = pair(v6());
        assert!(
            bench
                .packets()
                .iter()
                .all(|p| p.netns == other.inum() && p.rule == 0)
        );
    });
}

#[test]
fn the_surgeon_stays_out_of_the_hosts_namespace_and_takes_an_interface_once() {
    sandboxed(|bench| {
        assert!(bench.shared.operate("nosuch0").is_err());
        bench.shared.operate("lo").unwrap();
        let twice = bench.shared.operate("lo").unwrap_err().to_string();
        assert!(twice.contains("already"), "{twice}");
        let host = std::fs::File::open("/proc/self/ns/net").unwrap();
        crate::lab::sandbox::enter(std::os::fd::AsFd::as_fd(&host)).unwrap();
        assert!(bench.shared.operate("lo").is_err());
        assert!(bench.shared.set_rules(&[]).is_err());
    });
}

/// Ids of all BPF programs (11) or maps (12).
fn ids(command: libc::c_long) -> Vec<u32> {
    let mut ids = Vec::new();
    // union bpf_attr of the GET_NEXT_ID commands: start_id, next_id, open_flags.
    let mut attr = [0_u32; 3];
    // SAFETY: the attribute is as long as said, and the kernel writes `next_id` only.
    while unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), 12) } == 0 {
        ids.push(attr[1]);
        attr[0] = attr[1];
    }
    ids
}

/// In the child of the next test: at work, until it is killed.
fn hold() {
    operated(|bench| {
        bench.set(&[Rule::new(1, Segment::Any)]);
        let program = sys::prog_info(bench.attachment.attached[0].fd()).unwrap();
        let map = sys::map_info(bench.attachment.maps.get("RULES").unwrap()).unwrap();
        println!("\nat work: {} {}", program.id, map.id);
        loop {
            std::thread::park();
        }
    });
}

#[test]
fn a_killed_process_leaves_neither_program_nor_rules() {
    const HOLD: &str = "PROBES_TEST_SURGEON_HOLDS";
    if std::env::var_os(HOLD).is_some() {
        hold();
    }
    let me = "lab::surgeon::tests::a_killed_process_leaves_neither_program_nor_rules";
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", me])
        .env(HOLD, "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let said = out.lines().map_while(Result::ok).find_map(|line| {
        let (program, map) = line.strip_prefix("at work: ")?.split_once(' ')?;
        Some((program.parse().ok()?, map.parse().ok()?))
    });
    let there = |(program, map): (u32, u32)| (ids(11).contains(&program), ids(12).contains(&map));
    let before = said.map(there);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(before, Some((true, true)), "{said:?}");
    // The kernel takes a namespace down in its own time.
    let gone = await_fact(Duration::from_secs(30), || {
        said.map(there) == Some((false, false))
    });
    assert!(gone, "{said:?} {:?}", said.map(there));
}
