//! The kernel's initramfs format: cpio "newc". Archives may follow one another, so each part of an
//! image (packages, modules, job) is an archive of its own and is cached by itself.

use std::io::{self, Write};

const MAGIC: &str = "070701";
const TRAILER: &str = "TRAILER!!!";
/// The kernel skips zeros between archives; a round size keeps the next one aligned.
const BLOCK: usize = 512;

pub const DIR: u32 = 0o040_000;
pub const FILE: u32 = 0o100_000;
pub const SYMLINK: u32 = 0o120_000;

/// Writes entries with one link each, owned by root.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    written: usize,
    inode: u32,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self {
            out,
            written: 0,
            inode: 0,
        }
    }

    /// `name` without a leading slash; for a symlink the data is its target.
    pub fn entry(&mut self, name: &str, mode: u32, mtime: u32, data: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let size = u32::try_from(data.len())
            .map_err(|_| io::Error::other(format!("{name} is too big for an initramfs")))?;
        self.header(name, self.inode, mode, mtime, size)?;
        self.put(data)?;
        self.pad(4)
    }

    pub fn finish(mut self) -> io::Result<W> {
        self.header(TRAILER, 0, 0, 0, 0)?;
        self.pad(BLOCK)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn header(&mut self, name: &str, ino: u32, mode: u32, mtime: u32, size: u32) -> io::Result<()> {
        let links = 1;
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let fields = [
            ino, mode, 0, 0, links, mtime, size, 0, 0, 0, 0, name_size, 0,
        ];
        let mut head = String::from(MAGIC);
        for field in fields {
            use std::fmt::Write as _;
            let _ = write!(head, "{field:08X}");
        }
        self.put(head.as_bytes())?;
        self.put(name.as_bytes())?;
        self.put(&[0])?;
        self.pad(4)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len();
        self.out.write_all(bytes)
    }

    fn pad(&mut self, to: usize) -> io::Result<()> {
        let gap = self.written.next_multiple_of(to) - self.written;
        self.put(&vec![0; gap])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_layout_that_the_kernel_reads() {
        let mut writer = Writer::new(Vec::new());
        writer.entry("a/b", FILE | 0o755, 7, b"hello").unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[14..22], b"000081ED");
        assert_eq!(&bytes[46..54], b"00000007");
        assert_eq!(&bytes[54..62], b"00000005");
        assert_eq!(&bytes[94..102], b"00000004");
        assert_eq!(&bytes[110..114], b"a/b\0");
        // 114 is padded to 116, then five bytes padded to 124.
        assert_eq!(&bytes[116..121], b"hello");
        assert_eq!(&bytes[124..130], b"070701");
    }

    #[test]
    fn an_archive_ends_with_its_trailer_on_a_round_size() {
        let bytes = Writer::new(Vec::new()).finish().unwrap();
        assert_eq!(bytes.len() % BLOCK, 0);
        assert_eq!(&bytes[110..121], b"TRAILER!!!\0");
    }
}
