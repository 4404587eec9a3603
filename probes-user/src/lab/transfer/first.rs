//! How much of a cold file is in memory after its first piece was asked for: read-ahead, by mincore.

use std::os::fd::AsRawFd as _;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::method::{CHUNK, moved};
use super::source::Source;
use crate::lab::mapping::Mapping;
use crate::lab::script::Stage;

pub const CASE: &str = "cold/first-piece";
pub const FIRST: &str = "first-piece";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct First {
    pub by: String,
    pub asked_pages: u64,
    /// In memory when nothing more came.
    pub resident_pages: u64,
}

type Way = fn(&Source) -> Result<()>;

pub fn pieces(stage: &Stage, source: &Source) -> Result<()> {
    let ways: [(&str, Way); 3] = [("read", read), ("sendfile", sendfile), ("mmap", touch)];
    for (by, way) in ways {
        super::cool(stage, source)?;
        way(source)?;
        let mut last = 0;
        // Pages under way are not there yet.
        let resident_pages = stage.wait("no more pages come in", || {
            let now = source.resident()?;
            let settled = now > 0 && now == last;
            last = now;
            Ok(settled.then_some(now))
        })?;
        let first = First {
            by: by.to_owned(),
            asked_pages: if by == "mmap" {
                1
            } else {
                (CHUNK / 4096) as u64
            },
            resident_pages,
        };
        stage.note(FIRST, serde_json::to_value(first)?);
    }
    Ok(())
}

fn read(source: &Source) -> Result<()> {
    use std::io::Read as _;
    source
        .open()?
        .read_exact(&mut [0; CHUNK])
        .context("could not read the first piece")
}

/// Its connection ends with it: a packet nobody has read keeps its pages in memory.
fn sendfile(source: &Source) -> Result<()> {
    let (socket, _peer) = super::connected(false)?;
    let file = source.open()?;
    // SAFETY: no memory is passed.
    let put = unsafe {
        libc::sendfile(
            socket.as_raw_fd(),
            file.as_raw_fd(),
            std::ptr::null_mut(),
            CHUNK,
        )
    };
    moved("sendfile", put).map(|_| ())
}

fn touch(source: &Source) -> Result<()> {
    let map = Mapping::new(&source.open()?, source.size)?;
    std::hint::black_box(map.bytes().first().copied());
    Ok(())
}
