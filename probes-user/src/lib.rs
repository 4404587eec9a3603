//! The `probes` library: instruments watch the kernel, a lab provokes it, a trace asks one question of both.
pub mod check;
pub mod cli;
pub mod evidence;
pub mod exit;
pub mod instrument;
pub mod kernel;
pub mod lab;
pub mod render;
pub mod session;
pub mod stream;
pub mod trace;
pub mod watch;
