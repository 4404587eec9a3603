//! One file, sent to a TCP socket on loopback in every way there is, and sendfile() tried on every kind of file.
//!
//! The sender is a thread of its own and does nothing else between two phases, so that its system calls and
//! switches are counted exactly; the receiver is another. Packets may leave after the sender has returned: they
//! are counted up to the moment when the receiver has all.

use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use io_uring::opcode;
use probes_common::Task;
use rustix::thread::CpuSet;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::keeper::Keeper;
use self::method::{CHUNK, Sent, Work};
use self::receiver::{Received, receive};
use self::source::Source;
use self::witness::{Moment, Witness};
use crate::lab::counted::Counted;
use crate::lab::disk::{Fs, lacks};
use crate::lab::mapping::Mapping;
use crate::lab::script::{Case, Stage};

pub mod content;
pub mod first;
pub mod keeper;
pub mod kinds;
pub mod method;
pub mod receiver;
pub mod source;
pub mod uring;
pub mod witness;
pub mod zerocopy;

/// A call of either end may take as long; an emulated machine is slow.
const BUDGET: Duration = Duration::from_secs(60);

/// How long a page may be held before a hundredth of them is let pass.
const HELD: Duration = Duration::from_secs(2);

/// How the file gets to the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    ReadWrite,
    MmapWrite,
    Sendfile,
    SendfileWhole,
    Splice,
    Zerocopy,
    UringSend,
    UringZerocopy,
}

impl Method {
    pub const ALL: [Method; 8] = [
        Method::ReadWrite,
        Method::MmapWrite,
        Method::Sendfile,
        Method::SendfileWhole,
        Method::Splice,
        Method::Zerocopy,
        Method::UringSend,
        Method::UringZerocopy,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Method::ReadWrite => "read-write",
            Method::MmapWrite => "mmap-write",
            Method::Sendfile => "sendfile",
            Method::SendfileWhole => "sendfile-whole",
            Method::Splice => "splice",
            Method::Zerocopy => "msg-zerocopy",
            Method::UringSend => "uring-send",
            Method::UringZerocopy => "uring-send-zc",
        }
    }
}

/// Marks of a transfer's case.
pub const SOURCE: &str = "source";
pub const SENT: &str = "sent";
pub const RECEIVED: &str = "received";
pub const COUNTED: &str = "counted";
pub const ABSENT: &str = "absent";

/// Of the file, before it is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceMark {
    pub kind: String,
    pub size: u64,
    pub inode: u64,
    pub sum: u64,
    /// Pages in memory, by mincore.
    pub resident: u64,
    /// Should they all be there, or none?
    pub warm: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentMark {
    pub pid: u32,
    /// When the first call was about to be made, CLOCK_MONOTONIC.
    pub begun_at: u64,
    pub sent: Sent,
    pub witness: Witness,
}

/// What the kernel side counted: while the sender was at it, and until the receiver had all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedMark {
    pub sending: Counted,
    pub after: Counted,
}

/// Made when a case first needs it.
pub struct Shared {
    size: u64,
    memfd: OnceLock<Result<Source, String>>,
    disk: OnceLock<Result<Keeper, String>>,
}

impl Shared {
    pub fn new(size: u64) -> Arc<Shared> {
        Arc::new(Shared {
            size,
            memfd: OnceLock::new(),
            disk: OnceLock::new(),
        })
    }

    fn memory(&self) -> Result<&Source> {
        let make = || Source::memfd(self.size).map_err(|error| format!("{error:#}"));
        let made = self.memfd.get_or_init(make);
        made.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// On ext4; where that cannot be had, why.
    fn disk(&self) -> Result<&Source> {
        let make = || Keeper::new(self.size).map_err(|error| format!("{error:#}"));
        let made = self.disk.get_or_init(make).as_ref();
        made.map(|keeper| &keeper.source)
            .map_err(|error| anyhow!("{error}"))
    }
}

/// Where the file is, and whether its pages are in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// On ext4, all pages cached; where ext4 cannot be made, in memory.
    Warm,
    /// On ext4, none.
    Cold,
    /// A file in memory.
    Memory,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            State::Warm => "warm",
            State::Cold => "cold",
            State::Memory => "tmpfs",
        }
    }
}

