//! The watch of syn-queue: what it says of a listener's queues is what ss, nstat and the flood's own count say.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::Command;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, listen, socket_with};

use crate::context::{Ctx, Outcome};
use crate::harness::report::{Report, Row};
use crate::harness::watch::Watch;
use crate::harness::{sandbox, wait};

const BACKLOG: u32 = 8;
/// SYNs, more than there is room for.
const SYNS: u64 = 24;

fn here() -> String {
    format!("pid:{}", std::process::id())
}

/// With a backlog of our choice: std's listener, told again how many may wait.
fn listener(backlog: u32) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    listen(&listener, backlog.cast_signed()).expect("listen");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

fn set(name: &str, value: u32) {
    let path = format!("/proc/sys/net/{name}");
    std::fs::write(&path, value.to_string()).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// A client that takes nothing of what comes in, so that its handshake never ends.
fn half_open(to: SocketAddr) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let client = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
    let client = client.expect("a socket");
    let mut nothing = [libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: 0,
    }];
    let program = libc::sock_fprog {
        len: 1,
        filter: nothing.as_mut_ptr(),
    };
    let length = size_of_val(&program) as libc::socklen_t;
    let program = (&raw const program).cast();
    // SAFETY: the kernel copies the one instruction during the call.
    let done = unsafe {
        let fd = client.as_raw_fd();
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            program,
            length,
        )
    };
    assert_eq!(done, 0, "a socket filter");
    assert_eq!(connect(&client, &to), Err(Errno::INPROGRESS));
    client
}

/// The growth of this namespace's counters, as nstat tells them.
fn nstat(name: &str) -> u64 {
    let output = Command::new("nstat").args(["-asz", name]).output();
    let output = output.expect("nstat, which must be installed");
    let told = String::from_utf8_lossy(&output.stdout);
    let mut lines = told.lines().filter_map(|line| line.strip_prefix(name));
    let value = lines.next().and_then(|rest| rest.split_whitespace().next());
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("nstat on {name}: {told}"))
}

/// Recv-Q and Send-Q of the listener, as `ss -tln` tells them.
fn ss(address: SocketAddr) -> (u64, u64) {
    let output = Command::new("ss").args(["-Htln"]).output();
    let output = output.expect("ss, which must be installed");
    let told = String::from_utf8_lossy(&output.stdout);
    let line = told
        .lines()
        .find(|line| line.contains(&address.to_string()));
    let mut words = line
        .unwrap_or_else(|| panic!("no {address} in {told}"))
        .split_whitespace()
        .skip(1)
        .map(|word| word.parse().expect("a length"));
    (words.next().expect("Recv-Q"), words.next().expect("Send-Q"))
}

fn of(report: &Report, table: &str, address: SocketAddr) -> Row {
    let rows = report.rows(table);
    let mut here = rows
        .iter()
        .filter(|row| row.text("local") == address.to_string());
    here.next()
        .unwrap_or_else(|| panic!("no {address} in {rows:?}"))
        .clone()
}

fn counted(report: &Report, counter: &str) -> u64 {
    let rows = report.rows("counters");
    let own = rows.iter().find(|row| row.text("counter") == counter);
    own.map_or(0, |row| row.count("count"))
}

fn said(report: &Report, words: &str) {
    let remarks = report.remarks();
    assert!(
        remarks.iter().any(|line| line.contains(words)),
        "{words}: {remarks:?}"
    );
}

pub fn a_full_syn_queue_shows_with_its_limit_its_drops_and_a_remedy(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    set("ipv4/tcp_syncookies", 0);
    let (_listener, to) = listener(BACKLOG);
    let port = to.port().to_string();
    let watch = Watch::of(
        ctx,
        "syn-queue",
        &["--netns", &here(), "--local-port", &port],
    );
    let _clients: Vec<OwnedFd> = (0..SYNS).map(|_| half_open(to)).collect();
    wait::until("the SYNs beyond the queue to be dropped", || {
        (nstat("TcpExtListenDrops") > 0).then_some(())
    });
    let before = nstat("TcpExtListenDrops");
    let report = watch.finish();
    let after = nstat("TcpExtListenDrops");
    let queue = of(&report, "syn_queues", to);
    let (most, limit) = (queue.count("most_count"), u64::from(BACKLOG));
    assert_eq!(
        (queue.count("limit_count"), queue.text("knob")),
        (limit, "backlog")
    );
    // Kernels differ in whether one more fits.
    assert!((limit..=limit + 1).contains(&most), "{queue:?}");
    assert_eq!(
        queue.count("half_open_count"),
        most,
        "none has ended: {queue:?}"
    );
    assert_eq!(queue.count("requests_count"), most, "each was queued once");
    assert!(
        before >= SYNS - most,
        "each SYN was queued or dropped: {before}"
    );
    // Clients send their SYNs again, so that more are dropped as time goes on.
    let dropped = counted(&report, "TcpExtListenDrops");
    assert!(
        (before..=after).contains(&dropped),
        "{before} {dropped} {after}"
    );
    assert_eq!(counted(&report, "TcpExtTCPReqQFullDrop"), dropped);
    // To the socket a SYN that was sent again to a half-open entry is a drop as well.
    let by_socket = of(&report, "accept_queues", to).count("drops_count");
    assert!(by_socket >= dropped, "{by_socket} of {dropped}");
    said(
        &report,
        "SYNs beyond it were dropped; set net.ipv4.tcp_syncookies 1",
    );
    said(
        &report,
        &format!("raise the backlog that the program gives to listen() ({limit})"),
    );
    Outcome::Pass
}

pub fn cookies_and_a_full_accept_queue_show_with_what_helps(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    set("ipv4/tcp_syncookies", 2);
    set("core/somaxconn", 4);
    let watch = Watch::of(ctx, "syn-queue", &["--netns", &here()]);
    let (_listener, to) = listener(100);
    // One more than the limit may wait; the next handshake is not finished.
    let _waiting: Vec<TcpStream> = (0..5)
        .map(|_| TcpStream::connect(to).expect("a connection"))
        .collect();
    let _left_out = half_open(to);
    wait::until("a SYN to be dropped", || {
        (nstat("TcpExtListenOverflows") > 0).then_some(())
    });
    assert_eq!(ss(to), (5, 4), "Recv-Q and Send-Q");
    let (sent, valid) = (nstat("TcpExtSyncookiesSent"), nstat("TcpExtSyncookiesRecv"));
    let report = watch.finish();
    let queue = of(&report, "accept_queues", to);
    assert_eq!(
        (queue.count("waiting_count"), queue.count("limit_count")),
        (5, 4)
    );
    assert_eq!(
        (queue.text("knob"), queue.count("connections_count")),
        ("somaxconn", 5)
    );
    assert!(queue.count("drops_count") >= 1);
    let cookies = of(&report, "syn_queues", to);
    assert_eq!(cookies.text("knob"), "tcp_syncookies 2");
    let told = (
        cookies.count("cookies_sent_count"),
        cookies.count("cookies_valid_count"),
    );
    assert_eq!(told, (sent, valid));
    assert_eq!(valid, 5, "every connection was made by a cookie");
    let opened = of(&report, "listeners", to);
    assert_eq!(opened.count("pid"), u64::from(std::process::id()));
    assert_eq!(opened.text("asked"), "4 or more");
    assert!(
        opened.number("opened_ms") > 0.0,
        "opened while it was watched"
    );
    said(&report, "its accept queue was full (5 of 4)");
    said(&report, "raise net.core.somaxconn (4)");
    Outcome::Pass
}
