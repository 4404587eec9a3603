//! The scripts: requests of io_uring one by one, reads that may not wait, and Linux's own aio as contrast.
//!
//! Whatever must find nothing is served by the script only after its call has returned, or, where a call may
//! block, by a second thread once the first is seen asleep: no order rests on time.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Write as _, pipe};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::marks::{CALL, Call, REAPED, REQUEST, RETURNED, Reaped, Request, Returned};
use super::marks::{SERVED, SUBMITTED, Submitted, Way};
use crate::lab::disk::{Disk, Fs};
use crate::lab::native_aio::Aio;
use crate::lab::ring::{self, Entry, Ring};
use crate::lab::script::{Case, Stage};
use crate::lab::shared::now;

pub const URING: &str = "uring";
pub const NONBLOCK: &str = "nonblock";
pub const AIO: &str = "aio";
/// The kernel gives no context for it, and why.
pub const NO_AIO: &str = "no-aio";

const BUDGET: Duration = Duration::from_secs(30);
/// xfs would want 300 MiB of a disk; ext4 is glad with little.
const DISK: u64 = 48 << 20;
pub const BLOCK: usize = 4096;
/// So that nobody else's request is taken for one of ours.
const USER_DATA: u64 = 0x7072_6f62_6573_0000;
/// EAGAIN at once, or waited for: what io_uring makes of it changed when pipes got FMODE_NOWAIT.
const O_NONBLOCK: &str = "empty pipe, O_NONBLOCK";
/// A byte of the files, so that what is read can be checked.
const FILL: u8 = 0xa5;

pub fn cases(wanted: impl Fn(&str) -> bool) -> Vec<Case> {
    let all = [
        Case::new(URING, BUDGET, uring),
        Case::new(NONBLOCK, BUDGET, nonblock),
        Case::new(AIO, BUDGET, aio),
    ];
    let wanted = all.into_iter().filter(|case| wanted(&case.label));
    wanted.map(Case::watched).collect()
}

/// Memory aligned as O_DIRECT wants it.
#[repr(C, align(4096))]
struct Block([u8; BLOCK]);

impl Block {
    fn empty() -> Block {
        Block([0; BLOCK])
    }
}

struct Files {
    disk: Disk,
}

impl Files {
    /// One block each, written back, none in the cache any more.
    fn new(names: &[&str]) -> Result<Files> {
        let disk = Disk::new(DISK, Fs::Ext4)?;
        for name in names {
            let path = disk.file(name);
            std::fs::write(&path, [FILL; BLOCK])
                .with_context(|| format!("could not write {}", path.display()))?;
        }
        disk.chill()?;
        Ok(Files { disk })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.file(name)
    }

    fn open(&self, name: &str, flags: i32) -> Result<File> {
        let mut options = File::options();
        let file = options.read(true).write(true).custom_flags(flags);
        file.open(self.path(name))
            .with_context(|| format!("could not open {name}"))
    }

    /// With its block in the cache.
    fn warm(&self, name: &str) -> Result<File> {
        let file = self.open(name, 0)?;
        let mut block = [0; BLOCK];
        file.read_exact_at(&mut block, 0)
            .context("could not read")?;
        Ok(file)
    }
}

struct Requests<'a> {
    stage: &'a Stage,
    ring: Ring,
    next: u64,
}

impl Requests<'_> {
    /// Submits it alone; `serve` then gives it what it waits for, if it waits.
    fn one(
        &mut self,
        name: &str,
        must: Option<Way>,
        entry: Entry,
        serve: Option<&mut dyn FnMut() -> Result<()>>,
    ) -> Result<()> {
        let user_data = USER_DATA + self.next;
        self.next += 1;
        let request = Request {
            name: name.to_owned(),
            user_data,
            must,
            starved: serve.is_some() && name != O_NONBLOCK,
        };
        self.stage.act(REQUEST, serde_json::to_value(request)?);
        self.ring.push(&entry.user_data(user_data))?;
        self.ring
            .submit()
            .with_context(|| format!("{name}: io_uring_enter"))?;
        let shown = self.ring.shown();
        let submitted = Submitted { user_data, shown };
        self.stage.note(SUBMITTED, serde_json::to_value(submitted)?);
        if let Some(serve) = serve {
            self.stage.note(SERVED, json!({ "user_data": user_data }));
            serve()?;
        }
        let Some(got) = self.ring.reap(self.stage, 1)?.pop() else {
            bail!("{name}: no completion");
        };
        let reaped = Reaped {
            user_data: got.user_data,
            res: got.res,
        };
        self.stage.note(REAPED, serde_json::to_value(reaped)?);
        Ok(())
    }
}

