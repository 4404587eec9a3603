//! What a network namespace says of itself: its sysctls and its counters, as seen from a thread inside.
//!
//! /proc/sys/net and /proc/thread-self/net belong to the namespace of the thread that opens them, so nothing
//! of the host's is read or changed by a thread that has entered a sandbox.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, anyhow};

pub use super::link::{add_address, add_hole, add_route, no_offload, set_mtu};

/// `net.ipv4.tcp_syncookies` → /proc/sys/net/ipv4/tcp_syncookies
fn path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

/// # Errors
/// This kernel has no such sysctl.
pub fn sysctl(name: &str) -> Result<String> {
    let text = fs::read_to_string(path(name)).with_context(|| format!("could not read {name}"))?;
    Ok(text.trim().to_owned())
}

/// Sets a sysctl of the calling thread's namespace; call it only inside a sandbox.
///
/// # Errors
/// No such sysctl, or a value that the kernel refuses.
pub fn set_sysctl(name: &str, value: &str) -> Result<()> {
    fs::write(path(name), value).with_context(|| format!("could not set {name} to {value}"))
}

/// The namespace's SNMP counters by their nstat names: `TcpRetransSegs`, `TcpExtTCPTimeouts`, `Tcp6…` does not
/// exist (TCP counts both families in one).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nstat(BTreeMap<String, u64>);

impl Nstat {
    /// # Errors
    /// No /proc, or a table that cannot be read.
    pub fn read() -> Result<Nstat> {
        let mut all = Nstat::default();
        for file in ["snmp", "netstat"] {
            let path = format!("/proc/thread-self/net/{file}");
            let text =
                fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
            all.add(&text).with_context(|| path)?;
        }
        Ok(all)
    }

    /// Pairs of lines: names, then values.
    fn add(&mut self, text: &str) -> Result<()> {
        let mut lines = text.lines();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let (group, names) = names.split_once(": ").ok_or_else(|| anyhow!("no group"))?;
            let (_, values) = values
                .split_once(": ")
                .ok_or_else(|| anyhow!("no values"))?;
            for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
                // TcpMaxConn is -1.
                self.0
                    .insert(format!("{group}{name}"), value.parse().unwrap_or_default());
            }
        }
        Ok(())
    }

    /// None = this kernel does not count that.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// What was counted since `before`, without what stayed as it was.
    pub fn since(&self, before: &Nstat) -> BTreeMap<String, u64> {
        let grown = self.0.iter().filter_map(|(name, now)| {
            let grown = now.saturating_sub(before.get(name).unwrap_or_default());
            (grown > 0).then(|| (name.clone(), grown))
        });
        grown.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNMP: &str = "Tcp: RtoMin MaxConn RetransSegs\nTcp: 200 -1 7\nUdp: InDatagrams\nUdp: 3\n";

    #[test]
    fn counters_bear_their_nstat_names_and_grow() {
        let mut before = Nstat::default();
        before.add(SNMP).unwrap();
        assert_eq!(before.get("TcpRetransSegs"), Some(7));
        assert_eq!(before.get("TcpMaxConn"), Some(0));
        assert_eq!(before.get("NoSuch"), None);
        let mut after = Nstat::default();
        after.add(&SNMP.replace(" 7", " 9")).unwrap();
        let grown = after.since(&before);
        assert_eq!(
            grown.into_iter().collect::<Vec<_>>(),
            [("TcpRetransSegs".to_owned(), 2)]
        );
    }

    #[test]
    fn a_damaged_table_is_an_error() {
        assert!(Nstat::default().add("Tcp RetransSegs\n7\n").is_err());
    }
}
