//! One pass over the lines `address type name [module]`, in large chunks, without an allocation per line.

use std::collections::HashSet;
use std::io::Read;

use super::super::filter::Filter;
use super::{Error, is_interrupt_boundary};
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
    name: &'a [u8],
}

fn parse(line: &[u8]) -> Option<Line<'_>> {
    let digits = line.iter().position(|&b| b == b' ')?;
    let mut address = 0_u64;
    for digit in &line[..digits] {
        address = address.checked_mul(16)? | u64::from(char::from(*digit).to_digit(16)?);
    }
    let [kind, b' ', rest @ ..] = line.get(digits + 1..)? else {
        return None;
    };
    let len = rest
        .iter()
        .position(|b| b.is_ascii_whitespace())
        .unwrap_or(rest.len());
    Some(Line {
        address,
        kind: *kind,
        name: &rest[..len],
    })
}

struct Reader<'a> {
    wanted: HashSet<&'a [u8]>,
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
        let wanted = wanted.iter().map(|n| n.as_bytes()).collect();
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
            name,
        }) = parse(line)
        else {
            return;
        };
        if address == 0 {
            return;
        }
        self.text.push(address);
        let base = base(name);
        if self.is_wanted(base) {
            let name = String::from_utf8_lossy(base).into_owned();
            self.found.push(Symbol {
                name,
                start: address,
                end: 0,
            });
        }
    }

    fn is_wanted(&self, base: &[u8]) -> bool {
        let mut head = [0; 8];
        let len = base.len().min(8);
        head[..len].copy_from_slice(&base[..len]);
        (self.filter.may_hold(head) && self.wanted.contains(base))
            || std::str::from_utf8(base).is_ok_and(is_interrupt_boundary)
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

/// `foo.isra.0.cold` is a piece of `foo`.
fn base(name: &[u8]) -> &[u8] {
    match name.iter().position(|&b| b == b'.') {
        Some(dot) if dot > 0 => &name[..dot],
        _ => name,
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
