//! Hot files beside a stream that is larger than the memory of its group: through the cache, and past it.
//!
//! Two processes of the group, one after the other: the first reads the hot files, the second the stream.
//! What is in memory is asked from outside (mincore), before and after; a page belongs to the group that
//! brought it in first.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};

use anyhow::{Context as _, Result, bail};
use probes_common::pages::{Count, owner};
use rustix::io::pread;
use serde_json::json;

use super::marks::{HOT, Hot};
use super::script::{Aligned, PIECE};
use crate::lab::child::Child;
use crate::lab::memory_group::{MemoryGroup, join};
use crate::lab::pages::{self, Bench, FsName, LACKING, resident};
use crate::lab::script::Stage;

pub const FILES: u64 = 64;
pub const FILE_BYTES: u64 = 64 << 10;
/// Room for the hot files four times, and a quarter of the shortest stream.
pub const LIMIT: u64 = 16 << 20;

/// The stream is `bytes` long.
pub fn files(stage: &Stage, bytes: u64) -> Result<()> {
    let room = bytes + FILES * FILE_BYTES;
    let Some(bench) = Bench::new(stage, FsName::Ext4, room)? else {
        return Ok(());
    };
    pages::write(&bench.open(true)?, bytes, PIECE)?;
    for number in 0..FILES {
        std::fs::write(bench.disk.file(&name(number)), vec![7; FILE_BYTES as usize])
            .context("could not write a hot file")?;
    }
    for (direct, touched) in [(false, 1), (false, 2), (true, 1), (true, 2)] {
        bench.chill()?;
        let group = match MemoryGroup::new(LIMIT) {
            Ok(group) => group,
            Err(error) => {
                let why = format!("{error:#}");
                stage.note(LACKING, json!({ "fs": "ext4", "why": why }));
                return Ok(());
            }
        };
        let data = json!({ "direct": direct, "touched": touched });
        stage.act("stream", data);
        let hot = one(stage, &bench, &group, (direct, touched), bytes)?;
        stage.note(HOT, serde_json::to_value(hot)?);
    }
    Ok(())
}

fn name(number: u64) -> String {
    format!("hot-{number}")
}

fn one(
    stage: &Stage,
    bench: &Bench<'_>,
    group: &MemoryGroup,
    (direct, touched): (bool, u32),
    bytes: u64,
) -> Result<Hot> {
    let hot: Vec<File> = (0..FILES)
        .map(|number| File::open(bench.disk.file(&name(number))))
        .collect::<std::io::Result<_>>()
        .context("could not open the hot files")?;
    let flags = if direct { libc::O_DIRECT } else { 0 };
    let mut options = File::options();
    let stream = options.read(true).custom_flags(flags).open(&bench.path);
    let stream = stream.context("could not open the stream")?;
    let mut piece = Aligned::new(PIECE);
    let buffer = piece.bytes();

    let inodes: Vec<u64> = hot
        .iter()
        .map(|file| Ok(file.metadata()?.ino()))
        .collect::<Result<_>>()?;
    member(stage, group, || {
        let all = (0..touched).flat_map(|_| hot.iter());
        all.map(File::as_fd)
            .all(|file| whole(file, buffer, FILE_BYTES))
    })?;
    let cached = |group: &MemoryGroup| match group.version() {
        1 => group.stat("cache"),
        _ => group.stat("file"),
    };
    let (cached_before_bytes, before) = (cached(group)?, in_memory(&hot)?);
    let counted = stage.view().pages()?;
    let reader = member(stage, group, || whole(stream.as_fd(), buffer, bytes))?;
    let grown = stage.view().pages()?.since(&counted);
    let dropped = grown.rows.iter().filter(|row| {
        row.owner == owner::FILE && row.dev == bench.disk.dev() && inodes.contains(&row.ino)
    });
    let foreign = dropped.filter(|row| row.tgid != reader);
    let foreign = foreign.map(|row| row.get(Count::deleted)).sum();
    let (cached_after_bytes, after) = (cached(group)?, in_memory(&hot)?);
    Ok(Hot {
        direct,
        touched,
        files: FILES,
        before: before.0,
        after: after.0,
        pages_before: before.1,
        pages_after: after.1,
        dropped_by_others: foreign,
        pages: FILES * FILE_BYTES / pages::PAGE,
        stream_bytes: bytes,
        limit_bytes: LIMIT,
        cached_before_bytes,
        cached_after_bytes,
        mglru: mglru(),
        group_version: group.version(),
    })
}

/// Runs in a process of the group, to its end; returns its pid.
fn member(stage: &Stage, group: &MemoryGroup, act: impl FnOnce() -> bool) -> Result<u32> {
    // SAFETY: system calls on memory and descriptors made before.
    let child = unsafe {
        Child::fork(|| {
            let joined = join(group.members()).is_ok();
            i32::from(!(joined && act()))
        })
    };
    let mut child = child.context("could not fork")?;
    let pid = child.pid();
    let status = child
        .wait(stage.budget())
        .context("a member of the group")?;
    match status.and_then(|status| status.exit_status()) {
        Some(0) => Ok(pid),
        Some(_) => bail!("a member of the group could not read"),
        None => bail!("a member of the group was killed or did not end"),
    }
}

fn whole(file: BorrowedFd<'_>, buffer: &mut [u8], bytes: u64) -> bool {
    let mut at = 0;
    while at < bytes {
        match pread(file, &mut *buffer, at) {
            Ok(0) | Err(_) => return false,
            Ok(got) => at += got as u64,
        }
    }
    true
}

/// Files with all their pages, and pages.
fn in_memory(files: &[File]) -> Result<(u64, u64)> {
    let (mut whole, mut all) = (0, 0);
    for file in files {
        let (there, _) = resident(file, FILE_BYTES)?;
        whole += u64::from(there == FILE_BYTES / pages::PAGE);
        all += there;
    }
    Ok((whole, all))
}

/// Is reclaim that of generations? None = this kernel does not tell.
fn mglru() -> Option<bool> {
    let text = std::fs::read_to_string("/sys/kernel/mm/lru_gen/enabled").ok()?;
    let bits = text.trim().trim_start_matches("0x");
    u32::from_str_radix(bits, 16).ok().map(|bits| bits & 1 != 0)
}
