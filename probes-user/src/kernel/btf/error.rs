//! Why the type information could not be had, each with what to do about it.

use std::path::PathBuf;
use std::{fmt, io};

#[derive(Debug)]
pub enum Error {
    /// There is no such file.
    Absent { path: PathBuf },
    /// The file is there but cannot be read.
    Unreadable { path: PathBuf, source: io::Error },
    /// The bytes are not what BTF prescribes: byte offset in the file or section, and which rule is broken.
    Malformed { at: usize, what: &'static str },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent { path } => write!(
                f,
                "no type information at {}: the kernel was built without CONFIG_DEBUG_INFO_BTF, or /sys is \
                 not mounted; mount sysfs, or boot a distribution kernel (Debian 11, Fedora 31, Ubuntu \
                 20.10 or later have it)",
                path.display()
            ),
            Self::Unreadable { path, source } => {
                write!(
                    f,
                    "could not read {}: {source}; run as root",
                    path.display()
                )
            }
            Self::Malformed { at, what } => write!(
                f,
                "the kernel's type information is damaged or newer than this reader: {what} at byte {at}; \
                 please report it with the output of uname -a"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Absent { .. } | Self::Malformed { .. } => None,
        }
    }
}
