//! The file that is sent: made once for all cases of a run, its pages in memory before each.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use anyhow::{Context, Result, bail};

use super::content::{Sum, fill};
use crate::lab::mapping::Mapping;

pub const PIECE: usize = 1 << 20;

pub struct Source {
    /// None = closed.
    file: Option<File>,
    /// `memfd`, or the file system's name.
    pub kind: &'static str,
    pub size: u64,
    pub inode: u64,
    /// Of all its bytes.
    pub sum: u64,
}

impl Source {
    /// A file in memory that has no name.
    ///
    /// # Errors
    /// No memory.
    pub fn memfd(size: u64) -> Result<Source> {
        // SAFETY: makes a descriptor of its own.
        let fd = unsafe { libc::memfd_create(c"transfer".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error()).context("could not make a file in memory");
        }
        // SAFETY: made just now, nobody else's.
        Source::fill(unsafe { File::from_raw_fd(fd) }, "memfd", size)
    }

    /// Writes the content into an empty file.
    ///
    /// # Errors
    /// The disk is full, or whatever else the kernel says.
    pub fn fill(file: File, kind: &'static str, size: u64) -> Result<Source> {
        let mut sum = Sum::default();
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        while at < size {
            let len = usize::try_from(size - at).unwrap_or(PIECE).min(PIECE);
            fill(&mut piece[..len], at);
            sum.add(&piece[..len]);
            file.write_all_at(&piece[..len], at)
                .with_context(|| format!("could not write the file of {size} bytes at {at}"))?;
            at += len as u64;
        }
        file.sync_all().context("could not sync the file")?;
        let inode = file.metadata().context("could not stat the file")?.ino();
        Ok(Source {
            file: Some(file),
            kind,
            size,
            inode,
            sum: sum.value(),
        })
    }

    fn file(&self) -> Result<&File> {
        self.file.as_ref().context("the file is closed")
    }

    pub fn close(&mut self) {
        self.file = None;
    }

    /// A descriptor with an offset of its own.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(&self) -> Result<File> {
        let path = format!("/proc/self/fd/{}", self.file()?.as_raw_fd());
        let opened = OpenOptions::new().read(true).open(path);
        opened.context("could not open the file again")
    }

    /// Has every page in memory.
    ///
    /// # Errors
    /// The kernel's.
    pub fn warm(&self) -> Result<()> {
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        while at < self.size {
            let got = self
                .file()?
                .read_at(&mut piece, at)
                .context("could not read the file")?;
            if got == 0 {
                bail!("the file ends at {at} of {} bytes", self.size);
            }
            at += got as u64;
        }
        Ok(())
    }

    /// Asks the kernel to forget every page; says how many are there still.
    ///
    /// # Errors
    /// The kernel's.
    pub fn cool(&self) -> Result<u64> {
        // SAFETY: takes numbers only.
        let code = unsafe {
            libc::posix_fadvise(self.file()?.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED)
        };
        if code != 0 {
            return Err(std::io::Error::from_raw_os_error(code)).context("posix_fadvise");
        }
        self.resident()
    }

    /// Pages in memory, by mincore.
    ///
    /// # Errors
    /// The kernel's.
    pub fn resident(&self) -> Result<u64> {
        Mapping::new(self.file()?, self.size)?.resident()
    }
}
