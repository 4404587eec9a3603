//! The dd pair: a file written on a mounted file system, a block device read raw; by the script and by dd.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::lab::pages::{Bench, FsName, copy, dd, read, write};
use crate::lab::script::{Case, Stage};

const BUDGET: Duration = Duration::from_secs(60);
const PIECE: usize = 64 << 10;

pub fn case(fs: FsName, bytes: u64) -> Case {
    Case::new(fs.name(), BUDGET, move |stage| script(stage, fs, bytes)).watched()
}

fn script(stage: &Stage, fs: FsName, bytes: u64) -> Result<()> {
    let Some(bench) = Bench::new(stage, fs, bytes)? else {
        return Ok(());
    };
    drop(bench.open(true)?);
    bench.introduce()?;
    match fs {
        FsName::Raw => device(&bench),
        _ => file(&bench),
    }
}

fn file(bench: &Bench<'_>) -> Result<()> {
    let file = bench.open(true)?;
    bench.step("write", |_| write(&file, bench.bytes, PIECE))?;
    if let Some(dd) = dd() {
        file.set_len(0).context("ftruncate")?;
        let zero = Path::new("/dev/zero");
        bench.step("dd-write", |path| {
            copy(&dd, zero, path, bench.bytes, PIECE as u64)
        })?;
    }
    Ok(())
}

/// The disk itself holds the device open, so that its pages stay.
fn device(bench: &Bench<'_>) -> Result<()> {
    bench.chill()?;
    let file = bench.open(false)?;
    bench.step("read", |_| read(&file, bench.bytes, PIECE))?;
    drop(file);
    if let Some(dd) = dd() {
        bench.chill()?;
        let null = Path::new("/dev/null");
        bench.step("dd-read", |path| {
            copy(&dd, path, null, bench.bytes, PIECE as u64)
        })?;
    }
    Ok(())
}
