//! Labs about the page cache: a file (or a device) of the lab's own, and one step after the other done to it.
//!
//! Around each step all that is known of pages is read: what the instrument counted, /proc/meminfo, the
//! task's own faults and I/O, what mincore(2) says is in memory. A step's mark holds what it did by its own
//! account and what grew: the fold needs nothing else.

mod act;
mod witness;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use probes_common::pages::{FileKey, owner};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use act::*;
pub use witness::{CacheStat, Memory, TaskIo, resident};

use super::disk::{Disk, Fs};
use super::script::Stage;
use super::shared::now;
use crate::instrument::pages::Pages;

/// Name of a [`Step`]'s mark.
pub const STEP: &str = "step";
/// What the file system lacks here: `{ fs, why }`.
pub const LACKING: &str = "lacking";
pub const PAGE: u64 = 4096;

/// One thing done to the file, and all that was counted meanwhile.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub name: String,
    pub begun: u64,
    pub ended: u64,
    pub did: Did,
    pub pages: Pages,
    pub memory: Memory,
    pub io: TaskIo,
    /// Pages of the file in memory afterwards.
    pub resident: u64,
    /// The same by cachestat(2), where there is one.
    pub cachestat: Option<CacheStat>,
}

/// By the script's own account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Did {
    pub calls: u64,
    pub bytes: u64,
    /// Pages that the bytes lie in, asked for once each.
    pub pages: u64,
    /// Thread group of a program that did it; 0 = the script itself.
    pub tgid: u32,
}

/// The file that the steps are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub fs: FsName,
    pub dev: u32,
    pub ino: u64,
    pub bytes: u64,
    /// Of the script.
    pub tgid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FsName {
    Ext4,
    Xfs,
    Raw,
}

impl FsName {
    pub const ALL: [FsName; 3] = [FsName::Ext4, FsName::Xfs, FsName::Raw];

    pub fn name(self) -> &'static str {
        self.fs().name()
    }

    pub fn fs(self) -> Fs {
        match self {
            FsName::Ext4 => Fs::Ext4,
            FsName::Xfs => Fs::Xfs,
            FsName::Raw => Fs::Raw,
        }
    }

    pub fn owner(self) -> u32 {
        match self {
            FsName::Raw => owner::DEVICE,
            _ => owner::FILE,
        }
    }
}

impl Subject {
    pub const NAME: &'static str = "subject";

    pub fn key(&self) -> FileKey {
        FileKey {
            ino: self.ino,
            dev: self.dev,
            owner: self.fs.owner(),
        }
    }
}

/// The bench on which steps are done.
pub struct Bench<'a> {
    pub stage: &'a Stage,
    pub disk: Disk,
    pub path: PathBuf,
    pub bytes: u64,
    fs: FsName,
}

impl<'a> Bench<'a> {
    /// A disk with room for a file of `bytes`; None = this machine lacks the file system, which is noted.
    ///
    /// # Errors
    /// The disk cannot be made.
    pub fn new(stage: &'a Stage, fs: FsName, bytes: u64) -> Result<Option<Bench<'a>>> {
        if let Some(why) = super::disk::lacks(fs.fs()) {
            stage.note(LACKING, json!({ "fs": fs, "why": why }));
            return Ok(None);
        }
        let disk = Disk::new(disk_bytes(fs, bytes), fs.fs())?;
        let path = disk.file("data");
        Ok(Some(Bench {
            stage,
            disk,
            path,
            bytes,
            fs,
        }))
    }

    /// Tells the fold which file it is about. The file must be there.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn introduce(&self) -> Result<()> {
        let meta = std::fs::metadata(&self.path).context("could not look at the lab's file")?;
        let subject = Subject {
            fs: self.fs,
            dev: self.disk.dev(),
            ino: if self.fs == FsName::Raw {
                0
            } else {
                meta.ino()
            },
            bytes: self.bytes,
            tgid: std::process::id(),
        };
        self.stage
            .note(Subject::NAME, serde_json::to_value(subject)?);
        Ok(())
    }

    /// # Errors
    /// It cannot be opened.
    pub fn open(&self, write: bool) -> Result<File> {
        OpenOptions::new()
            .read(true)
            .write(write)
            .create(write && self.fs != FsName::Raw)
            .custom_flags(libc::O_CLOEXEC)
            .open(&self.path)
            .with_context(|| format!("could not open {}", self.path.display()))
    }

    pub fn fs(&self) -> FsName {
        self.fs
    }

    /// Does one step and notes what came of it.
    ///
    /// # Errors
    /// The step's own, or what was counted cannot be read.
    pub fn step(&self, name: &str, act: impl FnOnce(&Path) -> Result<Did>) -> Result<Step> {
        let stage = self.stage;
        stage.check()?;
        let dev = self.disk.dev();
        let io = TaskIo::read()?;
        let memory = Memory::read()?;
        let pages = stage.view().pages()?;
        stage.act("begin", json!({ "step": name }));
        let begun = now();
        let did = act(&self.path).with_context(|| format!("step {name}"))?;
        let ended = now();
        let mut grown = stage.view().pages()?.since(&pages);
        let memory = Memory::read()?.since(&memory);
        let io = TaskIo::read()?.since(&io);
        grown
            .rows
            .retain(|row| row.dev == dev || row.owner == owner::NONE);
        let (resident, cachestat) = match File::open(&self.path) {
            Ok(file) => witness::resident(&file, self.bytes)?,
            Err(_) => (0, None),
        };
        let step = Step {
            name: name.to_owned(),
            begun,
            ended,
            did,
            pages: grown,
            memory,
            io,
            resident,
            cachestat,
        };
        stage.note(STEP, serde_json::to_value(&step)?);
        Ok(step)
    }

    /// All pages of the file leave the cache.
    ///
    /// # Errors
    /// The file is in use, or the file system does not come back.
    pub fn chill(&self) -> Result<()> {
        self.disk.chill()
    }
}

/// With room for what the file system needs itself.
fn disk_bytes(fs: FsName, bytes: u64) -> u64 {
    let bytes = bytes.next_multiple_of(1 << 20);
    match fs {
        FsName::Raw => bytes,
        FsName::Ext4 => bytes + bytes / 8 + (32 << 20),
        FsName::Xfs => bytes + bytes / 8 + (96 << 20),
    }
}
