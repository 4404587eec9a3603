//! nginx and curl under the surgeon: what is lost on purpose is answered, and each answer is tied to its loss.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

use rustix::process::Signal;

use crate::context::{Ctx, Outcome};
use crate::harness::dir::Dir;
use crate::harness::nginx::{self, Nginx, Setting};
use crate::harness::report::{Report, Row, sum};
use crate::harness::watch::Watch;
use crate::harness::{procs, sandbox, story, wait};

/// The third FIN and the second answer of nginx's, and its first SYN-ACK.
const LOST: [&str; 3] = ["synack:1@8080", "data:2@8080", "fin:3@8080"];

fn lost(report: &Report, rule: &str) -> Row {
    let rows = report.rows("losses");
    let own: Vec<&Row> = rows.iter().filter(|row| row.text("rule") == rule).collect();
    assert_eq!(own.len(), 1, "{rule} is one segment: {rows:?}");
    own[0].clone()
}

pub fn what_nginx_loses_it_sends_again_and_the_cause_is_told(ctx: &Ctx) -> Outcome {
    let dir = Dir::new();
    let config = nginx::config_file(&dir, Setting::MutexOff, 1);
    let (errors, counters) = (dir.join("error.log"), dir.join("snmp"));
    let drop = LOST.join(",");
    let mut run = ctx.probes(["tcp-retransmit", "--json", "--drop", &drop, "--"]);
    for word in story::nginx_and_curl(&config, &errors, &counters) {
        run = run.arg(word);
    }
    let report = run.run().expect(0).report();
    report.show();
    report.assert_nothing_lost();
    assert_eq!(
        report.rows("losses").len(),
        LOST.len(),
        "nothing else is lost"
    );
    let server = format!("127.0.0.1:{}", nginx::PORT);
    for rule in LOST {
        let row = lost(&report, rule);
        assert_eq!(
            (row.text("from"), row.text("owner")),
            (server.as_str(), "nginx"),
            "{row:?}"
        );
        assert_eq!(row.text("lost"), "segment", "{row:?}");
        let causes: &[&str] = match rule {
            "synack:1@8080" => &["SYN-ACK"],
            _ => &["RTO", "TLP", "fast", "RACK timer", "after RTO"],
        };
        assert!(causes.contains(&row.text("cause")), "{row:?}");
        assert!(row.number("resent_ms") > 0.0, "{row:?}");
        // Who accepted it is a worker, and the listener is everybody's.
        assert!(row.count("pid") > 1, "{row:?}");
    }
    // What the namespace itself has counted.
    let table = std::fs::read_to_string(counters).expect("the counters");
    let resent = counter(&table, "RetransSegs");
    assert_eq!(sum(&report.rows("sockets"), "resends_count"), resent);
    assert!(resent >= LOST.len() as u64);
    Outcome::Pass
}

pub fn segments_are_lost_in_a_network_of_ones_own_only(ctx: &Ctx) -> Outcome {
    let run = |words: &[&str]| ctx.probes(words.iter().copied()).run();
    run(&["tcp-retransmit", "--drop", "syn", "-a"]).expect(2);
    run(&["tcp-retransmit", "--drop", "parcel", "--", "true"]).expect(2);
    run(&[
        "tcp-retransmit",
        "--drop",
        "syn",
        "--netns",
        "pid:1",
        "--",
        "true",
    ])
    .expect(2);
    // Not even the command sees our network.
    let own = std::fs::read_link("/proc/self/ns/net").expect("our namespace");
    let dir = Dir::new();
    let mut run = ctx.probes(["tcp-retransmit", "--drop", "syn", "--"]);
    for word in story::where_it_is(&dir.join("ns")) {
        run = run.arg(word);
    }
    run.run().expect(0);
    let told = std::fs::read_to_string(dir.join("ns")).expect("the command's namespace");
    assert!(told.starts_with("net:[") && told.trim() != own.to_string_lossy());
    Outcome::Pass
}

/// Of /proc/net/snmp, TCP's.
fn counter(table: &str, name: &str) -> u64 {
    let mut lines = table.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut both = names.split(' ').zip(values.split(' '));
    let found = both.find(|(its, _)| *its == name);
    found.and_then(|(_, value)| value.parse().ok()).expect(name)
}

/// A connection that the worker has, with an unfinished request.
fn client(nginx: &Nginx) -> TcpStream {
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, nginx::PORT)).expect("nginx");
    client
        .write_all(b"GET / HTTP/1.1\r\n")
        .expect("half a request");
    client
        .set_read_timeout(Some(wait::BUDGET))
        .expect("a limit");
    let sockets = || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", nginx.workers[0]));
        fds.into_iter().flatten().flatten().filter(|entry| {
            let link = std::fs::read_link(entry.path()).unwrap_or_default();
            link.to_string_lossy().starts_with("socket:")
        })
    };
    // The listener, the master's channel, and this one.
    wait::until("the worker to accept", || {
        (sockets().count() >= 3).then_some(())
    });
    client
}

fn await_reset(mut client: TcpStream) {
    let got = client.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(got, Err(std::io::ErrorKind::ConnectionReset));
}

pub fn a_reset_by_ss_or_by_killing_nginx_s_worker_is_named(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let nginx = Nginx::start(Setting::MutexOff, 1);
    let worker = nginx.workers[0];
    let watch = Watch::of(
        ctx,
        "tcp-close",
        &["--netns", &format!("pid:{}", std::process::id())],
    );
    let first = client(&nginx);
    let port = first.local_addr().expect("its address").port();
    let filter = format!("sport = :{} and dport = :{port}", nginx::PORT);
    let ss = Command::new("ss").args(["-HtK", &filter]).output();
    let ss = ss.expect("ss, which must be installed");
    // A kernel may be built without SOCK_DESTROY: then ss kills nothing and says so.
    let destroys = ss.stdout.windows(5).any(|part| part == b"ESTAB");
    if destroys {
        await_reset(first);
    } else {
        println!("ss -K: {}", String::from_utf8_lossy(&ss.stderr));
        drop(first);
    }
    let mut second = client(&nginx);
    assert!(procs::signal(worker, Signal::STOP));
    second
        .write_all(b"Host: nobody reads this\r\n")
        .expect("bytes");
    assert!(procs::signal(worker, Signal::KILL));
    await_reset(second);
    let report = watch.finish();
    let resets = report.rows("resets");
    let of = |cause: &str| -> Vec<&Row> {
        resets
            .iter()
            .filter(|row| row.text("cause") == cause)
            .collect()
    };
    let killed = of("process ended, data unread");
    assert_eq!(killed.len(), 1, "{resets:?}");
    let sender = format!("nginx[{worker}]");
    assert_eq!(killed[0].text("sender"), sender, "{:?}", killed[0]);
    let us = format!("[{}]", std::process::id());
    assert!(killed[0].text("receiver").ends_with(&us), "{:?}", killed[0]);
    let destroyed = of("destroyed from outside (ss -K)");
    assert_eq!(destroyed.len(), usize::from(destroys), "{resets:?}");
    for row in destroyed {
        assert!(row.text("receiver").ends_with(&us), "{row:?}");
        assert!(row.text("ends").starts_with("127.0.0.1:8080"), "{row:?}");
    }
    assert_eq!(resets.len(), 1 + usize::from(destroys));
    Outcome::Pass
}
