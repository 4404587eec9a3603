//! tcp-states: its claims, and whose connections a watch says they are.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::context::{Ctx, Outcome};
use crate::harness::nginx::{self, Nginx, Setting};
use crate::harness::noise::Noise;
use crate::harness::report::{Report, Row};
use crate::harness::watch::Watch;
use crate::harness::{client, sandbox};

const CLAIMS: usize = 3;
const CASES: usize = 16;

fn assert_lab(report: &Report) {
    report.assert_settled();
    assert_eq!(report.claims().len(), CLAIMS);
    for claim in report.claims() {
        assert_eq!(claim["result"], "holds", "{claim}");
    }
    let numbers = &report.claim("tcp-states/time-wait-60s")["numbers"];
    assert!(
        numbers["with_fin_timeout_set_count"].as_u64() >= Some(2),
        "{numbers}"
    );
    let lives = report.rows("lives");
    assert_eq!(lives.len(), 2 * CASES, "both ends of every case");
    for row in lives
        .iter()
        .filter(|row| row.text("case").starts_with("simultaneous-close"))
    {
        assert!(row.text("states").contains("CLOSING"), "{row:?}");
    }
    // Both ends send a SYN and get one: the diagram's arrow that no listener is at.
    let opened = |row: &&Row| row.text("case").starts_with("simultaneous-open");
    for row in lives.iter().filter(opened) {
        let states: Vec<&str> = row.text("states").split(", ").collect();
        let begins = ["SYN_SENT ", "SYN_RECV ", "ESTABLISHED "];
        let so = states
            .iter()
            .zip(begins)
            .all(|(state, name)| state.starts_with(name));
        assert!(so && states.len() > begins.len(), "{row:?}");
    }
    // Both ends of a passive close, and none of them in TIME_WAIT.
    let passive = lives
        .iter()
        .filter(|row| row.text("states").contains("LAST_ACK"));
    assert!(passive.clone().count() >= 10);
    assert!(
        passive
            .into_iter()
            .all(|row| !row.text("states").contains("TIME_WAIT"))
    );
    for row in report.rows("checks") {
        assert_eq!(
            row.count("counted_count"),
            row.count("events_count"),
            "{row:?}"
        );
    }
}

pub fn every_claim_of_tcp_states_is_settled_on_both_families(ctx: &Ctx) -> Outcome {
    let report = ctx.settle(["tcp-states"]);
    report.show();
    assert_lab(&report);
    Outcome::Pass
}

pub fn tcp_states_settles_its_claims_beside_noise(ctx: &Ctx) -> Outcome {
    let mut noise = Noise::start();
    assert_lab(&ctx.settle(["tcp-states"]));
    noise.assert_alive();
    Outcome::Pass
}

/// The namespace of this test, as `--netns` takes it.
fn here() -> String {
    format!("pid:{}", std::process::id())
}

fn of_port(rows: &[Row], column: &str, port: u16) -> Vec<Row> {
    let suffix = format!(":{port}");
    let here = rows
        .iter()
        .filter(|row| row.text(column).ends_with(&suffix));
    here.cloned().collect()
}

pub fn of_nginx_and_curl_every_connection_has_its_right_owners(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let nginx = Nginx::start(Setting::MutexOff, 2);
    for target in [["--netns", &here()], ["-p", &nginx.master().to_string()]] {
        let watch = Watch::of(ctx, "tcp-states", &target);
        let made = client::curl(nginx::PORT, 30, false) + client::curl(nginx::PORT, 60, true);
        let report = watch.finish();
        let rows = report.rows("connections");
        let servers = of_port(&rows, "local", nginx::PORT);
        assert_eq!(servers.len() as u64, made, "nginx's ends");
        for row in &servers {
            assert!(
                nginx
                    .workers
                    .iter()
                    .any(|pid| u64::from(*pid) == row.count("pid")),
                "{row:?}"
            );
            assert_eq!(
                (row.text("process"), row.text("role")),
                ("nginx", "passive"),
                "{row:?}"
            );
            assert!(
                row.count("received_bytes") > 0 && row.count("acked_bytes") > 0,
                "{row:?}"
            );
        }
        let clients = of_port(&rows, "remote", nginx::PORT);
        // A watch of nginx shows nginx's ends alone.
        let wanted = if target[0] == "-p" { 0 } else { made };
        assert_eq!(clients.len() as u64, wanted, "curl's ends");
        for row in &clients {
            let said = (row.text("process"), row.text("owner_by"), row.text("role"));
            assert_eq!(said, ("curl", "call", "active"), "{row:?}");
        }
        // Whoever is established is half open no more.
        let states = report.rows("states");
        assert!(
            states.iter().all(|row| row.text("state") != "SYN_RECV"),
            "{states:?}"
        );
    }
    Outcome::Pass
}

