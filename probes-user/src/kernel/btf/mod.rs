//! A small reader of the kernel's own type information (BTF): where a field is, which id a hook has, what a
//! constant is on the kernel that runs.
//!
//! One pass over the types finds the names a [`Query`] asks for and notes where each type begins; the answers
//! are then followed by random access. No tree of types is kept: 0.6 MB of index, the bytes themselves mapped.
//! What could fool it: two types of the same name. Answers that disagree are withheld and listed in
//! [`Facts::ambiguous`], never picked by chance.
//!
//! Format: Documentation/bpf/btf.rst and include/uapi/linux/btf.h of the kernel.

mod bytes;
mod error;
mod facts;
mod query;
mod raw;
mod scan;
#[cfg(test)]
mod tests;
mod walk;

use std::path::Path;

pub use error::Error;
pub use facts::{Bits, Facts, Field, Function, Tracepoint};
pub use query::Query;

use bytes::Bytes;
use raw::Blob;

/// Where the running kernel shows its types (since 5.4, with CONFIG_DEBUG_INFO_BTF).
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The bytes of one BTF file, header checked, types not yet read.
pub struct Btf {
    bytes: Bytes,
}

impl Btf {
    /// Opens the running kernel's BTF; mapped where the kernel allows it (6.16, `btf_sysfs_vmlinux_mmap`
    /// in kernel/bpf/sysfs_btf.c), else read.
    ///
    /// # Errors
    /// [`Error::Absent`] on a kernel without BTF, [`Error::Unreadable`], [`Error::Malformed`].
    pub fn running() -> Result<Self, Error> {
        Self::check(Bytes::map_or_read(Path::new(VMLINUX))?)
    }

    /// Whether the running kernel has BTF that we may read; looks at the first bytes only.
    ///
    /// # Errors
    /// As [`Self::running`].
    pub fn probe() -> Result<(), Error> {
        Bytes::head(Path::new(VMLINUX)).and_then(raw::check_magic)
    }

    /// Reads a stored BTF file into memory.
    ///
    /// # Errors
    /// As [`Self::running`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::check(Bytes::read(path)?)
    }

    /// Takes bytes that are already in memory.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the header does not describe these bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Error> {
        Self::check(Bytes::Owned(bytes))
    }

    /// Answers the whole query in one pass. What this kernel does not have is absent from the answer.
    ///
    /// # Errors
    /// [`Error::Malformed`], with the place in the file.
    pub fn answer(&self, query: &Query) -> Result<Facts, Error> {
        scan::answer(Blob::new(self.bytes.as_slice())?, query)
    }

    fn check(bytes: Bytes) -> Result<Self, Error> {
        Blob::new(bytes.as_slice())?;
        Ok(Self { bytes })
    }
}
