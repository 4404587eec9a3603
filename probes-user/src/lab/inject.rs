//! Hand-made SYNs from any source, put on the wire as whole frames (a packet socket): for floods and for clients
//! that never answer. How many is the caller's to bound.
//!
//! A destination within 127/8 is refused by the kernel when the source is not: give `lo` another address
//! first, and make the sources' prefix a hole (`lab::link`).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::link;

/// Options of a usual client: MSS 1460, SACK permitted, timestamps, window scale 7.
pub const USUAL: [u8; 20] = [
    2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
];
const ETHERNET: usize = 14;
const TCP: usize = 20;
const SYN: u8 = 2;
const PROTOCOL_TCP: u8 = libc::IPPROTO_TCP as u8;

/// A packet socket that sends on one interface and receives nothing.
#[derive(Debug)]
pub struct Injector {
    socket: OwnedFd,
    index: u32,
}

impl Injector {
    /// Of the calling thread's network namespace.
    ///
    /// # Errors
    /// No such interface, or no CAP_NET_RAW.
    pub fn new(interface: &str) -> Result<Injector> {
        let socket = socket_with(
            AddressFamily::PACKET,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )
        .context("could not make a packet socket; try as root (CAP_NET_RAW)")?;
        Ok(Injector {
            socket,
            index: link::index(interface)?,
        })
    }

    /// Sends one SYN. `options` are the bytes of its TCP options, at most 40.
    ///
    /// # Errors
    /// Ends of two families, too many options, or a full queue.
    pub fn syn(
        &self,
        source: SocketAddr,
        dest: SocketAddr,
        seq: u32,
        options: &[u8],
    ) -> Result<()> {
        self.send(&syn(source, dest, seq, options)?)
            .with_context(|| format!("could not send a SYN from {source} to {dest}"))
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: plain data; all zero is valid.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as libc::c_ushort;
        to.sll_ifindex = self.index.cast_signed();
        to.sll_protocol = u16::from_ne_bytes([frame[12], frame[13]]);
        to.sll_halen = 6;
        // SAFETY: both point to as many bytes as said.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const to).cast(),
                size_of_val(&to) as libc::socklen_t,
            )
        };
        match usize::try_from(sent) {
            Ok(len) if len == frame.len() => Ok(()),
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}

/// The whole frame.
fn syn(source: SocketAddr, dest: SocketAddr, seq: u32, options: &[u8]) -> Result<Vec<u8>> {
    if options.len() > 40 {
        bail!(
            "{} bytes of TCP options: there is room for 40",
            options.len()
        );
    }
    let tcp = segment(source.port(), dest.port(), seq, options);
    let (kind, header, pseudo) = match (source.ip(), dest.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            (0x0800_u16, v4(from, to, tcp.len()), v4_sum(from, to))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => (0x86dd, v6(from, to, tcp.len()), v6_sum(from, to)),
        _ => bail!("{source} and {dest} are of two families"),
    };
    let mut frame = vec![0; ETHERNET - 2];
    frame.extend(kind.to_be_bytes());
    frame.extend(header);
    let at = frame.len();
    let of_pseudo = pseudo + u32::from(PROTOCOL_TCP) + tcp.len() as u32;
    let checksum = fold(of_pseudo + sum(&tcp));
    frame.extend(tcp);
    frame[at + 16..at + 18].copy_from_slice(&checksum.to_be_bytes());
    Ok(frame)
}

fn segment(source: u16, dest: u16, seq: u32, options: &[u8]) -> Vec<u8> {
    let len = TCP + options.len().next_multiple_of(4);
    let mut tcp = Vec::with_capacity(len);
    tcp.extend(source.to_be_bytes());
    tcp.extend(dest.to_be_bytes());
    tcp.extend(seq.to_be_bytes());
    tcp.extend([0; 4]);
    tcp.extend([(len as u8 / 4) << 4, SYN]);
    tcp.extend(0xfaf0_u16.to_be_bytes());
    tcp.extend([0; 4]);
    tcp.extend(options);
    tcp.resize(len, 0);
    tcp
}

fn v4(from: Ipv4Addr, to: Ipv4Addr, tcp: usize) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend((20 + tcp as u16).to_be_bytes());
    header.extend([0, 0, 0x40, 0, 64, PROTOCOL_TCP, 0, 0]);
    header.extend(from.octets());
    header.extend(to.octets());
    let checksum = fold(sum(&header));
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

fn v6(from: Ipv6Addr, to: Ipv6Addr, tcp: usize) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend((tcp as u16).to_be_bytes());
    header.extend([PROTOCOL_TCP, 64]);
    header.extend(from.octets());
    header.extend(to.octets());
    header
}

fn v4_sum(from: Ipv4Addr, to: Ipv4Addr) -> u32 {
    sum(&from.octets()) + sum(&to.octets())
}

fn v6_sum(from: Ipv6Addr, to: Ipv6Addr) -> u32 {
    sum(&from.octets()) + sum(&to.octets())
}

/// RFC 1071, before the fold.
pub(super) fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|pair| {
        u32::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]))
    });
    words.sum()
}

pub(super) fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
#[path = "inject_tests.rs"]
mod tests;
