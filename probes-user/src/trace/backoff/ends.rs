//! The two ends of a handshake on loopback: sockets, and what the namespace says of them.

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with};

use crate::lab::family::Family;
use crate::lab::script::Stage;

/// Of `enum` in include/net/tcp_states.h, as TCP_INFO and /proc/net/tcp give them.
pub const ESTABLISHED: u8 = 1;
pub const SYN_SENT: u8 = 2;
const SYN_RECV: &str = "03";

/// Does this kernel speak it? A machine may be booted without IPv6.
pub fn spoken(family: Family) -> bool {
    socket(family).is_ok()
}

/// # Errors
/// No such family.
pub fn socket(family: Family) -> Result<OwnedFd> {
    let family = match family {
        Family::V4 => AddressFamily::INET,
        Family::V6 => AddressFamily::INET6,
    };
    let made = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    made.context("could not make a socket")
}

/// # Errors
/// The port is taken.
pub fn listen_on(socket: &OwnedFd, family: Family, port: u16) -> Result<()> {
    bind(socket, &family.loopback(port)).context("could not bind the server")?;
    listen(socket, 16).context("could not listen")
}

/// Sends the SYN and does not wait.
///
/// # Errors
/// It is over at once, one way or the other.
pub fn begin_connect(socket: BorrowedFd<'_>, family: Family, port: u16) -> Result<()> {
    rustix::fs::fcntl_setfl(socket, OFlags::NONBLOCK)?;
    match connect(socket, &family.loopback(port)) {
        Err(Errno::INPROGRESS) => Ok(()),
        other => bail!("connect() was over at once: {other:?}"),
    }
}

/// How long one blocking call waits before the script looks whether it is to stop.
const LOOK_UP: Duration = Duration::from_millis(100);

/// A blocking connect(): 0, or its error number. `look` is called now and then.
///
/// # Errors
/// The run is interrupted, or `limit` is spent.
pub fn connect_to_the_end(
    stage: &Stage,
    socket: &OwnedFd,
    to: SocketAddr,
    limit: Duration,
    look: impl Fn(),
) -> Result<i32> {
    // With a send timeout connect() returns EINPROGRESS, and the next one goes on waiting.
    sockopt::set_socket_timeout(socket, Timeout::Send, Some(LOOK_UP))?;
    let end = std::time::Instant::now() + limit;
    loop {
        let errno = match connect(socket, &to) {
            Ok(()) => return Ok(0),
            Err(errno) => errno,
        };
        if !matches!(errno, Errno::INPROGRESS | Errno::ALREADY | Errno::INTR) {
            return Ok(errno.raw_os_error());
        }
        look();
        stage.check()?;
        if std::time::Instant::now() >= end {
            bail!("connect() did not end in {limit:?}");
        }
    }
}

/// A half-open request in /proc/net/tcp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfOpen {
    /// How often its SYN-ACK has timed out.
    pub timeouts: u32,
}

/// The namespace's half-open request at this port, if there is one.
///
/// # Errors
/// No /proc.
pub fn half_open(family: Family, port: u16) -> Result<Option<HalfOpen>> {
    let path = match family {
        Family::V4 => "/proc/thread-self/net/tcp",
        Family::V6 => "/proc/thread-self/net/tcp6",
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("could not read {path}"))?;
    Ok(find_half_open(&text, port))
}

/// Columns: number, local, remote, state, queues, timer, timeouts.
fn find_half_open(table: &str, port: u16) -> Option<HalfOpen> {
    let local = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let ours = columns.get(1)?.ends_with(&local) && *columns.get(3)? == SYN_RECV;
        let timeouts = u32::from_str_radix(columns.get(6)?, 16).ok()?;
        ours.then_some(HalfOpen { timeouts })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:4E20 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7 1 0 100 0 0 10 0
   1: 0100007F:4E20 0100007F:5208 03 00000000:00000000 01:00000064 00000003     0        0 0 2 0
   2: 0100007F:5208 0100007F:4E20 01 00000000:00000000 00:00000000 00000000     0        0 8 1 0 20 4 0 10 -1
";

    #[test]
    fn the_half_open_request_is_found_by_its_port() {
        assert_eq!(
            find_half_open(TABLE, 20_000),
            Some(HalfOpen { timeouts: 3 })
        );
        assert_eq!(find_half_open(TABLE, 21_000), None);
        let gone = TABLE.replace(" 03 ", " 06 ");
        assert_eq!(find_half_open(&gone, 20_000), None);
    }
}
