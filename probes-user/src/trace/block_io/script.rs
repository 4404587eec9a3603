//! The workload of block-io on one disk: small writes, direct writes, cold reads, reads at random, writers whose
//! pages somebody else synchronises. Between the parts the disk is quiet.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use probes_common::block::{CLASS_OTHER, CLASS_READ, CLASS_WRITE};
use rustix::fs::{Advice, fadvise, syncfs};
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::json;

use super::marks::{
    BETWEEN, DIRECT_WRITES, DISK, DiskMark, FIRST_READ, LACKS, PAGE, PART, Part, RANDOM_READS,
    SEQUENTIAL_READS, SEQUENTIAL_WRITES, TOTALS, Totals, WRITERS,
};
use crate::instrument::blocks::Blocks;
use crate::lab::child::{Child, set_name};
use crate::lab::disk::{Disk, Fs, Lack};
use crate::lab::script::Stage;

/// For logs and tables of the file system.
const SPARE: u64 = 48 << 20;
/// Of the reads, at most.
const READ: u64 = 16 << 20;
/// Calls of the controls.
const SINGLE: u64 = 64;
/// Pages between two reads at random: beyond every read-ahead.
const STRIDE: u64 = 16;
/// Pages of each writer.
const DIRTIED: u64 = 256;
/// One slot is used: the case follows one disk.
const SLOT: u32 = 0;

pub fn run(stage: &Stage, fs: Fs, size: u64) -> Result<()> {
    let disk = match Disk::new(size + size / 4 / PAGE * PAGE + SPARE, fs) {
        Ok(disk) => disk,
        Err(error) => match error.downcast_ref::<Lack>() {
            Some(lack) => {
                stage.note(LACKS, json!(lack.to_string()));
                return Ok(());
            }
            None => return Err(error),
        },
    };
    let scene = Scene { stage, disk, size };
    scene.stage.view().follow_disks(&[scene.disk.dev()])?;
    let before = scene.quiet()?;
    scene.tell_disk()?;
    scene.sequential_writes()?;
    scene.direct_writes()?;
    scene.disk.chill()?;
    scene.sequential_reads()?;
    scene.disk.chill()?;
    scene.random_reads()?;
    scene.writers()?;
    scene.tell_totals(&before)
}

struct Scene<'a> {
    stage: &'a Stage,
    disk: Disk,
    size: u64,
}

/// Counts and /sys/block/X/stat at a moment without a request under way.
type Moment = (Blocks, Vec<u64>);

