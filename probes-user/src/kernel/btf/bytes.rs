//! The raw bytes: mapped when sysfs allows it, else one owned buffer.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::Error;

pub(super) enum Bytes {
    Owned(Vec<u8>),
    Mapped(Mapping),
}

impl Bytes {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let (mut file, len) = open(path)?;
        let mut bytes = Vec::with_capacity(len);
        file.read_to_end(&mut bytes)
            .map_err(|e| unreadable(path, e))?;
        Ok(Self::Owned(bytes))
    }

    /// The first 4 bytes of a file.
    pub(super) fn head(path: &Path) -> Result<[u8; 4], Error> {
        let mut head = [0; 4];
        let (mut file, _) = open(path)?;
        match file.read_exact(&mut head) {
            Ok(()) => Ok(head),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(Error::Malformed {
                at: 0,
                what: "file cut short",
            }),
            Err(e) => Err(unreadable(path, e)),
        }
    }

    /// Only for files of sysfs: a mapped regular file could be truncated under us.
    pub(super) fn map_or_read(path: &Path) -> Result<Self, Error> {
        let (file, len) = open(path)?;
        match Mapping::new(&file, len) {
            Some(mapping) => Ok(Self::Mapped(mapping)),
            None => Self::read(path),
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Mapped(mapping) => mapping.as_slice(),
        }
    }
}

fn open(path: &Path) -> Result<(File, usize), Error> {
    let file = File::open(path).map_err(|e| unreadable(path, e))?;
    let len = file.metadata().map_err(|e| unreadable(path, e))?.len();
    let len = usize::try_from(len).map_err(|_| Error::Malformed {
        at: 0,
        what: "impossible file size",
    })?;
    Ok((file, len))
}

fn unreadable(path: &Path, source: io::Error) -> Error {
    let path = path.to_path_buf();
    match source.kind() {
        io::ErrorKind::NotFound => Error::Absent { path },
        _ => Error::Unreadable { path, source },
    }
}

/// A private read-only mapping; unmapped on drop.
pub(super) struct Mapping {
    start: *mut core::ffi::c_void,
    len: usize,
}

// SAFETY: the mapping is read-only, owned by this value alone and not bound to a thread.
unsafe impl Send for Mapping {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// None where the kernel has no mmap for this file (before 6.16).
    fn new(file: &File, len: usize) -> Option<Self> {
        if len == 0 {
            return None;
        }
        // SAFETY: a new mapping at an address the kernel chooses replaces nothing.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ,
                MapFlags::PRIVATE,
                file,
                0,
            )
        }
        .ok()?;
        Some(Self { start, len })
    }

    fn as_slice(&self) -> &[u8] {
        // SAFETY: start..start+len is mapped readable until drop, and the kernel never changes its BTF.
        unsafe { std::slice::from_raw_parts(self.start.cast::<u8>(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; no slice outlives self. An error could only mean that
        // it is gone already.
        let _ = unsafe { munmap(self.start, self.len) };
    }
}
