//! All TCP sockets of the calling thread's network namespace, asked of the kernel by netlink (sock_diag).
//!
//! Listeners, connections, half-open requests and TIME_WAIT alike, with cookie, owner's uid, inode and timer.
//! To be listed gives a socket its cookie, which its events bear from then on: an exact key. A kernel without
//! inet_diag is asked through /proc/net/tcp, which knows neither cookies nor bytes. What could fool it: the
//! list is not of one moment; what changes meanwhile is in the events.

use std::net::SocketAddr;

use rustix::io::Errno;
use rustix::net::netlink::SOCK_DIAG;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

use crate::kernel::tcp::{self, AF_INET, AF_INET6};

/// include/uapi/linux/sock_diag.h, inet_diag.h, netlink.h
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_SKMEMINFO: u16 = 7;
const IPPROTO_TCP: u8 = 6;
const NLMSG_HEADER: usize = 16;
const REQUEST: usize = NLMSG_HEADER + 56;
/// struct inet_diag_msg
const MESSAGE: usize = 72;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub family: u16,
    pub state: u8,
    /// As in [`tcp::Entry`].
    pub timer: u8,
    pub expires_ms: u64,
    pub uid: u32,
    /// 0 = no process has it.
    pub inode: u64,
    /// 0 = not known.
    pub cookie: u64,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub rtt_us: u32,
    /// Of a listener; none where the kernel does not tell.
    pub queue: Option<AcceptQueue>,
}

/// What `ss -tlnm` shows of a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AcceptQueue {
    /// Connections that wait for accept(): `sk_ack_backlog`.
    pub waiting: u32,
    /// `sk_max_ack_backlog`
    pub limit: u32,
    /// SYNs and ACKs that it has dropped since its begin: `sk_drops`.
    pub drops: Option<u32>,
}

/// # Errors
/// Neither netlink nor /proc answers.
pub fn sockets() -> std::io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        match dump(family, &mut found) {
            Ok(()) => {}
            // No inet_diag module, or no IPv6.
            Err(_) if family == AF_INET => {
                return Ok(tcp::table()?.into_iter().map(plain).collect());
            }
            Err(_) => {}
        }
    }
    Ok(found)
}

fn plain(entry: tcp::Entry) -> Found {
    Found {
        local: entry.local,
        remote: entry.remote,
        family: if entry.local.is_ipv4() {
            AF_INET
        } else {
            AF_INET6
        },
        state: entry.state,
        timer: entry.timer,
        expires_ms: entry.expires * 10,
        uid: entry.uid,
        inode: entry.inode,
        cookie: 0,
        bytes_acked: 0,
        bytes_received: 0,
        rtt_us: 0,
        queue: None,
    }
}

fn dump(family: u16, found: &mut Vec<Found>) -> Result<(), Errno> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    )?;
    send(&socket, &request(family), SendFlags::empty())?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let (length, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        if length == 0 || messages(buffer.get(..length).unwrap_or_default(), family, found)? {
            return Ok(());
        }
    }
}

fn request(family: u16) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    bytes[..4].copy_from_slice(&(REQUEST as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    // struct inet_diag_req_v2: family, protocol, wanted attributes, states, and no socket in particular.
    bytes[16] = family as u8;
    bytes[17] = IPPROTO_TCP;
    bytes[18] = 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_SKMEMINFO - 1);
    bytes[20..24].copy_from_slice(&u32::MAX.to_ne_bytes());
    bytes
}

/// True = that was the last.
fn messages(mut bytes: &[u8], family: u16, found: &mut Vec<Found>) -> Result<bool, Errno> {
    while let (Some(length), Some(kind)) = (u32_at(bytes, 0), u16_at(bytes, 4)) {
        let length = length as usize;
        let Some(body) = bytes.get(NLMSG_HEADER..length) else {
            return Err(Errno::BADMSG);
        };
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code = u32_at(body, 0).map_or(0, u32::cast_signed);
                return Err(Errno::from_raw_os_error(-code));
            }
            SOCK_DIAG_BY_FAMILY => found.extend(socket(body, family)),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn socket(body: &[u8], family: u16) -> Option<Found> {
    let end = |port: usize, address: usize| {
        let bytes: [u8; 16] = body.get(address..address + 16)?.try_into().ok()?;
        let port: [u8; 2] = body.get(port..port + 2)?.try_into().ok()?;
        Some(SocketAddr::new(
            tcp::address(family, bytes),
            u16::from_be_bytes(port),
        ))
    };
    let attributes = body.get(MESSAGE..)?;
    let info = attribute(attributes, INET_DIAG_INFO).unwrap_or_default();
    let memory = attribute(attributes, INET_DIAG_SKMEMINFO).unwrap_or_default();
    let state = *body.get(1)?;
    // idiag_rqueue, idiag_wqueue; SK_MEMINFO_DROPS.
    let queue = AcceptQueue {
        waiting: u32_at(body, 56)?,
        limit: u32_at(body, 60)?,
        drops: u32_at(memory, 32),
    };
    Some(Found {
        local: end(4, 8)?,
        remote: end(6, 24)?,
        family,
        state,
        timer: *body.get(2)?,
        expires_ms: u32_at(body, 52)?.into(),
        uid: u32_at(body, 64)?,
        inode: u32_at(body, 68)?.into(),
        cookie: u64::from(u32_at(body, 44)?) | u64::from(u32_at(body, 48)?) << 32,
        // struct tcp_info: tcpi_rtt, tcpi_bytes_acked, tcpi_bytes_received.
        rtt_us: u32_at(info, 68).unwrap_or_default(),
        bytes_acked: u64_at(info, 120).unwrap_or_default(),
        bytes_received: u64_at(info, 128).unwrap_or_default(),
        queue: (state == tcp::LISTEN).then_some(queue),
    })
}

fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let (Some(length), Some(kind)) = (u16_at(bytes, 0), u16_at(bytes, 2)) {
        let length = usize::from(length);
        if kind == wanted {
            return bytes.get(4..length);
        }
        bytes = bytes.get(length.max(4).next_multiple_of(4)..)?;
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn own_sockets_are_listed_with_their_inodes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let all = sockets().unwrap();
        let inode = rustix::fs::fstat(&client).unwrap().st_ino;
        let its = all.iter().find(|its| its.inode == inode).unwrap();
        assert_eq!(its.local, client.local_addr().unwrap());
        assert_eq!(its.remote, client.peer_addr().unwrap());
        assert_eq!(its.state, tcp::ESTABLISHED);
        let of_listener = |its: &&Found| its.local == listener.local_addr().unwrap();
        let states: Vec<u8> = all
            .iter()
            .filter(of_listener)
            .map(|its| its.state)
            .collect();
        assert!(states.contains(&tcp::LISTEN), "{states:?}");
        let own = all.iter().filter(of_listener).find_map(|its| its.queue);
        let queue = own.unwrap();
        assert_eq!((queue.waiting, queue.drops), (1, Some(0)));
        assert!(queue.limit > 0);
    }

    #[test]
    fn damaged_answers_are_errors_or_nothing() {
        let mut found = Vec::new();
        let mut bytes = request(AF_INET).to_vec();
        bytes.truncate(20);
        assert!(messages(&bytes, AF_INET, &mut found).is_err());
        assert_eq!(messages(&[], AF_INET, &mut found), Ok(false));
        assert_eq!(messages(&[0; 16], AF_INET, &mut found), Err(Errno::BADMSG));
        assert!(socket(&[0; 71], AF_INET).is_none() && found.is_empty());
        assert_eq!(attribute(&[0; 8], 2), None);
    }
}
