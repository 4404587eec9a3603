//! From ring buffer or file to an ordered sequence of items: source → decode → order, and record/replay beside it.

pub mod item;

pub use item::{Body, Event, Item, Mark};
