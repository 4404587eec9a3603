//! What tests share: running `probes`, servers and their clients, noise, and what is in the kernel.

pub mod client;
pub mod closer;
pub mod dir;
pub mod inventory;
pub mod loopdev;
pub mod nginx;
pub mod noise;
pub mod probes;
pub mod procs;
pub mod recording;
pub mod report;
pub mod sandbox;
pub mod schema;
pub mod server;
pub mod story;
pub mod tracefs;
pub mod uvicorn;
pub mod wait;
pub mod watch;
