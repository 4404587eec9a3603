//! What the two traces of handshake resends share: the kernel's law of waits, the time scale of a lab, its
//! sockets, and the comparison of a measured row of sends with a law.
//!
//! A wait is judged twice: by when packets came by, and by what the kernel armed its timer with. The second
//! is exact; the first is late by the timer wheel (an eighth) and by whatever stalls the machine.

pub mod ends;
pub mod fit;
pub mod law;
pub mod limits;
pub mod pace;
pub mod tables;
#[cfg(test)]
pub mod testkit;
pub mod verdict;

/// Below the ephemeral ports of every namespace.
pub const SERVER_PORT: u16 = 20_000;
pub const CLIENT_PORT: u16 = 21_000;
/// Where the time scale is found out; nothing of it is judged.
pub const SCALE_PORT: u16 = 22_000;

/// What the fold reads of a script's [`limits::Limits`].
pub const LIMITS: &str = "limits";
/// nstat's differences over the part that is judged.
pub const COUNTED: &str = "counted";

/// The kernel's TCP_TIMEOUT_INIT.
pub const SECOND: u64 = 1_000_000_000;
