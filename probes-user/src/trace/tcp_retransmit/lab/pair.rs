//! Two ends of one connection in the script's own hands: what was sent, what came, what the socket itself says.
//!
//! Both ends are non-blocking and of one thread, so that nothing but the script decides when a segment is sent.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, bail};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use serde_json::json;

use crate::lab::family::Family;
use crate::lab::script::Stage;
use crate::lab::tcp_info::TcpInfo;

/// Segments that are exchanged first, one at a time: they teach the sender its round-trip time.
const WARM_UP: usize = 4;
const ESTABLISHED: u8 = 1;

/// A client that is connecting, and the listener that it connects to.
pub struct Door {
    listener: TcpListener,
    pub port: u16,
    client: TcpStream,
}

pub struct Pair {
    pub client: TcpStream,
    pub server: TcpStream,
    pub port: u16,
    sent: usize,
}

/// The n-th byte of what the client says.
const fn byte(at: usize) -> u8 {
    (at.wrapping_mul(31).wrapping_add(at >> 8)) as u8
}

/// A listener that nobody connects to yet.
///
/// # Errors
/// No address of this family.
pub fn listen(family: Family) -> Result<(TcpListener, SocketAddr)> {
    let address: SocketAddr = match family {
        Family::V4 => (Ipv4Addr::LOCALHOST, 0).into(),
        Family::V6 => (Ipv6Addr::LOCALHOST, 0).into(),
    };
    let listener = TcpListener::bind(address).context("could not listen")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

impl Door {
    /// Sends the SYN; does not wait.
    ///
    /// # Errors
    /// The address is refused.
    pub fn knock(listener: TcpListener, address: SocketAddr) -> Result<Door> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket: OwnedFd = socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        match connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno).context("could not connect"),
        }
        Ok(Door {
            listener,
            port: address.port(),
            client: socket.into(),
        })
    }

    /// # Errors
    /// It is not accepted within the budget.
    pub fn enter(self, stage: &Stage) -> Result<Pair> {
        let server = stage.wait("the connection is accepted", || {
            match self.listener.accept() {
                Ok((server, _)) => Ok(Some(server)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error.into()),
            }
        })?;
        server.set_nonblocking(true)?;
        stage.wait("the client is connected", || {
            let info = TcpInfo::of(&self.client)?;
            Ok((info.state == ESTABLISHED).then_some(()))
        })?;
        Ok(Pair {
            client: self.client,
            server,
            port: self.port,
            sent: 0,
        })
    }
}

impl Pair {
    /// Connected, undisturbed, and with some round trips behind it.
    ///
    /// # Errors
    /// Nothing comes.
    pub fn warm(stage: &Stage, family: Family) -> Result<Pair> {
        let (listener, address) = listen(family)?;
        let mut pair = Door::knock(listener, address)?.enter(stage)?;
        for _ in 0..WARM_UP {
            pair.send(1)?;
            pair.all_acknowledged(stage)?;
        }
        Ok(pair)
    }

    /// A flight of so many full segments.
    ///
    /// # Errors
    /// The socket does not take it at once.
    pub fn send(&mut self, segments: usize) -> Result<()> {
        // An acknowledgement that waits would be taken for a loss of time.
        sockopt::set_tcp_quickack(&self.server, true)?;
        let mss = TcpInfo::of(&self.client)?.snd_mss as usize;
        let flight: Vec<u8> = (self.sent..self.sent + segments * mss).map(byte).collect();
        let taken = self.client.write(&flight).context("could not send")?;
        if taken != flight.len() {
            bail!(
                "only {taken} of {} bytes could be sent at once",
                flight.len()
            );
        }
        self.sent += taken;
        Ok(())
    }

    /// # Errors
    /// The budget is spent.
    pub fn all_acknowledged(&self, stage: &Stage) -> Result<()> {
        stage.wait("everything is acknowledged", || {
            let info = TcpInfo::of(&self.client)?;
            Ok((info.unacked == 0).then_some(()))
        })
    }

    /// Reads what came, compares it byte by byte with what was said, and adds what the client's socket counts.
    ///
    /// # Errors
    /// Not everything comes.
    pub fn settle(mut self, stage: &Stage, account: &mut Account) -> Result<()> {
        self.all_acknowledged(stage)?;
        let mut came = Vec::new();
        let mut part = vec![0; 1 << 16];
        stage.wait("everything has come", || {
            match self.server.read(&mut part) {
                Ok(0) => bail!("the connection has ended"),
                Ok(len) => came.extend_from_slice(&part[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            Ok((came.len() >= self.sent).then_some(()))
        })?;
        let said = came.iter().enumerate().all(|(at, its)| *its == byte(at));
        let info = TcpInfo::of(&self.client)?;
        account.connections += 1;
        account.bytes += self.sent;
        account.damaged += usize::from(!said || came.len() != self.sent);
        account.total_retrans += info.total_retrans;
        account.dsack_dups += info.dsack_dups;
        Ok(())
    }
}

/// What the script itself knows of its connections at the end.
#[derive(Debug, Default)]
pub struct Account {
    pub connections: usize,
    pub bytes: usize,
    /// Connections whose content was not what was sent.
    pub damaged: usize,
    /// Sums of the clients' `tcpi_total_retrans` and `tcpi_dsack_dups`.
    pub total_retrans: u32,
    pub dsack_dups: u32,
}

impl Account {
    pub fn note(&self, stage: &Stage) {
        let data = json!({
            "connections": self.connections,
            "bytes": self.bytes,
            "intact": self.connections > 0 && self.damaged == 0,
            "total_retrans": self.total_retrans,
            "dsack_dups": self.dsack_dups,
        });
        stage.note(super::SETTLED, data);
    }
}
