//! From result lines to a verdict: the protocol, one run, and the grid of all runs.

pub mod grid;
pub mod protocol;
pub mod run;
