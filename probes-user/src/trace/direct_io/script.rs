//! The scripts about one file: read through the cache and past it, alone and queued, and where it cannot be.
//!
//! Every step begins with a cold file whose extents have been read before, so that what the disk does is what
//! the step asked for.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::marks::{DISK, DiskGrowth, NOT_TRIED, TRIED, Tried};
use crate::lab::pages::{self, Bench, Did, FsName, PAGE};
use crate::lab::ring::{self, Ring};
use crate::lab::script::Stage;

/// Bytes of one read of the stream.
pub const PIECE: usize = 64 << 10;
/// Reads of one page each, one after the other or all queued at once.
pub const SMALL_READS: u64 = 32;
/// One read that no request has room for.
pub const LARGE: usize = 4 << 20;
const SECTOR: u64 = 512;
/// FS_IOC_GETFLAGS, FS_IOC_SETFLAGS and FS_JOURNAL_DATA_FL (include/uapi/linux/fs.h).
const GETFLAGS: libc::c_ulong = 0x8008_6601;
const SETFLAGS: libc::c_ulong = 0x4008_6602;
const JOURNAL_DATA: libc::c_int = 0x4000;
/// EXT4_EXTENTS_FL
const EXTENTS: libc::c_int = 0x8_0000;

pub const BUFFERED: &str = "buffered stream";
pub const DIRECT: &str = "direct stream";
pub const AHEAD: &str = "buffered, one read";
pub const NO_AHEAD: &str = "direct, one read";
pub const SINGLE: &str = "direct, one by one";
pub const QUEUED: &str = "direct, queued";
pub const ONE_LARGE: &str = "direct, one large read";
pub const ODD_BUFFER: &str = "odd address";
pub const ODD_LENGTH: &str = "odd length";
pub const HOLE: &str = "write into a hole";
pub const OVERWRITE: &str = "overwrite";
pub const APPEND: &str = "write at the end";
pub const JOURNALLED_READ: &str = "read, data journalled";
pub const JOURNALLED_WRITE: &str = "write, data journalled";

/// Memory aligned as every O_DIRECT wants it.
pub struct Aligned(Vec<u8>, usize);

impl Aligned {
    pub fn new(len: usize) -> Aligned {
        let bytes = vec![0; len + PAGE as usize];
        let at = bytes.as_ptr().align_offset(PAGE as usize);
        Aligned(bytes, at)
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        let end = self.0.len() - PAGE as usize + self.1;
        &mut self.0[self.1..end]
    }
}

struct Steps<'a> {
    bench: Bench<'a>,
    stage: &'a Stage,
}

pub fn file(stage: &Stage, fs: FsName, bytes: u64) -> Result<()> {
    let Some(bench) = Bench::new(stage, fs, bytes)? else {
        return Ok(());
    };
    let fill = bench.open(true)?;
    pages::write(&fill, bytes, PIECE)?;
    fill.sync_all().context("could not write the file back")?;
    drop(fill);
    bench.introduce()?;
    let steps = Steps { bench, stage };
    steps.streams()?;
    steps.single_reads()?;
    steps.fallbacks()
}

