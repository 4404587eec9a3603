//! Resends: the lab's verdicts and counts, and a watch of a connection whose peer hears nothing any more.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;

use crate::context::{Ctx, Outcome};
use crate::harness::noise::Noise;
use crate::harness::report::{Report, Row, sum};
use crate::harness::sandbox;
use crate::harness::wait;
use crate::harness::watch::Watch;

const TRACE: &str = "tcp-retransmit";
/// Kinds of loss, over IPv4 and IPv6.
const CASES: usize = 16;
/// Independent counts of each case.
const CHECKS: usize = 8;
/// Of a dead peer, before the watch is ended: a probe and three time-outs.
const RESENDS: u32 = 4;

pub fn each_cause_is_provoked_and_tied_to_its_loss(ctx: &Ctx) -> Outcome {
    let report = ctx.settle([TRACE]);
    settled(&report);
    Outcome::Pass
}

pub fn it_settles_beside_noise_too(ctx: &Ctx) -> Outcome {
    let mut noise = Noise::start();
    let report = ctx.settle([TRACE]);
    settled(&report);
    noise.assert_alive();
    Outcome::Pass
}

fn settled(report: &Report) {
    report.show();
    assert_eq!(report.assert_settled().code, 0);
    for claim in report.claims() {
        let refuted = claim["id"] == "tcp-retransmit/needs-three-duplicates";
        let expected = if refuted { "refuted" } else { "holds" };
        assert_eq!(claim["result"], expected, "{claim}");
    }
    let cases = report.rows("causes");
    assert_eq!(cases.len(), CASES);
    for case in &cases {
        provoked(case);
    }
    let checks = report.rows("checks");
    assert_eq!(checks.len(), CASES * CHECKS);
    for check in &checks {
        let (ours, theirs) = (check.count("traced_count"), check.count("witness_count"));
        let more = check.text("witness") == "TcpExtTCPLossProbes" && theirs > ours;
        assert!(ours == theirs || more, "{check:?}");
    }
    for resend in report.rows("resends") {
        let probe = resend.text("cause") == "TLP";
        assert!(probe || resend.text("lost") != "nothing", "{resend:?}");
        assert_ne!(resend.text("cause"), "unknown", "{resend:?}");
        if resend.text("cause") == "RTO" {
            let (armed, next) = (resend.number("armed_ms"), resend.number("next_ms"));
            // What a stalled machine has spent of a wait before its start is read is missing.
            assert!((next - 2.0 * armed).abs() <= 60.0, "{resend:?}");
        }
    }
}

/// Exactly these resends, whatever the kernel.
fn provoked(case: &Row) {
    let counts = |keys: &[&str]| keys.iter().map(|key| case.count(key)).collect::<Vec<_>>();
    let label = case.text("case");
    let kind = label.split('/').next().unwrap_or_default();
    match kind {
        "syn" => assert_eq!(counts(&["syn_count", "syn_ack_count"]), [1, 0], "{label}"),
        "syn-ack" => assert_eq!(case.count("syn_ack_count"), 1, "{label}"),
        "middle" => assert_eq!(counts(&["dropped_count", "rto_count"]), [5, 0], "{label}"),
        "tail" => assert_eq!(counts(&["tlp_count", "rto_count"]), [1, 0], "{label}"),
        "everything" => {
            // The third gets through; where the lab was late to let it, the fourth.
            assert!([3, 4].contains(&case.count("rto_count")), "{label}");
            assert_eq!(case.count("after_rto_count"), 2, "{label}");
        }
        "acks" => {
            assert!(case.count("needless_count") >= 2, "{label}");
            // Two are waited for; a stalled machine loses another before the filter is gone.
            assert!(case.count("dropped_count") >= 2, "{label}");
        }
        "lone" => assert_eq!(counts(&["dropped_count", "fast_count"]), [1, 0], "{label}"),
        "first-of-two" => assert_eq!(case.count("dropped_count"), 5, "{label}"),
        other => panic!("an unknown kind of loss: {other}"),
    }
}

/// A connection in the test's own network, and a filter by which its server hears nothing more.
struct Dead {
    client: TcpStream,
    server: TcpStream,
    port: u16,
}

impl Dead {
    fn new(ip: IpAddr) -> Dead {
        let listener = TcpListener::bind((ip, 0)).expect("a listener");
        let address = listener.local_addr().expect("its address");
        let client = TcpStream::connect(address).expect("a connection");
        client.set_nodelay(true).expect("no delay");
        let (server, _) = listener.accept().expect("its other end");
        let port = client.local_addr().expect("its address").port();
        let dead = Dead {
            client,
            server,
            port,
        };
        dead.say();
        // What was said before has been heard: nothing waits for an answer.
        wait::until("the first bytes to be acknowledged", || {
            (info(&dead.client, UNACKED) == 0).then_some(())
        });
        dead
    }

    fn say(&self) {
        (&self.client).write_all(b"hello").expect("some bytes");
    }

    /// From now on every segment that comes to the server is dropped at its socket.
    fn deafen(&self) {
        let mut nothing = [libc::sock_filter {
            // BPF_RET | BPF_K
            code: 6,
            jt: 0,
            jf: 0,
            k: 0,
        }];
        let program = libc::sock_fprog {
            len: 1,
            filter: nothing.as_mut_ptr(),
        };
        // SAFETY: the kernel copies the program of one instruction, which outlives the call.
        let done = unsafe {
            libc::setsockopt(
                self.server.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                size_of_val(&program) as libc::socklen_t,
            )
        };
        assert_eq!(done, 0, "a filter: {}", std::io::Error::last_os_error());
    }
}

