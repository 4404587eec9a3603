//! From ring buffer or file to an ordered sequence of items: source → decode → order, and record/replay beside it.

pub mod continuity;
pub mod decode;
pub mod item;
pub mod order;
pub mod record;
pub mod repeats;
pub mod ring;

pub use item::{Body, Event, Item, Mark};
