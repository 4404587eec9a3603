//! What steps are made of: reads, writes and page faults by the script, or by the real `dd`.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::{Did, PAGE};
use crate::lab::mapping::Mapping;

fn did(calls: u64, bytes: u64) -> Did {
    Did {
        calls,
        bytes,
        pages: bytes.div_ceil(PAGE),
        tgid: 0,
    }
}

/// Reads from the current position: `bytes` in pieces of `piece`, or to the end of the file.
///
/// # Errors
/// The kernel's.
pub fn read(mut file: &File, bytes: u64, piece: usize) -> Result<Did> {
    use std::io::Read;
    let mut buffer = vec![0; piece];
    let (mut calls, mut got) = (0, 0);
    while got < bytes {
        let want = piece.min(usize::try_from(bytes - got)?);
        let now = file.read(&mut buffer[..want])?;
        if now == 0 {
            break;
        }
        calls += 1;
        got += now as u64;
    }
    Ok(did(calls, got))
}

/// Writes from the start of the file.
///
/// # Errors
/// The kernel's: no room, or the file is not open for writing.
pub fn write(file: &File, bytes: u64, piece: usize) -> Result<Did> {
    let buffer = vec![0x5a; piece];
    let (mut calls, mut written) = (0, 0);
    while written < bytes {
        let want = piece.min(usize::try_from(bytes - written)?);
        written += file.write_at(&buffer[..want], written)? as u64;
        calls += 1;
    }
    Ok(did(calls, written))
}

/// Reads one page each at these page numbers, after telling the kernel that the order is random.
///
/// # Errors
/// The kernel's.
pub fn read_scattered(file: &File, at: &[u64]) -> Result<Did> {
    // SAFETY: takes numbers only.
    let refused = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM) };
    ensure!(refused == 0, "posix_fadvise: errno {refused}");
    let mut buffer = [0; PAGE as usize];
    for page in at {
        file.read_exact_at(&mut buffer, page * PAGE)?;
    }
    Ok(did(at.len() as u64, at.len() as u64 * PAGE))
}

/// Maps the file and reads a byte of each page, in order.
///
/// # Errors
/// The file cannot be mapped.
pub fn touch(file: &File, bytes: u64) -> Result<Did> {
    Mapping::new(file, bytes)?.touch();
    Ok(did(0, bytes))
}

/// The file's pages leave the cache, as far as they are clean.
///
/// # Errors
/// The kernel's.
pub fn forget(file: &File) -> Result<Did> {
    // SAFETY: takes numbers only.
    let refused = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    ensure!(refused == 0, "posix_fadvise: errno {refused}");
    Ok(Did::default())
}

/// The real `dd`, if there is one.
pub fn dd() -> Option<PathBuf> {
    ["/usr/bin/dd", "/bin/dd"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
}

/// Copies `bytes` with it.
///
/// # Errors
/// It cannot be started, or fails.
pub fn copy(dd: &Path, from: &Path, to: &Path, bytes: u64, piece: u64) -> Result<Did> {
    let word = |name: &str, path: &Path| {
        let mut word = std::ffi::OsString::from(name);
        word.push(path);
        word
    };
    let child = Command::new(dd)
        .arg(word("if=", from))
        .arg(word("of=", to))
        .arg(format!("bs={piece}"))
        .arg(format!("count={}", bytes / piece))
        .args(["conv=notrunc", "status=none"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("could not start dd")?;
    let tgid = child.id();
    let out = child.wait_with_output().context("dd")?;
    if !out.status.success() {
        bail!("dd: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    let mut did = did(bytes / piece, bytes);
    did.tgid = tgid;
    Ok(did)
}