/// Places in `struct tcp_info`.
const UNACKED: usize = 24;
const TOTAL_RETRANS: usize = 100;

fn info(socket: &TcpStream, at: usize) -> u32 {
    let mut bytes = [0_u8; 104];
    let mut len = bytes.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            bytes.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    assert_eq!(done, 0, "TCP_INFO: {}", std::io::Error::last_os_error());
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Of this network namespace, from /proc.
fn segments_resent() -> u64 {
    let table = std::fs::read_to_string("/proc/thread-self/net/snmp").expect("the counters");
    let mut lines = table.lines().filter(|line| line.starts_with("Tcp: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut pairs = names.split(' ').zip(values.split(' '));
    let found = pairs.find(|(name, _)| *name == "RetransSegs");
    found
        .and_then(|(_, value)| value.parse().ok())
        .expect("RetransSegs")
}

/// What the namespace resent, what each socket did, and what two watches told of it.
struct Told {
    pairs: [Dead; 2],
    resent: u64,
    own_counts: Vec<u32>,
    reports: [Report; 2],
}

fn watch_the_dead(ctx: &Ctx) -> Told {
    let own = std::process::id().to_string();
    let pairs = [
        Dead::new(Ipv4Addr::LOCALHOST.into()),
        Dead::new(Ipv6Addr::LOCALHOST.into()),
    ];
    let before = segments_resent();
    let by_netns = Watch::of(ctx, TRACE, &["--netns", &format!("pid:{own}")]);
    let by_pid = Watch::of(ctx, TRACE, &["-p", &own]);
    for pair in &pairs {
        pair.deafen();
        pair.say();
    }
    wait::until("the time-outs", || {
        let done = pairs
            .iter()
            .all(|pair| info(&pair.client, TOTAL_RETRANS) >= RESENDS);
        done.then_some(())
    });
    // Waits are long by now: no resend comes between these two looks and the end of the watch.
    let resent = segments_resent() - before;
    let own_counts: Vec<u32> = pairs
        .iter()
        .map(|pair| info(&pair.client, TOTAL_RETRANS))
        .collect();
    Told {
        pairs,
        resent,
        own_counts,
        reports: [by_netns.finish(), by_pid.finish()],
    }
}

/// As often as a lab runs a case again: some kernels run no program in a timer's interrupt that finds certain
/// tasks current, and count nothing.
const TRIES: u32 = 3;

pub fn a_dead_peer_shows_with_cause_step_and_owner(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let own = std::process::id().to_string();
    let (mut told, mut tried) = (watch_the_dead(ctx), 1);
    let short = |told: &Told| {
        let mut reports = told.reports.iter();
        reports.any(|report| sum(&report.rows("sockets"), "resends_count") < told.resent)
    };
    while short(&told) && tried < TRIES {
        println!(
            "try {tried}: fewer resends told than {} counted",
            told.resent
        );
        drop(told);
        (told, tried) = (watch_the_dead(ctx), tried + 1);
    }
    let Told {
        pairs,
        resent,
        own_counts,
        reports,
    } = told;
    for report in reports {
        let sockets = report.rows("sockets");
        assert_eq!(
            sum(&sockets, "resends_count"),
            resent,
            "by the namespace's count"
        );
        for (pair, count) in pairs.iter().zip(&own_counts) {
            let end = format!(":{}", pair.port);
            let row = sockets.iter().find(|row| row.text("local").ends_with(&end));
            let row = row.unwrap_or_else(|| panic!("no socket with port {}", pair.port));
            assert_eq!(
                row.count("resends_count"),
                u64::from(*count),
                "by the socket's count"
            );
            assert_eq!(row.count("pid").to_string(), own, "whose it is");
            assert!(row.count("backoff_step_max") >= 2, "{row:?}");
        }
        let causes = &report.rows("causes")[0];
        let (timed, probes) = (causes.count("rto_count"), causes.count("tlp_count"));
        assert_eq!(
            timed + probes,
            resent,
            "nothing but time-outs and probes: {causes:?}"
        );
        assert!(timed >= 6, "{causes:?}");
        doubling(&report.rows("resends"));
    }
    Outcome::Pass
}

/// The wait told with one time-out is the one that ends with the next, late by at most a quarter and a bit.
fn doubling(resends: &[Row]) {
    for row in resends.iter().filter(|row| row.text("cause") == "RTO") {
        let (local, step) = (row.text("local"), row.count("backoff_step"));
        let next = resends.iter().find(|other| {
            other.text("local") == local
                && other.text("cause") == "RTO"
                && other.count("backoff_step") == step + 1
        });
        let Some(next) = next else { continue };
        let (told, took) = (
            row.number("next_ms"),
            next.number("at_ms") - row.number("at_ms"),
        );
        assert!(took >= told - 10.0, "{took} ms instead of {told}: {row:?}");
        assert!(
            took <= told * 1.25 + 500.0,
            "{took} ms instead of {told}: {row:?}"
        );
    }
}

pub fn an_interval_prints_the_ledger_each_time(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let netns = format!("pid:{}", std::process::id());
    let words = [TRACE, "--netns", &netns, "-i", "300ms", "-d", "2s"];
    let run = ctx.probes(words).run().expect(0);
    let printed = run.stdout.matches("Resends by cause").count();
    assert!(printed >= 4, "{printed} times: {}", run.stdout);
    Outcome::Pass
}
