//! SYNs from addresses that never answer: what fills a SYN queue.
//!
//! Every SYN has a source address of its own and the same source port. The addresses are local to the sandbox;
//! a listener on that port swallows the SYN-ACKs by a socket filter, so that no reset comes back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::net::{Protocol, SendFlags, SocketFlags, SocketType, sendto, socket_with};

use super::route::make_local;
use super::socket;

/// The source port of every SYN.
pub const SOURCE_PORT: u16 = 4444;
const PREFIX: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0);

const TCP: u8 = 6;
const HOPS: u8 = 64;

#[derive(Debug)]
pub struct Flood {
    raw: OwnedFd,
    /// Keeps swallowing.
    _swallow: OwnedFd,
    to: SocketAddr,
    sent: u32,
}

impl Flood {
    /// Against a listener in the calling thread's namespace.
    ///
    /// # Errors
    /// No privilege for raw sockets, or no route.
    pub fn new(to: SocketAddr) -> Result<Flood> {
        let v6 = to.is_ipv6();
        let any = match to {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        if v6 {
            make_local(PREFIX, 64)?;
        }
        let swallow = socket::listener(any, SOURCE_PORT, 1)?;
        drop_all(&swallow)?;
        let raw =
            Protocol::from_raw(core::num::NonZero::new(libc::IPPROTO_RAW as u32).context("raw")?);
        let raw = socket_with(
            socket::family(v6),
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(raw),
        )
        .context("could not make a raw socket; try as root (CAP_NET_RAW)")?;
        Ok(Flood {
            raw,
            _swallow: swallow,
            to,
            sent: 0,
        })
    }

    pub fn sent(&self) -> u32 {
        self.sent
    }

    /// One SYN from an address that has sent none yet.
    ///
    /// # Errors
    /// The packet cannot be sent.
    pub fn send(&mut self) -> Result<()> {
        self.sent += 1;
        let packet = packet(self.to, self.sent);
        // The port stands in the packet; IPv6 takes none here.
        let to = SocketAddr::new(self.to.ip(), 0);
        sendto(&self.raw, &packet, SendFlags::empty(), &to).context("could not send a SYN")?;
        Ok(())
    }
}

/// A classic filter that takes 0 bytes of every packet.
fn drop_all(socket: &OwnedFd) -> Result<()> {
    let mut code = [libc::sock_filter {
        code: 0x06, // BPF_RET | BPF_K
        jt: 0,
        jf: 0,
        k: 0,
    }];
    let program = libc::sock_fprog {
        len: 1,
        filter: code.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the one instruction during the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error()).context("could not attach a socket filter")
    }
}

/// The n-th spoofed address: 127.1.0.0 + n, or fd00:: + n.
pub fn source(v6: bool, n: u32) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::from_bits(PREFIX.to_bits() + u128::from(n)))
    } else {
        IpAddr::V4(Ipv4Addr::from_bits(0x7f01_0000 + n))
    }
}

fn packet(to: SocketAddr, n: u32) -> Vec<u8> {
    let segment = syn(to.port(), n);
    let mut packet = match (source(to.is_ipv6(), n), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ipv4(from, to),
        (_, IpAddr::V4(to)) => ipv4(Ipv4Addr::UNSPECIFIED, to),
        (IpAddr::V6(from), IpAddr::V6(to)) => ipv6(from, to),
        (_, IpAddr::V6(to)) => ipv6(Ipv6Addr::UNSPECIFIED, to),
    };
    let addresses = if to.is_ipv6() { 8..40 } else { 12..20 };
    let pseudo = sum(&packet[addresses]) + u32::from(TCP) + segment.len() as u32;
    let check = fold(pseudo + sum(&segment));
    let at = packet.len() + 16;
    packet.extend(segment);
    packet[at..at + 2].copy_from_slice(&check.to_be_bytes());
    packet
}

/// Checksum and id are the kernel's to fill in.
fn ipv4(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend(40_u16.to_be_bytes());
    header.extend([0, 0, 0, 0, HOPS, TCP, 0, 0]);
    header.extend(from.octets());
    header.extend(to.octets());
    header
}

fn ipv6(from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(20_u16.to_be_bytes());
    header.extend([TCP, HOPS]);
    header.extend(from.octets());
    header.extend(to.octets());
    header
}

/// A SYN of 20 bytes without options, its checksum still 0.
fn syn(port: u16, n: u32) -> Vec<u8> {
    let mut segment = Vec::with_capacity(20);
    segment.extend(SOURCE_PORT.to_be_bytes());
    segment.extend(port.to_be_bytes());
    segment.extend(n.wrapping_mul(0x9e37_79b9).to_be_bytes());
    segment.extend([0, 0, 0, 0, 5 << 4, 2]);
    segment.extend(64_240_u16.to_be_bytes());
    segment.extend([0, 0, 0, 0]);
    segment
}

fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks_exact(2);
    words
        .map(|two| u32::from(two[0]) << 8 | u32::from(two[1]))
        .sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::netns::{Nstat, set_sysctl};
    use crate::lab::queue::half_open;
    use crate::lab::sandbox::{Sandbox, enter};

    #[test]
    fn each_syn_leaves_a_half_open_connection_and_none_is_reset() {
        let sandbox = Sandbox::new().expect("needs root");
        let work = move || {
            enter(sandbox.netns()).unwrap();
            set_sysctl("net.ipv4.tcp_syncookies", "0").unwrap();
            for v6 in [false, true] {
                let before = Nstat::read().unwrap();
                let to = SocketAddr::new(socket::loopback(v6), 20000);
                let _listener = socket::listener(to.ip(), 20000, 64).unwrap();
                let mut flood = Flood::new(to).unwrap();
                (0..20).for_each(|_| flood.send().unwrap());
                let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
                while half_open(v6, 20000).unwrap() < 20 && std::time::Instant::now() < end {
                    std::thread::yield_now();
                }
                assert_eq!(half_open(v6, 20000).unwrap(), 20);
                let grown = Nstat::read().unwrap().since(&before);
                assert_eq!(grown.get("TcpOutRsts"), None, "{grown:?}");
            }
        };
        std::thread::spawn(work).join().unwrap();
    }
}