impl Steps<'_> {
    fn step(&self, name: &str, act: impl FnOnce(&Path) -> Result<Did>) -> Result<()> {
        let before = self.bench.disk.stat()?;
        self.bench.step(name, act)?;
        let after = self.bench.disk.stat()?;
        let grown = |at: usize| {
            let cell = |stat: &[u64]| stat.get(at).copied().unwrap_or_default();
            cell(&after).saturating_sub(cell(&before))
        };
        let growth = DiskGrowth {
            step: name.to_owned(),
            reads: grown(0),
            read_merges: grown(1),
            read_bytes: grown(2) * SECTOR,
            written_bytes: grown(6) * SECTOR,
            max_request_bytes: self.bench.disk.queue("max_sectors_kb")? << 10,
        };
        self.stage.note(DISK, serde_json::to_value(growth)?);
        Ok(())
    }

    /// Cold, but for the file's own map of blocks: the last block is read past the cache.
    fn cold(&self) -> Result<()> {
        self.bench.chill()?;
        let mut block = Aligned::new(PAGE as usize);
        let file = self.direct()?;
        read_at(&file, block.bytes(), self.bench.bytes - PAGE)?;
        Ok(())
    }

    fn direct(&self) -> Result<File> {
        direct(&self.bench.path)
    }

    fn streams(&self) -> Result<()> {
        let bytes = self.bench.bytes;
        self.cold()?;
        self.step(BUFFERED, |path| {
            let file = File::open(path)?;
            pages::read(&file, bytes, PIECE)
        })?;
        self.cold()?;
        self.step(DIRECT, |path| stream(&direct(path)?, bytes))
    }

    fn single_reads(&self) -> Result<()> {
        self.cold()?;
        self.step(AHEAD, |path| {
            let file = File::open(path)?;
            pages::read(&file, 4 * PAGE, PAGE as usize)
        })?;
        self.cold()?;
        self.step(NO_AHEAD, |path| {
            let file = direct(path)?;
            one_by_one(&file, 4)
        })?;
        self.cold()?;
        self.step(SINGLE, |path| one_by_one(&direct(path)?, SMALL_READS))?;
        self.cold()?;
        self.step(QUEUED, |path| queued(self.stage, &direct(path)?))?;
        self.cold()?;
        self.step(ONE_LARGE, |path| {
            let mut large = Aligned::new(LARGE);
            let got = read_at(&direct(path)?, large.bytes(), 0)?;
            Ok(did(1, got))
        })
    }

    fn fallbacks(&self) -> Result<()> {
        let bytes = self.bench.bytes;
        self.cold()?;
        self.tries(ODD_BUFFER, false, |path| {
            let mut block = Aligned::new(2 * PAGE as usize);
            let odd = &mut block.bytes()[1..=PAGE as usize];
            Ok(read_at(&direct(path)?, odd, 0))
        })?;
        self.tries(ODD_LENGTH, false, |path| {
            let mut block = Aligned::new(PAGE as usize);
            Ok(read_at(&direct(path)?, &mut block.bytes()[..100], 0))
        })?;
        self.tries(HOLE, true, |path| {
            let file = direct(path)?;
            file.set_len(bytes + 16 * PAGE)?;
            let mut block = Aligned::new(PAGE as usize);
            Ok(write_at(&file, block.bytes(), bytes + 8 * PAGE))
        })?;
        self.tries(APPEND, true, |path| {
            let file = direct(path)?;
            let mut block = Aligned::new(PAGE as usize);
            Ok(write_at(&file, block.bytes(), bytes + 16 * PAGE))
        })?;
        if self.bench.fs() != FsName::Ext4 {
            return Ok(());
        }
        let refused = change_flags(&self.bench.path, |flags| flags | JOURNAL_DATA);
        if let Err(error) = refused {
            // Takes CAP_SYS_RESOURCE, which root of a container may lack.
            let why = format!("the file's data cannot be journalled here: {error}");
            self.stage.note(NOT_TRIED, json!({ "why": why }));
            return Ok(());
        }
        self.tries(JOURNALLED_READ, false, |path| {
            let mut block = Aligned::new(PAGE as usize);
            Ok(read_at(&direct(path)?, block.bytes(), PAGE))
        })?;
        self.tries(JOURNALLED_WRITE, true, |path| {
            let mut block = Aligned::new(PAGE as usize);
            Ok(write_at(&direct(path)?, block.bytes(), 64 * PAGE))
        })
    }

    /// One call that may fail.
    fn tries(
        &self,
        name: &str,
        write: bool,
        call: impl FnOnce(&Path) -> Result<std::io::Result<u64>>,
    ) -> Result<()> {
        let mut ret = 0;
        self.step(name, |path| {
            ret = match call(path)? {
                Ok(bytes) => bytes.cast_signed(),
                Err(error) => -i64::from(error.raw_os_error().unwrap_or(libc::EIO)),
            };
            Ok(did(1, u64::try_from(ret).unwrap_or(0)))
        })?;
        let tried = Tried {
            step: name.to_owned(),
            ret,
            bytes: u64::try_from(ret).unwrap_or(0),
            write,
        };
        self.stage.note(TRIED, serde_json::to_value(tried)?);
        Ok(())
    }
}

fn did(calls: u64, bytes: u64) -> Did {
    Did {
        calls,
        bytes,
        pages: bytes.div_ceil(PAGE),
        tgid: 0,
    }
}

