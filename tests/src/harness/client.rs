//! Clients that make connections and count them: ours, and curl.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};

use super::wait;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    let stream = stream.unwrap_or_else(|error| panic!("connecting to port {port}: {error}"));
    stream
        .set_read_timeout(Some(wait::BUDGET))
        .expect("a read limit");
    stream
}

fn answer(mut stream: TcpStream) {
    let mut bytes = Vec::new();
    stream
        .read_to_end(&mut bytes)
        .expect("the server's answer to its end");
    assert!(
        bytes.starts_with(b"HTTP/1.1 200"),
        "answer: {:?}",
        String::from_utf8_lossy(&bytes)
    );
}

/// One after the other, each when `ready` says so. Returns how many were made.
pub fn sequential(port: u16, count: u64, mut ready: impl FnMut() -> bool) -> u64 {
    for _ in 0..count {
        wait::until("the server to be ready for the next connection", || {
            ready().then_some(())
        });
        let mut stream = connect(port);
        stream.write_all(REQUEST).expect("sending a request");
        answer(stream);
    }
    count
}

/// All connected before the first request is sent. Returns how many were made.
pub fn concurrent(port: u16, count: u64) -> u64 {
    let mut streams: Vec<TcpStream> = (0..count).map(|_| connect(port)).collect();
    for stream in &mut streams {
        stream.write_all(REQUEST).expect("sending a request");
    }
    streams.into_iter().for_each(answer);
    count
}

/// By curl, one after the other or up to 50 at a time. Returns how many curl says it made.
pub fn curl(port: u16, count: u64, parallel: bool) -> u64 {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--fail",
        "--header",
        "Connection: close",
    ]);
    command.args(["--write-out", "%{num_connects}\\n", "--output", "/dev/null"]);
    if parallel {
        command.args(["--parallel", "--parallel-immediate", "--parallel-max", "50"]);
    }
    command
        .arg(format!("http://127.0.0.1:{port}/[1-{count}]"))
        .stdin(Stdio::null());
    let output = command.output().expect("curl, which must be installed");
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl: {} {errors}", output.status);
    told.lines()
        .map(|line| {
            line.trim()
                .parse::<u64>()
                .unwrap_or_else(|_| panic!("curl said {line:?}"))
        })
        .sum()
}
