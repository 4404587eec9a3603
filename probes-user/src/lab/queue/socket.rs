//! A listener, its clients and what TCP_INFO says of either; non-blocking throughout.
//!
//! Of a listener TCP_INFO tells the accept queue: its length in `tcpi_unacked`, its limit in `tcpi_sacked`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept_with, bind, connect, getsockname, listen,
    socket_with, sockopt,
};
use serde::{Deserialize, Serialize};

use crate::lab::tcp_info::TcpInfo;

pub const ESTABLISHED: u8 = 1;
pub const SYN_SENT: u8 = 2;
pub const CLOSE: u8 = 7;

/// As `tcpi_options` has them.
pub const TIMESTAMPS: u8 = 1;
pub const SACK: u8 = 2;
pub const WINDOW_SCALE: u8 = 4;

/// The parts of `struct tcp_info` that tell what a connection was set up with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    pub state: u8,
    /// [`TIMESTAMPS`] | [`SACK`] | [`WINDOW_SCALE`]
    pub options: u8,
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    pub snd_mss: u32,
    /// Of a listener, connections that wait for accept.
    pub unacked: u32,
    /// Of a listener, the limit of those.
    pub sacked: u32,
}

pub fn loopback(v6: bool) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::LOCALHOST)
    } else {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    }
}

pub fn family(v6: bool) -> AddressFamily {
    if v6 {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    }
}

fn stream(v6: bool) -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family(v6), SocketType::STREAM, flags, None).context("could not make a socket")
}

/// # Errors
/// The port is taken.
pub fn listener(address: IpAddr, port: u16, backlog: u32) -> Result<OwnedFd> {
    let socket = stream(address.is_ipv6())?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddr::new(address, port)).with_context(|| format!("bind to {port}"))?;
    listen(&socket, backlog.cast_signed()).context("listen")?;
    Ok(socket)
}

/// A client that has sent its SYN, and its port.
///
/// # Errors
/// No free port, or a refusal that came at once.
pub fn begin_connect(to: SocketAddr) -> Result<(OwnedFd, u16)> {
    let socket = stream(to.is_ipv6())?;
    started(connect(&socket, &to))?;
    let own = SocketAddr::try_from(getsockname(&socket)?).context("a client without a port")?;
    Ok((socket, own.port()))
}

/// The same from an address and port of one's choice.
///
/// # Errors
/// As [`begin_connect`], or the port is taken.
pub fn begin_connect_from(from: SocketAddr, to: SocketAddr) -> Result<OwnedFd> {
    let socket = stream(to.is_ipv6())?;
    bind(&socket, &from).with_context(|| format!("bind to {from}"))?;
    started(connect(&socket, &to))?;
    Ok(socket)
}

fn started(outcome: Result<(), Errno>) -> Result<()> {
    match outcome {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(()),
        Err(error) => Err(error).context("connect"),
    }
}

/// None = nothing waits.
///
/// # Errors
/// Whatever accept says but that.
pub fn accept(listener: &OwnedFd) -> Result<Option<OwnedFd>> {
    match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(connection) => Ok(Some(connection)),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(error).context("accept"),
    }
}

/// # Errors
/// A peer that has none is none.
pub fn peer_port(connection: &OwnedFd) -> Result<u16> {
    let peer = rustix::net::getpeername(connection).context("a connection without a peer")?;
    let peer = SocketAddr::try_from(peer.context("a peer without an address")?)?;
    Ok(peer.port())
}

/// # Errors
/// No TCP socket.
pub fn info(socket: impl AsFd) -> Result<Info> {
    let info = TcpInfo::of(socket)?;
    Ok(Info {
        state: info.state,
        options: info.options & (TIMESTAMPS | SACK | WINDOW_SCALE),
        snd_wscale: info.snd_wscale,
        rcv_wscale: info.rcv_wscale,
        snd_mss: info.snd_mss,
        unacked: info.unacked,
        sacked: info.sacked,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::sandbox::{Sandbox, enter};

    #[test]
    fn a_listener_tells_its_queue_and_a_connection_its_options() {
        let sandbox = Sandbox::new().expect("needs root");
        let work = move || {
            enter(sandbox.netns()).unwrap();
            for v6 in [false, true] {
                let listener = listener(loopback(v6), 20000, 7).unwrap();
                let to = SocketAddr::new(loopback(v6), 20000);
                let (client, port) = begin_connect(to).unwrap();
                assert_eq!(info(&client).unwrap().state, ESTABLISHED);
                let own = info(&listener).unwrap();
                assert_eq!((own.unacked, own.sacked), (1, 7));
                let server = accept(&listener).unwrap().unwrap();
                assert_eq!(peer_port(&server).unwrap(), port);
                let all = TIMESTAMPS | SACK | WINDOW_SCALE;
                assert_eq!(info(&server).unwrap().options, all);
                assert!(accept(&listener).unwrap().is_none());
            }
        };
        std::thread::spawn(work).join().unwrap();
    }
}
