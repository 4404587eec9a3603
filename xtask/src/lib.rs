//! The project's own chores: finding a toolchain, building both halves, running the tests on the
//! host and in guest kernels, and what CI does. `main.rs` only dispatches; each chore is a module.
//! What could fool it: a guest that says nothing. So a guest counts as finished only by its own
//! exit line, and a test only by its own `finished` line.

pub mod bench;
pub mod build;
pub mod ci;
pub mod cli;
pub mod dirs;
pub mod docs;
pub mod image;
pub mod job;
pub mod kernels;
pub mod matrix;
pub mod report;
pub mod run;
pub mod setup;
pub mod sh;
pub mod test;
pub mod vm;