/// The client first: its end waits. Closed at once, both ends may have sent a FIN before either has come.
fn close_in_order((client, mut server): (TcpStream, TcpStream)) {
    drop(client);
    assert_eq!(server.read(&mut [0]).expect("the client's FIN"), 0);
}

pub fn connections_from_before_the_start_are_followed_to_their_end(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    let pair = || {
        let client = TcpStream::connect(address).expect("a connection");
        (client, listener.accept().expect("its other end").0)
    };
    let (mut old, kept) = (pair(), pair());
    // Over before the start: its client waits.
    close_in_order(pair());
    let watch = Watch::of(ctx, "tcp-states", &["--netns", &here()]);
    old.0.write_all(b"four").expect("a write");
    old.1.read_exact(&mut [0; 4]).expect("what was written");
    close_in_order(old);
    let report = watch.finish();
    let own = u64::from(std::process::id());
    let closed = report.rows("connections");
    assert_eq!(
        closed.len(),
        2,
        "both ends of the one that ended: {closed:?}"
    );
    for row in &closed {
        assert_eq!(
            (row.count("pid"), row.text("role")),
            (own, "older"),
            "{row:?}"
        );
        assert_eq!(row.text("owner_by"), "descriptor", "{row:?}");
    }
    let sockets = report.rows("sockets");
    let of_state = |state: &str| -> Vec<&Row> {
        let here = sockets.iter().filter(|row| row.text("state") == state);
        here.collect()
    };
    assert_eq!(of_state("ESTABLISHED").len(), 2);
    assert_eq!(of_state("LISTEN").len(), 1);
    assert_eq!(
        of_state("TIME_WAIT").len(),
        2,
        "one from before, one now: {sockets:?}"
    );
    for row in of_state("ESTABLISHED")
        .into_iter()
        .chain(of_state("LISTEN"))
    {
        assert_eq!(row.count("pid"), own, "{row:?}");
    }
    drop(kept);
    Outcome::Pass
}

pub fn only_sockets_that_were_asked_for_are_shown(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let addresses = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)];
    let listeners = addresses.map(|address| TcpListener::bind((address, 0)).expect("a listener"));
    let ports = [0, 1].map(|at: usize| listeners[at].local_addr().expect("its address").port());
    let (wanted, other) = (ports[0].to_string(), ports[1].to_string());
    let here = here();
    // The rows that each filter leaves of two connections, one to each listener.
    let filters: [(&[&str], usize); 6] = [
        (&[], 4),
        (&["--local-port", &wanted], 1),
        (&["--remote", "127.0.0.2", "--remote-port", &other], 1),
        (&["--state", "LAST_ACK"], 2),
        (&["-4", "--local", "127.0.0.2", "--local-port", &other], 1),
        (&["--remote", "127.0.0.3"], 0),
    ];
    for (filter, rows) in filters {
        let mut words = vec!["--netns", here.as_str()];
        words.extend(filter);
        let watch = Watch::of(ctx, "tcp-states", &words);
        for listener in &listeners {
            let address = listener.local_addr().expect("its address");
            let client = TcpStream::connect(address).expect("a connection");
            let server = listener.accept().expect("its other end").0;
            close_in_order((client, server));
        }
        let report = watch.finish_quietly();
        let closed = report.rows("connections");
        assert_eq!(closed.len(), rows, "{filter:?}: {closed:?}");
        let emitted = report.document["losses"]["emitted"].as_u64();
        if filter.contains(&"127.0.0.3") {
            assert_eq!(emitted, Some(0), "filtered before anything is copied");
        } else if rows > 0 {
            assert!(emitted > Some(0), "{filter:?}");
        }
        for row in &closed {
            assert_eq!(
                row.count("pid"),
                u64::from(std::process::id()),
                "{filter:?}: {row:?}"
            );
        }
    }
    Outcome::Pass
}

