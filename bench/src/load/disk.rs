//! Work for a disk and for the page cache, on a file without a name that goes with the process.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};

const PAGE: usize = 4096;
const PAGES: u64 = 4096;

type Work = Box<dyn FnMut(u64) -> Result<()>>;

#[repr(C, align(4096))]
struct Aligned([u8; PAGE]);

fn unnamed(folder: &Path, flags: i32) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE | flags)
        .open(folder);
    file.with_context(|| format!("could not make a file in {}", folder.display()))
}

/// Single pages of the file past the page cache, in an order that no read-ahead guesses.
pub fn reads(folder: &Path) -> Result<Work> {
    let mut file = unnamed(folder, 0)?;
    for _ in 0..PAGES {
        file.write_all(&[7; PAGE])?;
    }
    file.sync_all().context("could not write the file")?;
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let mut options = OpenOptions::new();
    let direct = options.read(true).custom_flags(libc::O_DIRECT).open(path);
    let direct = direct.context("the file system knows no O_DIRECT")?;
    let (mut page, mut at) = (Box::new(Aligned([0; PAGE])), 1u64);
    Ok(Box::new(move |count| {
        let _held = &file;
        for _ in 0..count {
            at = (at * 1103 + 12345) % PAGES;
            direct.read_exact_at(&mut page.0, at * PAGE as u64)?;
        }
        Ok(())
    }))
}

/// Pages that come into the page cache by writing, and go before they are written back.
pub fn pages(folder: &Path) -> Result<Work> {
    let file = unnamed(folder, 0)?;
    let page = [7; PAGE];
    Ok(Box::new(move |count| {
        for number in 0..count {
            file.write_all_at(&page, number * PAGE as u64)?;
        }
        file.set_len(0)?;
        Ok(())
    }))
}
