//! What labs of a listener's two queues share: its sockets, what the kernel says of them, a SYN flood.
//!
//! All of it stands in the network namespace of the calling thread, a sandbox with nothing but `lo`.

pub mod flood;
pub mod route;
pub mod socket;

use std::fs;

use anyhow::{Context, Result};

/// `st` of a half-open connection in /proc/net/tcp: TCP_SYN_RECV.
const SYN_RECV: &str = "03";

/// Half-open connections with this local port, as /proc/net/tcp lists them: one line for each request.
///
/// # Errors
/// No /proc, or no table of this family.
pub fn half_open(v6: bool, port: u16) -> Result<u64> {
    let path = format!("/proc/thread-self/net/tcp{}", if v6 { "6" } else { "" });
    let table = fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
    Ok(count(&table, port))
}

fn count(table: &str, port: u16) -> u64 {
    let ending = format!(":{port:04X}");
    let lines = table.lines().skip(1).filter(|line| {
        let mut words = line.split_whitespace().skip(1);
        let local = words.next().is_some_and(|local| local.ends_with(&ending));
        local && words.nth(1) == Some(SYN_RECV)
    });
    lines.count() as u64
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn half_open_connections_are_counted_by_state_and_port() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
            0: 0100007F:4E20 00000000:0000 0A 00000000:00000000\n\
            1: 0100007F:4E20 0101007F:115C 03 00000000:00000000\n\
            2: 0100007F:4E21 0201007F:115C 03 00000000:00000000\n\
            3: 0100007F:9000 0100007F:4E20 01 00000000:00000000\n";
        assert_eq!(count(table, 0x4E20), 1);
        assert_eq!(count(table, 80), 0);
    }
}
