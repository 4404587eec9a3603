//! Whose a socket is: the processes that have a descriptor of it, by /proc/PID/fd.
//!
//! A socket is known by its inode number, which is one number space for all network namespaces.

use std::collections::HashMap;

use super::procfs;
use crate::trace::tcp::marks::OwnerMark;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holders {
    /// The first by pid: where a socket was inherited, usually the process that made it.
    pub first: OwnerMark,
    /// All of them.
    pub pids: Vec<u32>,
}

/// Holders by inode, among these processes.
pub fn of(processes: impl IntoIterator<Item = u32>) -> HashMap<u64, Holders> {
    let mut found: HashMap<u64, Holders> = HashMap::new();
    for pid in processes {
        let sockets = procfs::sockets(pid);
        if sockets.is_empty() {
            continue;
        }
        let comm = procfs::comm(pid).unwrap_or_default();
        for inode in sockets {
            let holders = found.entry(inode).or_insert_with(|| Holders {
                first: OwnerMark {
                    pid,
                    comm: comm.clone(),
                },
                pids: Vec::new(),
            });
            if holders.pids.last() != Some(&pid) {
                holders.pids.push(pid);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_hold_our_own_socket() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = rustix::fs::fstat(&socket).unwrap().st_ino;
        let own = std::process::id();
        assert_eq!(of([own])[&inode].pids, [own]);
    }
}
