//! A tiny pre-forking epoll server (a hidden mode of this program), and what /proc says of any server.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rustix::event::epoll;
use rustix::process::Signal;

use super::procs::{self, Guard};
use super::wait;

pub const MODE: &str = "__server";
pub const PORT: u16 = 8082;
pub const EPOLLEXCLUSIVE: u32 = 1 << 28;

#[derive(Debug)]
pub struct Server {
    guard: Guard,
    pub workers: Vec<u32>,
}

/// The command line of the server, for `probes … -- CMD` and for [`Server::start`].
pub fn words(workers: usize, exclusive: bool) -> Vec<String> {
    let program = std::env::current_exe().expect("our own program");
    let kind = if exclusive { "exclusive" } else { "shared" };
    vec![
        program.display().to_string(),
        MODE.to_owned(),
        workers.to_string(),
        PORT.to_string(),
        kind.to_owned(),
    ]
}

impl Server {
    /// Returns when every worker waits for connections.
    pub fn start(workers: usize, exclusive: bool) -> Server {
        let program = std::env::current_exe().expect("our own program");
        Server::start_as(&program, workers, exclusive)
    }

    /// Under another name: a link to this program.
    pub fn start_as(program: &Path, workers: usize, exclusive: bool) -> Server {
        let mut command = Command::new(program);
        command
            .args(&words(workers, exclusive)[1..])
            .stdin(Stdio::null());
        let child = command.spawn().expect("our own server");
        let mut server = Server {
            guard: Guard::new("server", child),
            workers: Vec::new(),
        };
        server.workers = await_workers(server.guard.pid(), workers);
        server
    }

    pub fn pid(&self) -> u32 {
        self.guard.pid()
    }
}

/// The master's children, when each has the listener in its epoll instance and sleeps.
pub fn await_workers(master: u32, count: usize) -> Vec<u32> {
    wait::until("the server's workers to wait for connections", || {
        let pids: Vec<u32> = procs::children(master)
            .iter()
            .map(|proc| proc.pid)
            .collect();
        let ready = pids.iter().all(|pid| !registrations(*pid, PORT).is_empty());
        (pids.len() == count && ready && all_asleep(&pids)).then_some(pids)
    })
}

/// Each stands still in a sleep, as /proc says.
pub fn all_asleep(pids: &[u32]) -> bool {
    pids.iter().all(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .is_some_and(|(_, tail)| tail.starts_with('S'))
    })
}

/// An entry of an epoll instance, as /proc/PID/fdinfo shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    pub pid: u32,
    pub events: u32,
    pub inode: u64,
}

/// The listeners of this port in the epoll instances of a process.
pub fn registrations(pid: u32, port: u16) -> Vec<Registered> {
    let listeners = listening_inodes(pid, port);
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        for line in info.lines().filter(|line| line.starts_with("tfd:")) {
            let hex = |key: &str| {
                line.split_whitespace()
                    .skip_while(|word| *word != key)
                    .nth(1)
            };
            let events = hex("events:").and_then(|word| u32::from_str_radix(word, 16).ok());
            let inode = line
                .split_whitespace()
                .find_map(|word| word.strip_prefix("ino:"));
            let inode = inode.and_then(|word| u64::from_str_radix(word, 16).ok());
            if let (Some(events), Some(inode)) = (events, inode)
                && listeners.contains(&inode)
            {
                found.push(Registered { pid, events, inode });
            }
        }
    }
    found
}

/// Socket inodes in LISTEN on this port, in the network of the process.
fn listening_inodes(pid: u32, port: u16) -> Vec<u64> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let wanted = format!(":{port:04X}");
    let fields = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listening = fields.filter(|f| f.len() > 9 && f[1].ends_with(&wanted) && f[3] == "0A");
    listening.filter_map(|f| f[9].parse().ok()).collect()
}

/// `__server WORKERS PORT exclusive|shared`
pub fn main(mut args: impl Iterator<Item = String>) -> ExitCode {
    let mut number = || {
        args.next()
            .and_then(|word| word.parse::<u16>().ok())
            .expect("a number")
    };
    let (workers, port) = (number(), number());
    let exclusive = args.next().as_deref() == Some("exclusive");
    let listener =
        TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).expect("a listener");
    listener
        .set_nonblocking(true)
        .expect("a listener that does not block");
    for _ in 0..workers {
        // SAFETY: this program has no other threads.
        if unsafe { libc::fork() } == 0 {
            let _dies_too = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            serve(&listener, exclusive);
        }
    }
    loop {
        // A worker that ends is born again, as real masters do it.
        let ended = rustix::process::wait(rustix::process::WaitOptions::empty());
        // SAFETY: still no other threads.
        if ended.is_ok() && unsafe { libc::fork() } == 0 {
            let _dies_too = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            serve(&listener, exclusive);
        }
    }
}

fn serve(listener: &TcpListener, exclusive: bool) -> ! {
    let instance = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance");
    let mut flags = epoll::EventFlags::IN;
    flags.set(epoll::EventFlags::EXCLUSIVE, exclusive);
    epoll::add(
        &instance,
        listener.as_fd(),
        epoll::EventData::new_u64(0),
        flags,
    )
    .expect("registering the listener");
    let mut events = [epoll::Event {
        flags,
        data: epoll::EventData::new_u64(0),
    }];
    loop {
        if epoll::wait(&instance, &mut events, None).is_ok()
            && let Ok((connection, _)) = listener.accept()
        {
            answer(connection);
        }
    }
}

/// Without waiting for the request: a worker that sleeps waits for a connection and for nothing else.
fn answer(mut connection: TcpStream) {
    let _sent =
        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let _ended = connection.shutdown(std::net::Shutdown::Write);
    // Read what has come, so that closing does not reset the connection under the answer.
    let mut request = [0_u8; 1024];
    while let Ok(count) = std::io::Read::read(&mut connection, &mut request) {
        if count == 0 {
            break;
        }
    }
}
