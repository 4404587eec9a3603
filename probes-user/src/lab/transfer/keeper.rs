//! Keeps the disk with the file: a disk belongs to the thread that made it, and the cases run on many.

use std::fs::OpenOptions;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};

use super::source::Source;
use crate::lab::disk::{Disk, Fs};

/// The journal and all else of the file system's own.
const OVERHEAD: u64 = 48 << 20;

pub struct Keeper {
    pub source: Source,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// # Errors
    /// No room, no loop device, no mkfs; each said so.
    pub fn new(size: u64) -> Result<Keeper> {
        let (made, is_made) = channel();
        let (end, ended) = channel::<()>();
        let thread = std::thread::Builder::new()
            .name("disk".to_owned())
            .spawn(move || match on_disk(size) {
                Ok((disk, source)) => {
                    let _taken = made.send(Ok(source));
                    // Until the other side is dropped.
                    let _ended = ended.recv();
                    drop(disk);
                }
                Err(error) => {
                    let _taken = made.send(Err(error));
                }
            })
            .context("could not start a thread")?;
        let source = is_made
            .recv()
            .map_err(|_| anyhow!("the thread that makes the disk panicked"))??;
        Ok(Keeper {
            source,
            end: Some(end),
            thread: Some(thread),
        })
    }
}

fn on_disk(size: u64) -> Result<(Disk, Source)> {
    let disk = Disk::new(
        (size + size / 8 + OVERHEAD).next_multiple_of(1 << 20),
        Fs::Ext4,
    )?;
    let path = disk.file("transfer");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .with_context(|| format!("could not make {}", path.display()))?;
    let source = Source::fill(file, disk.fs().name(), size)?;
    Ok((disk, source))
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // First the file, or the device stays in use.
        self.source.close();
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}
