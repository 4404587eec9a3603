//! Instruments: BPF objects loaded, attached down a ladder, filtered in the kernel, read without wakeups.

pub mod attach;
pub mod blocks;
pub mod counters;
pub mod counts;
pub mod hook;
pub mod lock;
pub mod memory;
pub mod object;
pub mod pages;
pub mod runqueue;
pub mod surgeon;
pub mod sys;
pub mod tc;

pub use attach::{Attachment, Setup, Without, attach};
pub use hook::{Hook, INSTRUMENTS, Instrument, Rung};
pub use memory::Shared;
