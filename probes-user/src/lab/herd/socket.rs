//! Sockets and epoll instances of the herd, by plain system calls: safe in a forked child.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrAny, SocketFlags, SocketType, acceptfrom_with, bind, listen,
    socket_with, sockopt,
};

use crate::trace::herd::marks::Variant;

/// Capped by the namespace's somaxconn (4096); more than any burst.
const BACKLOG: i32 = 4096;

pub fn address(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

/// A socket bound to 127.0.0.1:port.
///
/// # Errors
/// The port is taken.
pub fn bound(port: u16, flags: SocketFlags, reuse_port: bool) -> Result<OwnedFd, Errno> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        flags | SocketFlags::CLOEXEC,
        None,
    )?;
    if reuse_port {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    bind(&socket, &address(port))?;
    Ok(socket)
}

/// The listener of one process (SO_REUSEPORT) or of all (inherited).
///
/// # Errors
/// The port is taken.
pub fn listener(variant: Variant, port: u16) -> Result<OwnedFd, Errno> {
    let flags = if variant == Variant::Accept {
        SocketFlags::empty()
    } else {
        SocketFlags::NONBLOCK
    };
    let socket = bound(port, flags, variant == Variant::Reuseport)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// # Errors
/// No descriptor left.
pub fn epoll_instance() -> Result<OwnedFd, Errno> {
    epoll::create(CreateFlags::CLOEXEC)
}

/// Flags that the variant registers the listener with.
pub fn interest(variant: Variant) -> EventFlags {
    EventFlags::IN
        | match variant {
            Variant::EdgePerProcess | Variant::EdgeShared => EventFlags::ET,
            Variant::Exclusive => EventFlags::EXCLUSIVE,
            Variant::OneshotPerProcess | Variant::OneshotShared => EventFlags::ONESHOT,
            _ => EventFlags::empty(),
        }
}

/// EPOLL_CTL_ADD.
///
/// # Errors
/// Flags that do not go together.
pub fn register(
    instance: BorrowedFd<'_>,
    listener: BorrowedFd<'_>,
    variant: Variant,
) -> Result<(), Errno> {
    epoll::add(instance, listener, EventData::new_u64(0), interest(variant))
}

/// EPOLL_CTL_MOD with the same flags, as EPOLLONESHOT wants it after each event.
///
/// # Errors
/// Not registered.
pub fn rearm(
    instance: BorrowedFd<'_>,
    listener: BorrowedFd<'_>,
    variant: Variant,
) -> Result<(), Errno> {
    epoll::modify(instance, listener, EventData::new_u64(0), interest(variant))
}

/// accept4; the connection's descriptor and the client's port.
///
/// # Errors
/// AGAIN when another worker was faster.
pub fn accept(listener: BorrowedFd<'_>) -> Result<(OwnedFd, u16), Errno> {
    let (connection, peer) = acceptfrom_with(listener, SocketFlags::CLOEXEC)?;
    let port = match peer.map(SocketAddrAny::try_into) {
        Some(Ok(peer)) => SocketAddrV4::port(&peer),
        _ => 0,
    };
    Ok((connection, port))
}
