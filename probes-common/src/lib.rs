//! What the kernel side and the user side share: event layouts, map values, the offsets table.
//!
//! Nothing here depends on anything. Every struct is `#[repr(C)]`, fixed width, explicitly padded and
//! size-asserted, because the bytes cross the kernel boundary and are stored in recordings.
#![no_std]

pub mod block;
pub mod config;
pub mod control;
pub mod copy;
pub mod event;
pub mod offsets;
pub mod pages;
pub mod runqueue;
pub mod surgeon;
pub mod tcp;
pub mod uring;

pub use control::{Control, Task};
pub use event::{Header, Kind};
pub use offsets::{ABSENT, Offsets};