const COLD: [Method; 4] = [
    Method::ReadWrite,
    Method::MmapWrite,
    Method::Sendfile,
    Method::Splice,
];
const IN_MEMORY: [Method; 2] = [Method::ReadWrite, Method::Sendfile];

/// The cases of a run over a file of this size.
pub fn cases(size: u64, wants: impl Fn(&str) -> bool) -> Vec<Case> {
    let shared = Shared::new(size);
    let of = |state: State, methods: &[Method]| -> Vec<Case> {
        let one = |method: &Method| {
            let (shared, method) = (shared.clone(), *method);
            let label = format!("{}/{}", state.name(), method.name());
            Case::new(label, BUDGET, move |stage| {
                transfer(stage, &shared, state, method)
            })
        };
        methods.iter().map(one).collect()
    };
    let mut transfers = of(State::Warm, &Method::ALL);
    transfers.extend(of(State::Cold, &COLD));
    transfers.extend(of(State::Memory, &IN_MEMORY));
    let first = shared.clone();
    transfers.push(Case::new(first::CASE, BUDGET, move |stage| {
        match lacks(Fs::Ext4) {
            None => first::pieces(stage, first.disk()?),
            Some(why) => {
                stage.note(ABSENT, json!({ "why": why }));
                Ok(())
            }
        }
    }));
    let tried = kinds::cases(BUDGET);
    let all = transfers.into_iter().chain(tried);
    all.filter(|case| wants(&case.label)).collect()
}

fn transfer(stage: &Stage, shared: &Shared, state: State, method: Method) -> Result<()> {
    let mut prepared = match Prepared::new(method)? {
        Ok(prepared) => prepared,
        Err(why) => {
            stage.note(ABSENT, json!({ "why": why }));
            return Ok(());
        }
    };
    let source = match (state, lacks(Fs::Ext4)) {
        (State::Memory, _) | (State::Warm, Some(_)) => shared.memory()?,
        (State::Warm | State::Cold, None) => shared.disk()?,
        (State::Cold, Some(why)) => {
            stage.note(ABSENT, json!({ "why": why }));
            return Ok(());
        }
    };
    match state {
        State::Cold => cool(stage, source)?,
        State::Warm | State::Memory => source.warm()?,
    }
    let mark = SourceMark {
        kind: source.kind.to_owned(),
        size: source.size,
        inode: source.inode,
        sum: source.sum,
        resident: source.resident()?,
        warm: state != State::Cold,
    };
    stage.note(SOURCE, serde_json::to_value(mark)?);
    let (client, server) = connected(method == Method::Zerocopy)?;
    let received = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| -> Result<Received> {
            followed(stage, Task::WATCHED | Task::CLIENT, || receive(&server))
        });
        let sender = scope.spawn(|| {
            let done = followed(stage, Task::WATCHED, || {
                send(stage, source, &client, &mut prepared)
            });
            // Also of a sender that failed: or the receiver would wait for its timeout.
            let closed = client.shutdown(std::net::Shutdown::Write);
            done.and_then(|phases| closed.context("shutdown").map(|()| phases))
        });
        let sent = sender.join().map_err(|_| anyhow!("the sender panicked"))?;
        let received = receiver
            .join()
            .map_err(|_| anyhow!("the receiver panicked"))?;
        let (phases, before) = sent?;
        Ok::<_, anyhow::Error>((received?, phases, before))
    });
    let (received, phases, before) = received?;
    stage.note(RECEIVED, serde_json::to_value(received)?);
    let counted = |index: usize| -> Result<Counted> {
        let now = stage.view().counted(phases[index])?;
        Ok(now.since(&before[index]))
    };
    let mark = CountedMark {
        sending: counted(0)?,
        after: counted(1)?,
    };
    stage.note(COUNTED, serde_json::to_value(mark)?);
    Ok(())
}