/// How many a second are tried, and for how long.
const RATE: u64 = 10_000;
const SECONDS: u64 = 10;

/// Threads that make them: one alone does not come to that rate.
const MAKERS: u64 = 2;

/// Returns how many were made, and in what time.
fn generate(count: u64, limit: Duration) -> (u64, Duration) {
    let begun = Instant::now();
    let made = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..MAKERS)
            .map(|_| scope.spawn(|| make(count / MAKERS, RATE / MAKERS, limit)))
            .collect();
        makers
            .into_iter()
            .map(|its| its.join().expect("a maker"))
            .sum()
    });
    (made, begun.elapsed())
}

/// Ends without TIME_WAIT, so that ports do not run out.
fn make(count: u64, rate: u64, limit: Duration) -> u64 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    let begun = Instant::now();
    let mut made = 0;
    while made < count && begun.elapsed() < limit {
        let client = TcpStream::connect(address).expect("a connection");
        let server = listener.accept().expect("its other end").0;
        rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).expect("SO_LINGER");
        drop(client);
        drop(server);
        made += 1;
        let due = Duration::from_nanos(made * 1_000_000_000 / rate);
        if let Some(early) = due.checked_sub(begun.elapsed())
            && early > Duration::from_millis(1)
        {
            std::thread::sleep(early);
        }
    }
    made
}

/// Runs of all programs and what one takes, by the kernel's own count.
fn cost(report: &Report) -> (u64, u64) {
    let programs = report.document["stats"]["programs"].as_array().cloned();
    let sum = |key: &str| {
        let all = programs.iter().flatten();
        all.filter_map(|its| its[key].as_u64()).sum::<u64>()
    };
    let (runs, ns) = (sum("runs"), sum("ns"));
    (runs, ns / runs.max(1))
}

/// Both ends of each connection are counted, or the loss is, and then nobody is told the numbers without a word.
fn all_or_told(report: &Report, made: u64) {
    let owners = report.rows("owners");
    let sum = |key: &str| owners.iter().map(|row| row.count(key)).sum::<u64>();
    let counted = (sum("active_count"), sum("passive_count"));
    let said = report
        .remarks()
        .iter()
        .any(|line| line.starts_with("records lost, so that numbers are too low"));
    if report.lost() == 0 {
        assert_eq!(counted, (made, made), "both ends of each: {owners:?}");
        assert!(!said, "nothing was lost");
    } else {
        assert!(
            counted.0 <= made && counted.1 <= made,
            "{counted:?} of {made}"
        );
        assert!(said, "a loss is told: {:?}", report.remarks());
    }
}

fn under_load(ctx: &Ctx, more: &[&str], seconds: u64) -> (Report, u64) {
    let here = here();
    let mut words = vec!["--netns", here.as_str(), "--stats"];
    words.extend(more);
    let watch = Watch::of(ctx, "tcp-states", &words);
    let (made, took) = generate(RATE * seconds, Duration::from_secs(seconds));
    let report = watch.finish_quietly();
    let (rate, (runs, ns)) = (made as f64 / took.as_secs_f64(), cost(&report));
    println!("{made} connections in {took:?}: {rate:.0} a second, of {RATE} that were tried");
    println!("losses {}", report.document["losses"]);
    println!(
        "{runs} runs of programs, {ns} ns each; {}",
        report.document["stats"]["programs"]
    );
    assert!(runs > 0 && ns > 0, "what it costs is told");
    all_or_told(&report, made);
    (report, made)
}

pub fn many_connections_a_second_are_all_counted(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let seconds = if ctx.on_host() { SECONDS } else { SECONDS / 4 };
    let (report, made) = under_load(ctx, &[], seconds);
    let emitted = report.document["losses"]["emitted"].as_u64();
    assert!(
        emitted > Some(made),
        "some events of each connection: {emitted:?}"
    );
    Outcome::Pass
}

pub fn too_small_a_ring_loses_records_and_says_so(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let (report, made) = under_load(ctx, &["--ring", "4"], 1);
    assert!(report.lost() > 0, "a ring of 4 KiB held {made} connections");
    Outcome::Pass
}
