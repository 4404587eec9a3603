//! Unrelated work beside a test: a busy loop per CPU, and loopback connections of nobody's concern.
//!
//! In processes of their own (a hidden mode of this program), ended when the guard is dropped.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::procs::Guard;

pub const MODE: &str = "__noise";
/// Between two connections: some hundred a second, so that the machine is disturbed and not occupied.
const PACE: Duration = Duration::from_millis(3);

#[derive(Debug)]
pub struct Noise(Vec<Guard>);

impl Noise {
    pub fn start() -> Noise {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let kinds = std::iter::repeat_n("busy", cpus).chain(["connections"]);
        let noise: Vec<Guard> = kinds.map(spawn).collect();
        Noise(noise)
    }

    /// # Panics
    /// When a part of it has ended: then the test was not disturbed.
    pub fn assert_alive(&mut self) {
        self.0.iter_mut().for_each(Guard::assert_alive);
    }
}

fn spawn(kind: &str) -> Guard {
    let program = std::env::current_exe().expect("our own program");
    let mut command = Command::new(program);
    command
        .args([MODE, kind])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("a noise process");
    let mut ready = [0];
    let told = child.stdout.as_mut().map(|out| out.read_exact(&mut ready));
    assert!(
        matches!(told, Some(Ok(()))),
        "the noise did not begin: {told:?}"
    );
    Guard::new("noise", child)
}

pub fn main(mut args: impl Iterator<Item = String>) -> ExitCode {
    let _dies_too = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    match args.next().as_deref() {
        Some("busy") => {
            say_ready();
            loop {
                std::hint::spin_loop();
            }
        }
        _ => connections(),
    }
}

fn say_ready() {
    use std::io::Write as _;
    let mut out = std::io::stdout();
    let _told = out.write_all(b"!").and_then(|()| out.flush());
}

fn connections() -> ExitCode {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener of no concern");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let mut told = false;
    loop {
        if let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            // Ended by a reset: thousands of TIME_WAIT entries would be more than noise.
            let _reset = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
            if !told {
                say_ready();
                told = true;
            }
        }
        std::thread::sleep(PACE);
    }
}