/// Asks until no page of the file is in memory. The kernel forgets a page only when nobody holds it, and a
/// packet that was read on another CPU is kept there until that one has a packet to take (since 5.19,
/// net/core/skbuff.c, skb_attempt_defer_free): so each CPU gets one.
fn cool(stage: &Stage, source: &Source) -> Result<()> {
    let few = source.size / 4096 / 100;
    let end = Instant::now() + HELD;
    stage.wait("no page of the file is in memory", || {
        let resident = source.cool()?;
        if resident > 0 {
            packet_on_each_cpu()?;
        }
        let good_enough = resident <= few && Instant::now() >= end;
        Ok((resident == 0 || good_enough).then_some(()))
    })
}

fn packet_on_each_cpu() -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("UDP")?;
    let own = socket.local_addr().context("getsockname")?;
    let before = rustix::thread::sched_getaffinity(None).context("sched_getaffinity")?;
    for cpu in (0..CpuSet::MAX_CPU).filter(|cpu| before.is_set(*cpu)) {
        let mut one = CpuSet::new();
        one.set(cpu);
        rustix::thread::sched_setaffinity(None, &one).context("sched_setaffinity")?;
        socket.send_to(&[0], own).context("UDP")?;
    }
    rustix::thread::sched_setaffinity(None, &before).context("sched_setaffinity")
}

/// Runs on a thread that is followed meanwhile.
fn followed<T>(stage: &Stage, bits: u8, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let pid = rustix::thread::gettid()
        .as_raw_nonzero()
        .get()
        .cast_unsigned();
    stage.view().follow(pid, bits)?;
    let done = work();
    stage.view().follow(pid, 0)?;
    done
}

type Phases = ([u32; 2], [Counted; 2]);

/// Two phases: one with the sender's calls and nothing else, and what comes after it.
fn send(
    stage: &Stage,
    source: &Source,
    socket: &TcpStream,
    prepared: &mut Prepared,
) -> Result<Phases> {
    let file = source.open()?;
    let work = Work {
        file: &file,
        socket,
        size: source.size,
        stage,
    };
    // A row is used again after many actions: what it holds already is taken off.
    let next = stage.act("prepared", json!({}));
    let before = [next + 1, next + 2].map(|phase| stage.view().counted(phase));
    let [first, second] = before;
    let before = [first?, second?];
    let moment = Moment::before()?;
    let begun_at = crate::lab::shared::now();
    let sending = stage.act("sending", json!({}));
    let done = prepared.send(&work);
    let after = stage.act("returned", json!({}));
    let witness = moment.until_now()?;
    if [sending, after] != [next + 1, next + 2] {
        bail!("phases {sending} and {after} do not follow {next}");
    }
    let mut sent = done?;
    sent.in_own_memory = prepared.holds_the_end(source)?;
    sent.worker_cpu_ns = prepared.worker_cpu_ns();
    let mark = SentMark {
        pid: rustix::thread::gettid()
            .as_raw_nonzero()
            .get()
            .cast_unsigned(),
        begun_at,
        sent,
        witness,
    };
    stage.note(SENT, serde_json::to_value(mark)?);
    Ok(([sending, after], before))
}

fn connected(zerocopy: bool) -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("could not listen")?;
    let address = listener.local_addr().context("getsockname")?;
    let client = TcpStream::connect(address).context("could not connect")?;
    let (server, _) = listener.accept().context("could not accept")?;
    client
        .set_write_timeout(Some(BUDGET))
        .context("SO_SNDTIMEO")?;
    server
        .set_read_timeout(Some(BUDGET))
        .context("SO_RCVTIMEO")?;
    if zerocopy {
        rustix_zerocopy(&client)?;
    }
    Ok((client, server))
}

