//! For tests: the surgeon alone, on the loopback device of a sandbox.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use probes_common::tcp::Packet;

use super::KernelView;
use super::netns::Nstat;
use super::sandbox::{Sandbox, enter};
use super::surgeon::Rule;
use crate::instrument::memory::Shared;
use crate::instrument::{Attachment, Setup, Without, attach};
use crate::kernel::{Kernel, raise_memlock};
use crate::session::start;
use crate::stream::Body;
use crate::stream::decode::decode;
use crate::stream::ring::Ring;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;
pub const PORT: u16 = 20_000;
const RING: u32 = 4 << 20;

/// The loaded instrument and its ring.
pub struct Bench {
    pub shared: Shared,
    pub netns: u32,
    pub attachment: Attachment,
    ring: Mutex<Ring>,
}

impl Bench {
    /// Loads the surgeon, for this sandbox.
    pub fn new(sandbox: &Sandbox) -> Bench {
        raise_memlock().unwrap();
        let kernel = Kernel::running().expect("needs root");
        let facts = start::facts(&["surgeon"]).unwrap();
        let setup = Setup {
            facts: &facts,
            pid_bytes: kernel.pid_max.next_power_of_two().max(4096),
            ring_bytes: RING,
            syscalls: &[],
            timers: [0; 5],
            submit_sqes: [0; 2],
            needs: &["surgeon"],
            without: &Without::default(),
        };
        let (attachment, _) = attach(&["surgeon"], &setup).unwrap();
        let report = &attachment.reports[0];
        assert_eq!(report.attached_as.as_deref(), Some("tc"), "{report:?}");
        Bench {
            shared: start::shared(&attachment, setup.pid_bytes).unwrap(),
            ring: Mutex::new(Ring::new(attachment.maps.get("EVENTS").unwrap(), RING).unwrap()),
            netns: sandbox.inum(),
            attachment,
        }
    }

    /// Packets since the last call.
    pub fn packets(&self) -> Vec<Packet> {
        let mut packets = Vec::new();
        self.ring.lock().unwrap().drain(|bytes| {
            if let Ok(event) = decode(bytes)
                && let Body::Packet(packet) = event.body
            {
                packets.push(packet);
            }
        });
        packets
    }

    /// New rules; what was seen before them is forgotten.
    pub fn set(&self, rules: &[Rule]) {
        self.shared.set_rules(rules).unwrap();
        self.packets();
    }

    /// (matched, dropped) of each rule.
    pub fn counts(&self) -> Vec<(u64, u64)> {
        let counts = self.shared.rule_counts().unwrap();
        counts.iter().map(|c| (c.matched, c.dropped)).collect()
    }
}

/// Runs `script` on a thread in a sandbox.
pub fn sandboxed(script: impl FnOnce(Bench) + Send + 'static) {
    let sandbox = Sandbox::new().expect("needs root");
    let run = move || {
        enter(sandbox.netns()).unwrap();
        script(Bench::new(&sandbox));
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

/// The same with the surgeon at work on `lo`.
pub fn operated(script: impl FnOnce(&Bench) + Send + 'static) {
    sandboxed(|bench| {
        bench.shared.operate("lo").unwrap();
        bench.shared.set_netns(bench.netns);
        bench.shared.set_enabled(true);
        script(&bench);
    });
}

pub fn v4() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, PORT).into()
}

pub fn v6() -> SocketAddr {
    (Ipv6Addr::LOCALHOST, PORT).into()
}

/// A connection through a listener: (client, server).
pub fn pair(address: SocketAddr) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).unwrap();
    let client = TcpStream::connect(address).unwrap();
    let server = listener.accept().unwrap().0;
    for end in [&client, &server] {
        end.set_nodelay(true).unwrap();
        end.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    }
    (client, server)
}

/// What the namespace has counted since.
pub fn grown(before: &Nstat, name: &str) -> u64 {
    let grown = Nstat::read().unwrap().since(before);
    grown.get(name).copied().unwrap_or(0)
}