fn direct(path: &Path) -> Result<File> {
    let mut options = File::options();
    let options = options
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT | libc::O_CLOEXEC);
    options
        .open(path)
        .with_context(|| format!("could not open {} with O_DIRECT", path.display()))
}

fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<u64> {
    std::os::unix::fs::FileExt::read_at(file, bytes, offset).map(|got| got as u64)
}

fn write_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<u64> {
    bytes.fill(0x3c);
    std::os::unix::fs::FileExt::write_at(file, bytes, offset).map(|got| got as u64)
}

fn stream(file: &File, bytes: u64) -> Result<Did> {
    let mut piece = Aligned::new(PIECE);
    let (mut calls, mut at) = (0, 0);
    while at < bytes {
        let got = read_at(file, piece.bytes(), at)?;
        if got == 0 {
            bail!("the file ends at {at} of {bytes} bytes");
        }
        at += got;
        calls += 1;
    }
    Ok(did(calls, at))
}

fn one_by_one(file: &File, count: u64) -> Result<Did> {
    let mut block = Aligned::new(PAGE as usize);
    for number in 0..count {
        read_at(file, block.bytes(), number * PAGE)?;
    }
    Ok(did(count, count * PAGE))
}

/// Neighbouring pages, all in one call of io_uring_enter.
fn queued(stage: &Stage, file: &File) -> Result<Did> {
    let count = usize::try_from(SMALL_READS)?;
    let mut ring = Ring::new(u32::try_from(count)?)?;
    let mut all = Aligned::new(count * PAGE as usize);
    for (number, block) in all.bytes().chunks_mut(PAGE as usize).enumerate() {
        let entry = ring::read(file.as_raw_fd(), block, number as u64 * PAGE);
        ring.push(&entry.user_data(number as u64))?;
    }
    ring.submit().context("io_uring_enter")?;
    let reaped = ring.reap(stage, count)?;
    let bytes: i64 = reaped.iter().map(|entry| i64::from(entry.res)).sum();
    if bytes.cast_unsigned() != SMALL_READS * PAGE {
        bail!("{bytes} bytes of {} read", SMALL_READS * PAGE);
    }
    Ok(did(1, SMALL_READS * PAGE))
}

/// The file's flags as `chattr` changes them.
fn change_flags(
    path: &Path,
    change: impl FnOnce(libc::c_int) -> libc::c_int,
) -> std::io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let mut flags: libc::c_int = 0;
    // SAFETY: writes one int.
    if unsafe { libc::ioctl(file.as_raw_fd(), GETFLAGS, &raw mut flags) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    flags = change(flags);
    // SAFETY: reads one int.
    if unsafe { libc::ioctl(file.as_raw_fd(), SETFLAGS, &raw const flags) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// A file whose blocks are found by number, as ext3 made them: ext4 still writes such files.
pub fn indirect(stage: &Stage) -> Result<()> {
    let bytes = 2 * PAGE;
    let Some(bench) = Bench::new(stage, FsName::Ext4, bytes)? else {
        return Ok(());
    };
    let fill = bench.open(true)?;
    pages::write(&fill, bytes, PAGE as usize)?;
    fill.sync_all().context("could not write the file back")?;
    drop(fill);
    change_flags(&bench.path, |flags| flags & !EXTENTS)
        .context("could not do without extents (chattr -e)")?;
    bench.introduce()?;
    let steps = Steps { bench, stage };
    steps.cold()?;
    steps.step(BUFFERED, |path| {
        let file = File::open(path)?;
        pages::read(&file, bytes, PAGE as usize)
    })?;
    steps.cold()?;
    steps.tries(ODD_BUFFER, false, |path| {
        let mut block = Aligned::new(2 * PAGE as usize);
        let odd = &mut block.bytes()[1..=PAGE as usize];
        Ok(read_at(&direct(path)?, odd, 0))
    })?;
    steps.tries(OVERWRITE, true, |path| {
        let mut block = Aligned::new(PAGE as usize);
        Ok(write_at(&direct(path)?, block.bytes(), 0))
    })?;
    steps.tries(HOLE, true, |path| {
        let file = direct(path)?;
        file.set_len(8 * PAGE)?;
        let mut block = Aligned::new(PAGE as usize);
        Ok(write_at(&file, block.bytes(), 4 * PAGE))
    })
}
