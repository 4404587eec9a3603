//! Clients that end their connections by a reset (a hidden mode of this program).

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::procs::Guard;

pub const MODE: &str = "__closer";

/// One that connects and never reads; it must be killed.
pub fn holding(port: u16) -> Guard {
    let mut child = spawn("hold", port, 1);
    let mut ready = [0];
    let told = child.stdout.as_mut().map(|out| out.read_exact(&mut ready));
    assert!(
        matches!(told, Some(Ok(()))),
        "the client did not connect: {told:?}"
    );
    Guard::new("client", child)
}

/// One that makes so many connections and ends each with SO_LINGER {1, 0}.
pub fn lingering(port: u16, count: u32) -> Guard {
    Guard::new("client", spawn("linger-zero", port, count))
}

fn spawn(kind: &str, port: u16, count: u32) -> std::process::Child {
    let program = std::env::current_exe().expect("our own program");
    Command::new(program)
        .args([MODE, kind, &port.to_string(), &count.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a client")
}

pub fn main(args: impl Iterator<Item = String>) -> ExitCode {
    let _dies_too = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let args: Vec<String> = args.collect();
    let number = |at: usize| args.get(at).and_then(|word| word.parse::<u32>().ok());
    let port = number(1).and_then(|port| u16::try_from(port).ok());
    let (Some(port), Some(count)) = (port, number(2)) else {
        return ExitCode::FAILURE;
    };
    let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    if args[0] == "hold" {
        let _held = connect();
        use std::io::Write as _;
        let mut out = std::io::stdout();
        let _told = out.write_all(b"!").and_then(|()| out.flush());
        loop {
            std::thread::park();
        }
    }
    for _ in 0..count {
        let stream = connect();
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("SO_LINGER");
    }
    ExitCode::SUCCESS
}
