//! Streams written by hand through the whole fold: what a herd is, what only looks like one.

mod blocked;
mod gaps;
mod golden;
mod herds;
mod lookalikes;
mod property;
mod stacks;
mod watches;
