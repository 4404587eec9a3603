//! Where the kernel's functions are, from /proc/kallsyms: turns the addresses of a stack into names.
//!
//! Only the names asked for and the interrupt entries are kept. What could fool it: compiler clones
//! (`foo.isra.0`, `foo.cold`), several functions of one name, symbols at one address. Each piece is its own
//! range under the base name, and a range ends where any other text symbol begins.
//!
//! The kernel takes 30 to 40 ms to write 120 000 lines: read once, best on a thread beside the loading.

mod interrupt;
mod lookup;
mod reader;
pub mod stack;

use std::fs::File;
use std::io::Read;
use std::{fmt, io};

pub use interrupt::is_interrupt_boundary;
pub use lookup::entries;
pub use reader::from_reader;

use crate::trace::Symbol;

const KALLSYMS: &str = "/proc/kallsyms";

#[derive(Debug)]
pub enum Error {
    Unreadable(io::Error),
    /// Every address is shown as zero: `kallsyms_show_value` of the kernel said no.
    Hidden,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(e) => write!(
                f,
                "could not read {KALLSYMS}: {e}; mount /proc, run as root"
            ),
            Self::Hidden => write!(
                f,
                "the kernel hides its addresses in {KALLSYMS}: run as root with CAP_SYSLOG; if \
                 /proc/sys/kernel/kptr_restrict is 2, set it to 1"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(e) => Some(e),
            Self::Hidden => None,
        }
    }
}

/// The places of the wanted functions on the running kernel, and of every interrupt entry
/// ([`is_interrupt_boundary`]), sorted by start. A name may occur several times, or not at all.
///
/// # Errors
/// [`Error::Unreadable`], [`Error::Hidden`].
pub fn running(wanted: &[&str]) -> Result<Vec<Symbol>, Error> {
    from_reader(File::open(KALLSYMS).map_err(Error::Unreadable)?, wanted)
}

/// The symbol that holds `address`. For return addresses (every frame of a stack but the topmost of a trap)
/// pass the address minus one: a call that never returns may be the last instruction of its function.
pub fn find(symbols: &[Symbol], address: u64) -> Option<&Symbol> {
    let after = symbols.partition_point(|s| s.start <= address);
    symbols[..after].last().filter(|s| address < s.end)
}

/// Where the function begins that a pointer to `name` points to: of its pieces the largest (the others are
/// what the compiler moved out of the way).
pub fn entry(symbols: &[Symbol], name: &str) -> Option<u64> {
    let pieces = symbols.iter().filter(|symbol| symbol.name == name);
    pieces.max_by_key(|s| s.end - s.start).map(|s| s.start)
}

/// Whether this process is shown real addresses.
pub fn visible() -> bool {
    let mut head = [0; 4096];
    let read = File::open(KALLSYMS).and_then(|mut file| file.read(&mut head));
    read.is_ok_and(|n| reader::any_address(&head[..n]))
}