fn uring(stage: &mut Stage) -> Result<()> {
    let files = Files::new(&["warm", "cold", "direct"])?;
    let ring = Ring::new(8)?;
    let mut requests = Requests {
        stage,
        ring,
        next: 1,
    };
    let (inline, worker) = (Some(Way::Inline), Some(Way::Worker));
    requests.one("no operation", inline, ring::nop(), None)?;

    let warm = files.warm("warm")?;
    let (fd, mut block) = (warm.as_raw_fd(), [0; BLOCK]);
    requests.one("cached read", inline, ring::read(fd, &mut block, 0), None)?;
    let forced = ring::forced(ring::read(fd, &mut block, 0));
    requests.one("cached read, IOSQE_ASYNC", worker, forced, None)?;
    requests.one("fsync", worker, ring::fsync(fd), None)?;

    let (ours, mut theirs) = UnixStream::pair()?;
    let mut give = || Ok(theirs.write_all(&[FILL])?);
    let entry = ring::receive(ours.as_raw_fd(), &mut block);
    requests.one("empty socket", Some(Way::Polled), entry, Some(&mut give))?;

    let (reader, mut writer) = pipe()?;
    let mut give = || Ok(writer.write_all(&[FILL])?);
    let entry = ring::read(reader.as_raw_fd(), &mut block, 0);
    requests.one("empty pipe", None, entry, Some(&mut give))?;
    let entry = ring::forced(ring::read(reader.as_raw_fd(), &mut block, 0));
    requests.one("empty pipe, IOSQE_ASYNC", worker, entry, Some(&mut give))?;
    set_nonblocking(reader.as_raw_fd())?;
    let mut give = || Ok(writer.write_all(&[FILL])?);
    let entry = ring::read(reader.as_raw_fd(), &mut block, 0);
    requests.one(O_NONBLOCK, None, entry, Some(&mut give))?;

    let cold = files.open("cold", 0)?;
    let entry = ring::read(cold.as_raw_fd(), &mut block, 0);
    requests.one("cold read", None, entry, None)?;
    let direct = files.open("direct", libc::O_DIRECT)?;
    let mut aligned = Box::new(Block::empty());
    let entry = ring::read(direct.as_raw_fd(), &mut aligned.0, 0);
    requests.one("O_DIRECT read", None, entry, None)?;
    if block != [FILL; BLOCK] || aligned.0 != [FILL; BLOCK] {
        bail!("a file gave other bytes than were written");
    }
    Ok(())
}

fn set_nonblocking(fd: RawFd) -> Result<()> {
    // SAFETY: a number and a flag.
    let code = unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) };
    if code != 0 {
        return Err(std::io::Error::last_os_error()).context("could not set O_NONBLOCK");
    }
    Ok(())
}

/// Bytes or minus errno.
fn plain_read(fd: RawFd, buffer: &mut [u8]) -> i64 {
    // SAFETY: room for as many bytes.
    let got = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
    told(got)
}

fn told(got: isize) -> i64 {
    let errno = || std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    if got < 0 {
        -i64::from(errno())
    } else {
        got as i64
    }
}

fn announce(stage: &Stage, name: &str, nr: i64, starved: bool) -> Result<()> {
    let call = Call {
        name: name.to_owned(),
        nr: u32::try_from(nr)?,
        starved,
        phase: None,
    };
    stage.act(CALL, serde_json::to_value(call)?);
    Ok(())
}

fn tell(stage: &Stage, returned: &Returned) -> Result<()> {
    stage.note(RETURNED, serde_json::to_value(returned)?);
    Ok(())
}

/// Makes a call that may block on `writer`'s other end: as soon as the calling thread sleeps, or the call
/// has returned, another thread writes a byte. Returns what the call said, and when it was served.
fn served<T>(stage: &Stage, writer: &mut PipeWriter, call: impl FnOnce() -> T) -> Result<(T, u64)> {
    let tid = rustix::thread::gettid()
        .as_raw_nonzero()
        .get()
        .cast_unsigned();
    let (under_way, served_at) = (AtomicU64::new(0), AtomicU64::new(0));
    let (view, budget) = (stage.view(), stage.budget());
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let end = now() + budget.as_nanos() as u64;
            // 1 = the call is made now, 2 = it has returned.
            while now() < end && under_way.load(Ordering::SeqCst) != 2 {
                if under_way.load(Ordering::SeqCst) == 1 && view.asleep(tid) {
                    break;
                }
                std::thread::sleep(Duration::from_micros(200));
            }
            served_at.store(now(), Ordering::SeqCst);
            writer.write_all(&[FILL])
        });
        under_way.store(1, Ordering::SeqCst);
        let said = call();
        under_way.store(2, Ordering::SeqCst);
        let wrote = server.join();
        wrote
            .map_err(|_| anyhow::anyhow!("the serving thread panicked"))?
            .context("could not write to the pipe")?;
        Ok((said, served_at.load(Ordering::SeqCst)))
    })
}

