//! One pass over the lines `address type name [module]`, in large chunks, without an allocation per line.

use std::collections::HashSet;
use std::io::Read;

use super::super::filter::Filter;
use super::{Error, interrupt, is_interrupt_boundary};
use crate::trace::Symbol;

const CHUNK: usize = 64 * 1024;
/// Assumed length of the very last text symbol, which nothing follows.
const LAST: u64 = 4096;

/// As [`super::running`], from any text in the form of /proc/kallsyms.
///
/// # Errors
/// As [`super::running`].
pub fn from_reader(mut source: impl Read, wanted: &[&str]) -> Result<Vec<Symbol>, Error> {
    let mut reader = Reader::new(wanted);
    let mut buffer = vec![0; CHUNK];
    let mut held = 0;
    loop {
        let read = match source.read(&mut buffer[held..]) {
            Ok(read) => read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::Unreadable(e)),
        };
        let filled = held + read;
        let used = reader.lines(&buffer[..filled]);
        if read == 0 {
            reader.line(&buffer[used..filled]);
            return reader.finish();
        }
        buffer.copy_within(used..filled, 0);
        held = filled - used;
        if held == buffer.len() {
            // A line longer than the buffer is no symbol: drop it.
            held = 0;
        }
    }
}

/// Whether any line of this piece of /proc/kallsyms shows an address other than zero.
pub(super) fn any_address(piece: &[u8]) -> bool {
    piece
        .split(|&b| b == b'\n')
        .filter_map(parse)
        .any(|line| line.address != 0)
}

struct Line<'a> {
    address: u64,
    kind: u8,
    /// The name and what follows it.
    tail: &'a [u8],
}

/// x86-64 writes 16 digits, a blank, the type, a blank, the name.
fn parse(line: &[u8]) -> Option<Line<'_>> {
    let (digits, rest) = line.split_first_chunk::<16>()?;
    let [b' ', kind, b' ', tail @ ..] = rest else {
        return None;
    };
    let mut address = 0;
    for digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        address = address << 4 | u64::from(value);
    }
    Some(Line {
        address,
        kind: *kind,
        tail,
    })
}

/// The base name at the start of `tail`: `foo.isra.0.cold` is a piece of `foo`.
fn base(tail: &[u8]) -> &[u8] {
    &tail[..base_len(tail)]
}

/// The first 8 bytes of the base name, zeros after its end.
fn head(tail: &[u8]) -> [u8; 8] {
    let mut head = [0; 8];
    let piece = &tail[..tail.len().min(8)];
    let len = base_len(piece);
    head[..len].copy_from_slice(&piece[..len]);
    head
}

fn base_len(tail: &[u8]) -> usize {
    tail.iter()
        .position(|b| matches!(b, b'.' | b'\t' | b' ' | b'\n'))
        .unwrap_or(tail.len())
}

struct Reader<'a> {
    wanted: HashSet<&'a str>,
    filter: Filter,
    /// Start of every text symbol: the ends of the wanted ones are among them.
    text: Vec<u64>,
    found: Vec<Symbol>,
}

impl<'a> Reader<'a> {
    fn new(wanted: &[&'a str]) -> Self {
        let mut filter = Filter::default();
        for name in wanted {
            filter.add(name.as_bytes());
        }
        interrupt::NAMES
            .iter()
            .for_each(|name| filter.add(name.as_bytes()));
        interrupt::PREFIXES
            .iter()
            .for_each(|prefix| filter.add_prefix(prefix.as_bytes()));
        let wanted = wanted.iter().copied().collect();
        Self {
            wanted,
            filter,
            text: Vec::with_capacity(1 << 17),
            found: Vec::new(),
        }
    }

    /// Takes the whole lines of `chunk`, returns how many bytes they have.
    fn lines(&mut self, chunk: &[u8]) -> usize {
        let mut used = 0;
        while let Some(len) = chunk[used..].iter().position(|&b| b == b'\n') {
            self.line(&chunk[used..used + len]);
            used += len + 1;
        }
        used
    }

    fn line(&mut self, line: &[u8]) {
        let Some(Line {
            address,
            kind: b't' | b'T' | b'w' | b'W',
            tail,
        }) = parse(line)
        else {
            return;
        };
        if address == 0 {
            return;
        }
        self.text.push(address);
        if !self.filter.may_hold(head(tail)) {
            return;
        }
        let Ok(name) = std::str::from_utf8(base(tail)) else {
            return;
        };
        if self.wanted.contains(name) || is_interrupt_boundary(name) {
            self.found.push(Symbol {
                name: name.to_owned(),
                start: address,
                end: 0,
            });
        }
    }

    fn finish(mut self) -> Result<Vec<Symbol>, Error> {
        if self.text.is_empty() {
            return Err(Error::Hidden);
        }
        // Sorted already as far as vmlinux goes; modules are not.
        self.text.sort_unstable();
        for symbol in &mut self.found {
            let next = self.text.partition_point(|&start| start <= symbol.start);
            symbol.end = self
                .text
                .get(next)
                .copied()
                .unwrap_or(symbol.start.saturating_add(LAST));
        }
        self.found
            .sort_by(|a, b| (a.start, &a.name).cmp(&(b.start, &b.name)));
        Ok(self.found)
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