fn rustix_zerocopy(socket: &TcpStream) -> Result<()> {
    let on: libc::c_int = 1;
    let fd = std::os::fd::AsRawFd::as_raw_fd(socket);
    // SAFETY: reads one int.
    let done = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ZEROCOPY,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()).context("SO_ZEROCOPY"),
    }
}

/// What a method needs and no measurement is to count.
enum Prepared {
    ReadWrite(Mapping),
    MmapWrite,
    Sendfile { whole: bool },
    Splice((OwnedFd, OwnedFd)),
    Zerocopy,
    Uring(Box<io_uring::IoUring>, Mapping),
    UringZerocopy(Box<io_uring::IoUring>),
}

impl Prepared {
    /// The inner error says why this kernel cannot.
    fn new(method: Method) -> Result<Result<Prepared, String>> {
        Ok(Ok(match method {
            Method::ReadWrite => Prepared::ReadWrite(Mapping::anonymous(CHUNK)?),
            Method::MmapWrite => Prepared::MmapWrite,
            Method::Sendfile => Prepared::Sendfile { whole: false },
            Method::SendfileWhole => Prepared::Sendfile { whole: true },
            Method::Splice => Prepared::Splice(rustix::pipe::pipe().context("pipe")?),
            Method::Zerocopy => Prepared::Zerocopy,
            Method::UringSend => match uring::ring(opcode::Send::CODE, "IORING_OP_SEND") {
                Ok(ring) => Prepared::Uring(Box::new(ring), Mapping::anonymous(CHUNK)?),
                Err(why) => return Ok(Err(why)),
            },
            Method::UringZerocopy => match uring::ring(opcode::SendZc::CODE, "IORING_OP_SEND_ZC") {
                Ok(ring) => Prepared::UringZerocopy(Box::new(ring)),
                Err(why) => return Ok(Err(why)),
            },
        }))
    }

    fn send(&mut self, work: &Work<'_>) -> Result<Sent> {
        match self {
            Prepared::ReadWrite(buffer) => method::read_write(work, buffer),
            Prepared::MmapWrite => method::mmap_write(work),
            Prepared::Sendfile { whole } => method::sendfile(work, *whole),
            Prepared::Splice(pipe) => method::splice(work, pipe),
            Prepared::Zerocopy => zerocopy::send(work),
            Prepared::Uring(ring, buffer) => uring::send(work, ring, buffer),
            Prepared::UringZerocopy(ring) => uring::send_zc(work, ring),
        }
    }

    /// CPU time of the threads that the kernel made for the ring, which work for nobody else.
    fn worker_cpu_ns(&self) -> Option<u64> {
        let (Prepared::Uring(..) | Prepared::UringZerocopy(_)) = self else {
            return None;
        };
        let pid = rustix::thread::gettid().as_raw_nonzero().get();
        let name = format!("iou-wrk-{pid}");
        let mut sum = 0;
        for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
            let comm = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if comm.trim_end() == name {
                let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
                sum += stat.split(' ').next()?.parse::<u64>().ok()?;
            }
        }
        Some(sum)
    }

    /// Are the file's last bytes in memory that belongs to nobody but the sender? Only by a copy.
    fn holds_the_end(&self, source: &Source) -> Result<Option<bool>> {
        let (Prepared::ReadWrite(buffer) | Prepared::Uring(_, buffer)) = self else {
            return Ok(None);
        };
        let last = match source.size % CHUNK as u64 {
            0 => CHUNK as u64,
            rest => rest,
        };
        let last = usize::try_from(last)?;
        let mut end = vec![0; last];
        content::fill(&mut end, source.size - last as u64);
        Ok(Some(buffer.bytes()[..last] == end[..]))
    }
}