fn nonblock(stage: &mut Stage) -> Result<()> {
    let files = Files::new(&["cold", "nowait"])?;
    let mut block = [0; BLOCK];
    let (reader, mut writer) = pipe()?;
    blocking_control(stage, &reader, &mut writer)?;
    set_nonblocking(reader.as_raw_fd())?;
    let (ours, _theirs) = UnixStream::pair()?;
    set_nonblocking(ours.as_raw_fd())?;
    let cold = files.open("cold", libc::O_NONBLOCK)?;
    let reads = [
        ("empty pipe, O_NONBLOCK", reader.as_raw_fd()),
        ("empty socket, O_NONBLOCK", ours.as_raw_fd()),
        ("cold file, O_NONBLOCK", cold.as_raw_fd()),
    ];
    for (name, fd) in reads {
        announce(stage, name, libc::SYS_read, false)?;
        let ret = plain_read(fd, &mut block);
        finished(stage, name, ret)?;
    }
    let nowait = files.open("nowait", 0)?;
    for name in ["cold file, RWF_NOWAIT", "warm file, RWF_NOWAIT"] {
        announce(stage, name, libc::SYS_preadv2, false)?;
        let ret = nowait_read(nowait.as_raw_fd(), &mut block);
        finished(stage, name, ret)?;
        // Warm for the second time.
        nowait.read_exact_at(&mut block, 0)?;
    }
    Ok(())
}

fn finished(stage: &Stage, name: &str, ret: i64) -> Result<()> {
    let returned = Returned {
        name: name.to_owned(),
        ret,
        complete: 0,
        res: ret,
        served_at: 0,
    };
    tell(stage, &returned)
}

/// That sleeping shows at all.
fn blocking_control(stage: &Stage, reader: &PipeReader, writer: &mut PipeWriter) -> Result<()> {
    let name = "empty pipe, blocking";
    let mut byte = [0];
    announce(stage, name, libc::SYS_read, true)?;
    let fd = reader.as_raw_fd();
    let (ret, served_at) = served(stage, writer, || plain_read(fd, &mut byte))?;
    let returned = Returned {
        name: name.to_owned(),
        ret,
        complete: 0,
        res: ret,
        served_at,
    };
    tell(stage, &returned)
}

fn nowait_read(fd: RawFd, buffer: &mut [u8]) -> i64 {
    let part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: one part, with room for as many bytes.
    told(unsafe { libc::preadv2(fd, &raw const part, 1, 0, libc::RWF_NOWAIT) })
}

fn aio(stage: &mut Stage) -> Result<()> {
    let files = Files::new(&["cold", "direct"])?;
    let aio = match Aio::new(8) {
        Ok(aio) => aio,
        // The claims of io_uring do without.
        Err(why) => {
            stage.note(NO_AIO, json!({ "why": format!("{why:#}") }));
            return Ok(());
        }
    };
    let (reader, mut writer) = pipe()?;
    let mut byte = [0];
    let name = "aio: empty pipe";
    announce(stage, name, libc::SYS_io_submit, true)?;
    let fd = reader.as_raw_fd();
    let (said, served_at) = served(stage, &mut writer, || {
        let took = aio.submit_reads(&mut [(fd, &mut byte, 0)]);
        took.and_then(|_| aio.complete_now())
    })?;
    after_submit(stage, &aio, name, said?, served_at)?;

    let mut block = Box::new(Block::empty());
    for (name, file, flags) in [
        ("aio: cold file", "cold", 0),
        ("aio: O_DIRECT", "direct", libc::O_DIRECT),
    ] {
        let file = files.open(file, flags)?;
        announce(stage, name, libc::SYS_io_submit, false)?;
        aio.submit_reads(&mut [(file.as_raw_fd(), &mut block.0, 0)])
            .with_context(|| format!("{name}: io_submit"))?;
        let now_complete = aio.complete_now()?;
        after_submit(stage, &aio, name, now_complete, 0)?;
    }
    Ok(())
}

fn after_submit(
    stage: &Stage,
    aio: &Aio,
    name: &str,
    complete: Vec<i64>,
    served_at: u64,
) -> Result<()> {
    let late = match complete.first() {
        Some(_) => None,
        None => aio.reap(stage, 1)?.first().copied(),
    };
    let res = complete.first().copied().or(late);
    let returned = Returned {
        name: name.to_owned(),
        ret: 1,
        complete: complete.len(),
        res: res.context("no completion")?,
        served_at,
    };
    tell(stage, &returned)
}
