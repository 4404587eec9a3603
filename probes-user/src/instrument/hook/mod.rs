//! Hooks as data: which program, in which instrument, by which ladder it attaches, what is lost without it.

/// A way to attach, tried in the order of the hook's ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rung {
    /// BTF-typed tracepoint: direct loads.
    TpBtf,
    /// Raw tracepoint: the same program, every field by probe read.
    RawTp,
    Fentry,
    Fexit,
    /// A classifier on packets: loaded, and attached to an interface only when a lab asks (`instrument::tc`).
    Tc,
}

impl Rung {
    pub const fn name(self) -> &'static str {
        match self {
            Rung::TpBtf => "tp_btf",
            Rung::RawTp => "raw_tp",
            Rung::Fentry => "fentry",
            Rung::Fexit => "fexit",
            Rung::Tc => "tc",
        }
    }

    /// May the program read typed pointers directly when attached this way?
    pub const fn direct(self) -> bool {
        !matches!(self, Rung::RawTp | Rung::Tc)
    }

    pub fn from_name(name: &str) -> Option<Rung> {
        [
            Rung::TpBtf,
            Rung::RawTp,
            Rung::Fentry,
            Rung::Fexit,
            Rung::Tc,
        ]
        .into_iter()
        .find(|rung| rung.name() == name)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Hook {
    /// The program's function in the object.
    pub program: &'static str,
    /// The tracepoint or function in the kernel.
    pub symbol: &'static str,
    pub ladder: &'static [Rung],
    pub lost_without: &'static str,
    /// The hooks of its further copies, for events that the kernel keeps from a program while it is already
    /// running on the same CPU.
    pub again: &'static [Hook],
}

#[derive(Debug, PartialEq, Eq)]
pub struct Instrument {
    pub name: &'static str,
    /// One line for the docs.
    pub question: &'static str,
    pub hooks: &'static [Hook],
    pub object: Object,
}

/// An ELF, aligned as its parser wants it.
#[derive(PartialEq, Eq)]
pub struct Object(pub &'static [u8]);

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

const TRACEPOINT: &[Rung] = &[Rung::TpBtf, Rung::RawTp];

const fn tracepoint(name: &'static str, lost_without: &'static str) -> Hook {
    named(name, name, &[], lost_without)
}

/// A further copy of a program on a hook whose events can interrupt each other.
const fn copy(program: &'static str, symbol: &'static str) -> Hook {
    let lost_without = "an event that interrupts another one of its hook is lost";
    named(program, symbol, &[], lost_without)
}

/// A hook whose tracepoint may bear another name than its program.
const fn named(
    program: &'static str,
    symbol: &'static str,
    again: &'static [Hook],
    lost_without: &'static str,
) -> Hook {
    Hook {
        program,
        symbol,
        ladder: TRACEPOINT,
        lost_without,
        again,
    }
}

const fn function(
    program: &'static str,
    symbol: &'static str,
    ladder: &'static [Rung],
    lost_without: &'static str,
) -> Hook {
    Hook {
        program,
        symbol,
        ladder,
        lost_without,
        again: &[],
    }
}

/// A function of this name, looked at when it returns.
const fn returning(name: &'static str, lost_without: &'static str) -> Hook {
    function(name, name, &[Rung::Fexit], lost_without)
}

#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

macro_rules! object {
    ($name:literal) => {{
        static BYTES: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(
            env!("PROBES_EBPF_OBJECTS"),
            "/",
            $name
        )));
        Object(&BYTES.0)
    }};
}

/// A hook whose events can interrupt each other, with a further copy `<program>_again`:
/// `twice!("tcp_state" of "inet_sock_set_state", "what is lost")`; the tracepoint left out = of the same name.
macro_rules! twice {
    ($name:literal, $lost_without:expr) => {
        twice!($name of $name, $lost_without)
    };
    ($program:literal of $symbol:literal, $lost_without:expr) => {
        named(
            $program,
            $symbol,
            const { &[copy(concat!($program, "_again"), $symbol)] },
            $lost_without,
        )
    };
}

mod files;
mod sockets;
mod tasks;

pub use files::{BLOCK, COPY, PAGE_CACHE, URING};
pub use sockets::{HANDSHAKE, SOCK, SURGEON, TCP};
pub use tasks::{RUNQUEUE, SCHED, SYSCALLS, WAITQUEUE};

/// Every instrument there is.
pub static INSTRUMENTS: &[&Instrument] = &[
    &SCHED,
    &SYSCALLS,
    &SOCK,
    &WAITQUEUE,
    &TCP,
    &HANDSHAKE,
    &SURGEON,
    &BLOCK,
    &PAGE_CACHE,
    &URING,
    &COPY,
    &RUNQUEUE,
];

/// The hook of this program, with its instrument.
pub fn hook(program: &str) -> Option<(&'static Instrument, &'static Hook)> {
    INSTRUMENTS.iter().find_map(|instrument| {
        instrument
            .hooks
            .iter()
            .find(|hook| hook.program == program)
            .map(|hook| (*instrument, hook))
    })
}