impl Scene<'_> {
    /// Waits until neither the kernel's counts nor ours know of a request under way or change.
    fn quiet(&self) -> Result<Moment> {
        let view = self.stage.view();
        let mut last: Option<Moment> = None;
        self.stage.wait("the disk is quiet", || {
            let stat = self.disk.stat()?;
            let now = (view.blocks()?, stat);
            let idle = now.1.get(8) == Some(&0);
            let same = last.as_ref() == Some(&now);
            last = Some(now.clone());
            Ok((idle && same).then_some(now))
        })
    }

    /// The part is over: what comes now is none of its.
    fn settle(&self) -> Result<()> {
        self.quiet()?;
        self.act(BETWEEN);
        Ok(())
    }

    fn tell_disk(&self) -> Result<()> {
        let name = self.disk.device().file_name().unwrap_or_default();
        let mark = DiskMark {
            fs: self.disk.fs().name().to_owned(),
            name: name.to_string_lossy().into_owned(),
            dev: self.disk.dev(),
            max_kib: self.disk.queue("max_sectors_kb")?,
            read_ahead_kib: self.disk.queue("read_ahead_kb")?,
            nomerges: self.disk.nomerges(),
        };
        self.stage.note(DISK, serde_json::to_value(mark)?);
        Ok(())
    }

    fn tell_totals(&self, before: &Moment) -> Result<()> {
        let after = self.quiet()?;
        let grown = after.0.since(&before.0);
        let stat = after.1.iter().zip(&before.1);
        let totals = Totals {
            read: grown.class(SLOT, CLASS_READ),
            write: grown.class(SLOT, CLASS_WRITE),
            other: grown.class(SLOT, CLASS_OTHER),
            stat: stat.map(|(now, then)| now.saturating_sub(*then)).collect(),
            overflow: grown.overflow(),
        };
        self.stage.note(TOTALS, serde_json::to_value(totals)?);
        Ok(())
    }

    /// 0 = the device itself.
    fn ino(&self, file: &File) -> Result<u64> {
        match self.disk.fs() {
            Fs::Raw => Ok(0),
            _ => Ok(file.metadata()?.ino()),
        }
    }

    fn act(&self, part: &str) -> u32 {
        self.stage.act(part, json!({}))
    }

    fn tell(&self, part: Part) -> Result<()> {
        self.stage.note(PART, serde_json::to_value(part)?);
        Ok(())
    }

    fn open(&self, name: &str, flags: i32) -> Result<File> {
        let path = self.disk.file(name);
        let mut options = File::options();
        options.read(true).write(true).custom_flags(flags);
        // A device is there already.
        options.create(self.disk.fs() != Fs::Raw);
        let file = options.open(&path);
        file.with_context(|| format!("could not open {}", path.display()))
    }

    fn sequential_writes(&self) -> Result<()> {
        let file = self.open("data", 0)?;
        let page = pattern(1);
        let (ino, before) = (self.ino(&file)?, charged("write_bytes")?);
        let phase = self.act(SEQUENTIAL_WRITES);
        let calls = self.size / PAGE;
        for call in 0..calls {
            self.stage.check()?;
            file.write_all_at(&page, call * PAGE)
                .context("could not write")?;
        }
        file.sync_all().context("could not synchronise")?;
        self.settle()?;
        let charged = charged("write_bytes")? - before;
        self.tell(part(SEQUENTIAL_WRITES, phase, ino, calls, charged))
    }

    /// The control: each must be one request.
    fn direct_writes(&self) -> Result<()> {
        let file = self.open("data", libc::O_DIRECT)?;
        let (buffer, from) = aligned(2);
        let (ino, before) = (self.ino(&file)?, charged("write_bytes")?);
        let phase = self.act(DIRECT_WRITES);
        for call in 0..SINGLE {
            let page = &buffer[from..from + PAGE as usize];
            file.write_all_at(page, call * PAGE)
                .context("could not write past the cache")?;
        }
        self.settle()?;
        let charged = charged("write_bytes")? - before;
        self.tell(part(DIRECT_WRITES, phase, ino, SINGLE, charged))
    }

    fn sequential_reads(&self) -> Result<()> {
        let file = self.open("data", 0)?;
        let ino = self.ino(&file)?;
        let mut page = vec![0; PAGE as usize];
        let before = charged("read_bytes")?;
        let phase = self.act(FIRST_READ);
        file.read_exact_at(&mut page, 0).context("could not read")?;
        self.settle()?;
        let first = charged("read_bytes")?;
        self.tell(part(FIRST_READ, phase, ino, 1, first - before))?;
        let phase = self.act(SEQUENTIAL_READS);
        let calls = self.size.min(READ) / PAGE;
        for call in 1..calls {
            self.stage.check()?;
            file.read_exact_at(&mut page, call * PAGE)
                .context("could not read")?;
        }
        self.settle()?;
        let charged = charged("read_bytes")? - first;
        self.tell(part(SEQUENTIAL_READS, phase, ino, calls - 1, charged))
    }

    /// The control: nothing is read ahead.
    fn random_reads(&self) -> Result<()> {
        let file = self.open("data", 0)?;
        fadvise(&file, 0, None, Advice::Random).context("could not say that reads are random")?;
        let mut page = vec![0; PAGE as usize];
        let (ino, before) = (self.ino(&file)?, charged("read_bytes")?);
        let phase = self.act(RANDOM_READS);
        for call in 0..SINGLE {
            let at = call * STRIDE * PAGE;
            file.read_exact_at(&mut page, at)
                .context("could not read")?;
        }
        self.settle()?;
        let charged = charged("read_bytes")? - before;
        self.tell(part(RANDOM_READS, phase, ino, SINGLE, charged))
    }

    /// Processes that write and sync nothing, so that somebody else does.
    fn writers(&self) -> Result<()> {
        let raw = self.disk.fs() == Fs::Raw;
        let names: &[(&str, &std::ffi::CStr)] = match raw {
            // All pages of a device are one inode's, which knows its last writer only.
            true => &[("", c"writer-a")],
            false => &[("a", c"writer-a"), ("b", c"writer-b")],
        };
        let files: Vec<File> = names
            .iter()
            .map(|(name, _)| self.open(name, 0))
            .collect::<Result<_>>()?;
        let phase = self.act(WRITERS);
        let mut written = Vec::new();
        for (file, (_, name)) in files.iter().zip(names) {
            written.push(self.writer(file, name, phase)?);
        }
        match raw {
            true => files[0].sync_all().context("could not synchronise")?,
            false => {
                let root = File::open(self.disk.mountpoint().context("not mounted")?)?;
                syncfs(root.as_fd()).context("could not synchronise")?;
            }
        }
        self.settle()?;
        written.into_iter().try_for_each(|part| self.tell(part))
    }

    fn writer(&self, file: &File, name: &std::ffi::CStr, phase: u32) -> Result<Part> {
        let page = pattern(3);
        let (wait, release) = pipe_with(PipeFlags::CLOEXEC)?;
        let (told, tell) = pipe_with(PipeFlags::CLOEXEC)?;
        let write = || {
            set_name(name);
            let mut all = true;
            for call in 0..DIRTIED {
                all &= rustix::io::pwrite(file, &page, call * PAGE) == Ok(page.len());
            }
            all &= rustix::io::write(&tell, &[u8::from(all)]).is_ok();
            let mut byte = [0];
            // Until its accounts are read.
            let _released = rustix::io::read(&wait, &mut byte);
            i32::from(!all)
        };
        // SAFETY: system calls on descriptors and memory made before.
        let mut child = unsafe { Child::fork(write) }.context("could not fork a writer")?;
        let mut byte = [0];
        rustix::io::read(&told, &mut byte).context("a writer does not answer")?;
        if byte[0] != 1 {
            bail!("a writer could not write");
        }
        let account = fs::read_to_string(format!("/proc/{}/io", child.pid()))?;
        let charged = field(&account, "write_bytes")?;
        rustix::io::write(&release, &[1]).context("a writer is gone")?;
        child
            .wait(Duration::from_secs(10))
            .context("a writer hangs")?;
        Ok(Part {
            pid: child.pid(),
            comm: name.to_string_lossy().into_owned(),
            ..part(WRITERS, phase, self.ino(file)?, DIRTIED, charged)
        })
    }
}

/// Of the calling thread.
fn part(name: &str, phase: u32, ino: u64, calls: u64, charged: u64) -> Part {
    Part {
        name: name.to_owned(),
        phase,
        pid: rustix::thread::gettid()
            .as_raw_nonzero()
            .get()
            .unsigned_abs(),
        comm: "script".to_owned(),
        ino,
        calls,
        bytes: calls * PAGE,
        charged,
    }
}

fn pattern(byte: u8) -> Vec<u8> {
    vec![byte; PAGE as usize]
}

/// Memory with a page in it that begins where O_DIRECT wants it, and where.
fn aligned(byte: u8) -> (Vec<u8>, usize) {
    let buffer = vec![byte; 2 * PAGE as usize];
    let at = buffer.as_ptr().align_offset(PAGE as usize);
    (buffer, at)
}

/// What the calling thread is charged with so far.
fn charged(name: &str) -> Result<u64> {
    let account =
        fs::read_to_string("/proc/thread-self/io").context("no accounts of this thread")?;
    field(&account, name)
}

fn field(account: &str, name: &str) -> Result<u64> {
    let value = account.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        (key == name).then(|| value.trim().parse().ok()).flatten()
    });
    value.with_context(|| format!("no {name} in the account"))
}
