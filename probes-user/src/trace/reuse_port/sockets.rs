//! Sockets of the scripts. Nothing here blocks, and what is closed ends by a reset: a tuple is free again at once.

use crate::lab::family::Family;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrAny, SocketFlags, SocketType, acceptfrom_with, bind, connect, listen,
    socket_with, sockopt,
};

use super::tuples::Tuple;

const BACKLOG: i32 = 1024;

/// Sockets that share a port.
pub struct Group {
    listeners: Vec<OwnedFd>,
    port: u16,
}

pub struct Accepted {
    /// Index of the socket that got it.
    pub by: u8,
    pub client: SocketAddr,
    _connection: OwnedFd,
}

impl Group {
    /// # Errors
    /// The port is taken.
    pub fn new(family: Family, port: u16, sockets: u8) -> Result<Group> {
        let listener = |_| -> Result<OwnedFd, Errno> {
            let listener = bound(SocketAddr::new(family.any(), port), true)?;
            listen(&listener, BACKLOG)?;
            Ok(listener)
        };
        let listeners: Result<Vec<OwnedFd>, Errno> = (0..sockets).map(listener).collect();
        Ok(Group {
            listeners: listeners.context("could not make sockets that share a port")?,
            port,
        })
    }

    /// All connections that wait to be accepted.
    ///
    /// # Errors
    /// accept() fails.
    pub fn accept(&self) -> Result<Vec<Accepted>> {
        let mut accepted = Vec::new();
        for (listener, by) in self.listeners.iter().zip(0..) {
            loop {
                match acceptfrom_with(listener, SocketFlags::CLOEXEC) {
                    Ok((connection, peer)) => accepted.push(Accepted {
                        by,
                        client: address(peer).context("a peer without an address")?,
                        _connection: connection,
                    }),
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno).context("could not accept"),
                }
            }
        }
        Ok(accepted)
    }

    /// # Errors
    /// The tuple is in use, or connect() is refused.
    pub fn connect(&self, tuple: &Tuple) -> Result<OwnedFd> {
        let made = bound(tuple.client, false).and_then(|socket| {
            match connect(&socket, &SocketAddr::new(tuple.server, self.port)) {
                Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
                Err(errno) => Err(errno),
            }
        });
        made.with_context(|| format!("could not connect {} to {}", tuple.client, tuple.server))
    }
}

fn address(peer: Option<SocketAddrAny>) -> Option<SocketAddr> {
    SocketAddr::try_from(peer?).ok()
}

/// A bound socket that blocks nobody and ends by a reset; what a listener accepts inherits both but the first.
///
/// # Errors
/// EADDRINUSE above all.
pub fn bound(address: SocketAddr, reuse_port: bool) -> Result<OwnedFd, Errno> {
    let family = match address.ip() {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    if reuse_port {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    bind(socket.as_fd(), &address)?;
    Ok(socket)
}
