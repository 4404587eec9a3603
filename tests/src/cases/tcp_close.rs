//! tcp-close: every claim settled as known, every RST explained as it was provoked, and counted alike by all.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;

use crate::context::{Ctx, Outcome};
use crate::harness::closer;
use crate::harness::noise::Noise;
use crate::harness::report::{Report, Row, sum};
use crate::harness::sandbox;
use crate::harness::wait;
use crate::harness::watch::Watch;

const RESULTS: [(&str, &str); 5] = [
    ("tcp-close/drains-in-background", "holds"),
    ("tcp-close/unread-data-resets", "holds"),
    ("tcp-close/linger-zero-resets", "holds"),
    ("tcp-close/reset-discards-peer-buffer", "refuted"),
    ("tcp-close/linger-blocks", "holds"),
];
/// Over IPv4 and IPv6.
const CASES: usize = 48;

pub fn every_claim_is_settled_and_every_reset_explained(ctx: &Ctx) -> Outcome {
    settled(ctx);
    Outcome::Pass
}

pub fn beside_noise_nothing_changes(ctx: &Ctx) -> Outcome {
    let mut noise = Noise::start();
    settled(ctx);
    noise.assert_alive();
    Outcome::Pass
}

fn settled(ctx: &Ctx) {
    let report = ctx.settle(["tcp-close"]);
    report.show();
    assert_eq!(report.assert_settled().code, 0);
    for (claim, result) in RESULTS {
        let found = report.claim(claim);
        assert_eq!(found["result"], result, "{found}");
    }
    numbers_agree(&report);
    causes_agree(&report);
}

fn numbers_agree(report: &Report) {
    for family in ["v4", "v6"] {
        let number = |claim: &str, key: &str| {
            let numbers = &report.claim(&format!("tcp-close/{claim}"))["numbers"];
            numbers[format!("{family}_{key}")]
                .as_u64()
                .unwrap_or_else(|| panic!("no {family}_{key} in {numbers}"))
        };
        let drained = |key| number("drains-in-background", key);
        assert_eq!(drained("written_bytes"), drained("read_bytes"));
        // The FIN has a number too.
        assert_eq!(
            drained("acked_after_close_bytes"),
            drained("unacked_at_close_bytes") + 1
        );
        assert!(drained("sent_after_close_bytes") > 0);
        let discarded = |key| number("reset-discards-peer-buffer", key);
        assert_eq!(discarded("received_before_reset_bytes"), 1000);
        assert_eq!(discarded("read_after_reset_bytes"), 1000);
        assert_eq!(number("unread-data-resets", "one_unread_bytes"), 1);
        assert!(number("linger-zero-resets", "lost_bytes") > 0);
    }
}

/// What was provoked was found; on the wire, in nstat and by event the same number.
fn causes_agree(report: &Report) {
    let causes = report.rows("causes");
    let no_destroy = report
        .remarks()
        .iter()
        .any(|remark| remark.contains("SOCK_DESTROY"));
    let expected = CASES - if no_destroy { 2 } else { 0 };
    assert_eq!(causes.len(), expected, "a row for each case");
    for row in &causes {
        assert!(row.flag("agrees"), "{row:?}");
        assert_eq!(row.count("wire_count"), row.count("nstat_count"), "{row:?}");
    }
    let resets = report.rows("resets");
    assert_eq!(
        resets.len() as u64,
        sum(&causes, "wire_count"),
        "a line for each RST"
    );
    let reasons = resets
        .iter()
        .any(|row| row.text_or("told_by", "").starts_with("TCP_"));
    let untold = causes
        .iter()
        .filter(|row| row.text("found").contains("untold"));
    // Closed ports and TIME_WAIT, over IPv4 and IPv6, where the kernel tells of no reset without full socket.
    assert_eq!(untold.count(), if reasons { 0 } else { 4 });
}

const PORT: u16 = 8090;
const KILLED: u64 = 3;
const LINGERING: u32 = 4;
const UNREAD: usize = 100;

pub fn a_watch_names_who_reset_whom_and_why(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).expect("a listener");
    let netns = format!("pid:{}", std::process::id());
    let before = resets_counted();
    let watch = Watch::of(ctx, "tcp-close", &["--netns", &netns]);
    let killed: Vec<u32> = (0..KILLED).map(|_| kill_one(&listener)).collect();
    let mut lingering = closer::lingering(PORT, LINGERING);
    for _ in 0..LINGERING {
        let (stream, _) = listener.accept().expect("a connection");
        await_reset(stream);
    }
    lingering.await_end(wait::BUDGET).expect("the client's end");
    let report = watch.finish();
    explained(&report, &killed, lingering.pid());
    assert_eq!(
        resets_counted() - before,
        KILLED + u64::from(LINGERING),
        "by the namespace's own count"
    );
    Outcome::Pass
}

fn explained(report: &Report, killed: &[u32], lingering: u32) {
    let by_key = |key: &str| -> Row {
        let rows = report.rows("causes");
        let found = rows.into_iter().find(|row| row.text("key") == key);
        found.unwrap_or_else(|| panic!("no resets by {key}"))
    };
    let of_killed = by_key("killed-unread");
    assert_eq!(of_killed.count("count"), KILLED);
    assert_eq!(of_killed.count("unread_bytes"), KILLED * UNREAD as u64);
    assert_eq!(by_key("linger-zero").count("count"), u64::from(LINGERING));
    let resets = report.rows("resets");
    assert_eq!(resets.len() as u64, KILLED + u64::from(LINGERING));
    let sent_by = |pid: u32| {
        let brackets = format!("[{pid}]");
        let its = resets
            .iter()
            .filter(|row| row.text_or("sender", "").ends_with(&brackets));
        its.count()
    };
    for pid in killed {
        assert_eq!(sent_by(*pid), 1, "resets by the killed process {pid}");
    }
    assert_eq!(sent_by(lingering), LINGERING as usize);
    let us = format!("[{}]", std::process::id());
    for row in &resets {
        assert!(
            row.text_or("receiver", "").ends_with(&us),
            "the server got it: {row:?}"
        );
    }
}

/// A client that has not read what it got is killed; returns its pid.
fn kill_one(listener: &TcpListener) -> u32 {
    let mut client = closer::holding(PORT);
    let (mut stream, _) = listener.accept().expect("a connection");
    stream.write_all(&[7; UNREAD]).expect("bytes for it");
    wait::until("the client's kernel to have them", || {
        (unacknowledged(&stream) == 0).then_some(())
    });
    let pid = client.pid();
    client.stop();
    await_reset(stream);
    pid
}

fn await_reset(mut stream: TcpStream) {
    let got = stream.read(&mut [0]);
    let kind = got.map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::ConnectionReset));
}

/// SIOCOUTQ
fn unacknowledged(stream: &TcpStream) -> i32 {
    let mut bytes = 0;
    // SAFETY: writes one int.
    let done = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    assert_eq!(done, 0, "SIOCOUTQ");
    bytes
}

/// `OutRsts` of this network namespace.
fn resets_counted() -> u64 {
    let table = std::fs::read_to_string("/proc/thread-self/net/snmp").expect("the counters");
    let mut lines = table.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut both = names.split(' ').zip(values.split(' '));
    let found = both.find(|(name, _)| *name == "OutRsts");
    found
        .and_then(|(_, value)| value.parse().ok())
        .expect("OutRsts")
}
