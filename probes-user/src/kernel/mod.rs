//! The kernel model: the only readers of /proc and /sys.

pub mod btf;
mod filter;
pub mod symbols;
