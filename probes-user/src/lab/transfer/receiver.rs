//! The other end: reads until the end of the stream and adds up what it got.

use std::io::Read as _;
use std::net::TcpStream;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::content::Sum;
use crate::lab::shared::now;

const BUFFER: usize = 256 << 10;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    pub bytes: u64,
    pub sum: u64,
    pub calls: u64,
    /// When the last byte had come, CLOCK_MONOTONIC.
    pub last_at: u64,
}

/// # Errors
/// The connection's, or nothing came within its timeout.
pub fn receive(mut socket: &TcpStream) -> Result<Received> {
    let mut buffer = vec![1; BUFFER];
    let mut sum = Sum::default();
    let mut received = Received::default();
    loop {
        let got = socket.read(&mut buffer).context("the receiver's read")?;
        received.calls += 1;
        if got == 0 {
            received.bytes = sum.bytes();
            received.sum = sum.value();
            return Ok(received);
        }
        received.last_at = now();
        sum.add(&buffer[..got]);
    }
}
