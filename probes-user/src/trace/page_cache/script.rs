//! The steps: write and write back; then cold, warm, ahead, at random, by mmap; each pass from a cold start
//! where it says so.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::lab::pages::{Bench, Did, FsName, copy, dd, read, read_scattered, touch, write};
use crate::lab::script::{Case, Stage};

const BUDGET: Duration = Duration::from_secs(60);
/// Bytes of one call.
pub const PIECE: usize = 64 << 10;
/// Read before the reader stops.
pub const STOP_AFTER: u64 = 1 << 20;
/// Written again for the flusher.
pub const AGAIN: u64 = 1 << 20;
const SMALL: usize = 16 << 10;
pub const SCATTERED: u64 = 128;

pub fn case(fs: FsName, bytes: u64) -> Case {
    Case::new(fs.name(), BUDGET, move |stage| script(stage, fs, bytes)).watched()
}

fn script(stage: &Stage, fs: FsName, bytes: u64) -> Result<()> {
    let Some(bench) = Bench::new(stage, fs, bytes)? else {
        return Ok(());
    };
    // There before the first step, so that it can be told which file it is.
    drop(bench.open(true)?);
    bench.introduce()?;
    stage.progress(0, 4);
    writing(&bench)?;
    stage.progress(1, 4);
    passes(&bench)?;
    stage.progress(2, 4);
    ahead(&bench)?;
    stage.progress(3, 4);
    mapped(&bench)?;
    bench.chill()?;
    truncated(&bench)
}

fn writing(bench: &Bench<'_>) -> Result<()> {
    let file = bench.open(true)?;
    // One step around both: the flusher may be at work between the two.
    bench.step("written", |_| {
        bench.step("write", |_| write(&file, bench.bytes, PIECE))?;
        bench.step("fsync", |_| {
            file.sync_all().context("fsync")?;
            Ok(Did::default())
        })?;
        Ok(Did::default())
    })?;
    if bench.fs() != FsName::Raw {
        bench.step("rewritten", |_| {
            bench.step("rewrite", |_| write(&file, AGAIN, PIECE))?;
            bench.step("syncfs", |_| {
                rustix::fs::syncfs(&file).context("syncfs")?;
                Ok(Did::default())
            })?;
            Ok(Did::default())
        })?;
    }
    Ok(())
}

fn passes(bench: &Bench<'_>) -> Result<()> {
    bench.chill()?;
    // One step around both: what reclaim takes in between is seen.
    bench.step("twice", |_| {
        for step in ["cold", "warm"] {
            let file = bench.open(false)?;
            bench.step(step, |_| read(&file, bench.bytes, PIECE))?;
        }
        Ok(Did::default())
    })?;
    let Some(dd) = dd() else {
        return Ok(());
    };
    bench.chill()?;
    let null = std::path::Path::new("/dev/null");
    bench.step("dd-twice", |_| {
        for step in ["dd-cold", "dd-warm"] {
            bench.step(step, |path| {
                copy(&dd, path, null, bench.bytes, PIECE as u64)
            })?;
        }
        Ok(Did::default())
    })?;
    Ok(())
}

fn ahead(bench: &Bench<'_>) -> Result<()> {
    bench.chill()?;
    let file = bench.open(false)?;
    bench.step("stop", |_| {
        let did = read(&file, STOP_AFTER, SMALL)?;
        // What is still on its way is not in memory by mincore, and cannot be thrown out.
        let idle = || Ok(idle(bench)?.then_some(()));
        bench.stage.wait("the device is idle", idle)?;
        Ok(did)
    })?;
    drop(file);
    bench.step("forget", |_| {
        bench.chill()?;
        Ok(Did::default())
    })?;
    let file = bench.open(false)?;
    let (pages, mut at) = (bench.bytes / crate::lab::pages::PAGE, Vec::new());
    for number in 0..SCATTERED.min(pages / 4) {
        // An odd step through all pages: none twice, none beside the one before.
        at.push(number * 4 * 7919 % (pages / 4 * 4));
    }
    at.sort_unstable();
    at.dedup();
    bench.step("random", |_| read_scattered(&file, &at))?;
    Ok(())
}

fn idle(bench: &Bench<'_>) -> Result<bool> {
    const IN_FLIGHT: usize = 8;
    Ok(bench.disk.stat()?.get(IN_FLIGHT) == Some(&0))
}

fn mapped(bench: &Bench<'_>) -> Result<()> {
    bench.chill()?;
    let file = bench.open(false)?;
    bench.step("map-twice", |_| {
        bench.step("map-cold", |_| touch(&file, bench.bytes))?;
        bench.step("map-warm", |_| touch(&file, bench.bytes))?;
        Ok(Did::default())
    })?;
    Ok(())
}

/// A file that shrinks under its reader: what is counted is what was delivered.
fn truncated(bench: &Bench<'_>) -> Result<()> {
    if bench.fs() == FsName::Raw {
        return Ok(());
    }
    let file = bench.open(true)?;
    let half = bench.bytes / 2;
    bench.step("truncate", |_| {
        let begun = read(&file, half / 2, PIECE)?;
        file.set_len(half).context("ftruncate")?;
        let rest = read(&file, bench.bytes, PIECE)?;
        Ok(Did {
            calls: begun.calls + rest.calls,
            bytes: begun.bytes + rest.bytes,
            pages: begun.pages + rest.pages,
            tgid: 0,
        })
    })?;
    bench.step("empty", |_| {
        file.set_len(0).context("ftruncate")?;
        read(&file, bench.bytes, PIECE)
    })?;
    Ok(())
}
