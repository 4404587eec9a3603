//! Frames taken off an interface as they leave, to be put back later: a held packet is a lost one (by the
//! surgeon) and its copy, sent again when its time has come. So packets cross that never would on loopback.
//!
//! A frame on loopback has no checksum yet, so it gets one here. 127/8 is taken from such a frame only where
//! `route_localnet` and `accept_local` are set.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::inject::{fold, sum};
use super::link;

const ETHERNET: usize = 14;
const PROTOCOL_TCP: u8 = 6;
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const ACK: u8 = 16;

#[derive(Debug)]
pub struct Tap {
    socket: OwnedFd,
    address: libc::sockaddr_ll,
    frames: Vec<Frame>,
}

/// A whole frame, and what of it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub bytes: Vec<u8>,
    pub source_port: u16,
    pub dest_port: u16,
    pub flags: u8,
}

impl Tap {
    /// On an interface of the calling thread's network namespace.
    ///
    /// # Errors
    /// No such interface, or no CAP_NET_RAW.
    pub fn new(interface: &str) -> Result<Tap> {
        let socket = socket_with(
            AddressFamily::PACKET,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .context("could not make a packet socket; try as root (CAP_NET_RAW)")?;
        // SAFETY: plain data; all zero is valid.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as libc::c_ushort;
        address.sll_ifindex = link::index(interface)?.cast_signed();
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: points to as many bytes as said.
        let bound = unsafe {
            libc::bind(
                socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        if bound != 0 {
            return Err(io::Error::last_os_error()).context("could not bind a packet socket");
        }
        Ok(Tap {
            socket,
            address,
            frames: Vec::new(),
        })
    }

    /// The first frame not yet asked for that left from this port with these flags and no others.
    pub fn take(&mut self, source_port: u16, flags: u8) -> Option<Frame> {
        self.drain();
        let wanted = |frame: &Frame| (frame.source_port, frame.flags) == (source_port, flags);
        let at = self.frames.iter().position(wanted)?;
        Some(self.frames.remove(at))
    }

    /// What has passed so far is not asked for any more.
    pub fn forget(&mut self) {
        self.drain();
        self.frames.clear();
    }

    /// # Errors
    /// The kernel's.
    pub fn put_back(&self, frame: &Frame) -> Result<()> {
        let mut to = self.address;
        to.sll_protocol = u16::from_ne_bytes([frame.bytes[12], frame.bytes[13]]);
        to.sll_halen = 6;
        // SAFETY: both point to as many bytes as said.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.bytes.as_ptr().cast(),
                frame.bytes.len(),
                0,
                (&raw const to).cast(),
                size_of_val(&to) as libc::socklen_t,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error()).context("could not put a held packet back");
        }
        Ok(())
    }

    fn drain(&mut self) {
        let mut buffer = [0; 2048];
        // SAFETY: plain data; all zero is valid.
        let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        loop {
            let mut length = size_of_val(&from) as libc::socklen_t;
            // SAFETY: room for as many bytes as said, in both.
            let got = unsafe {
                libc::recvfrom(
                    self.socket.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    0,
                    (&raw mut from).cast(),
                    &raw mut length,
                )
            };
            let Ok(got) = usize::try_from(got) else {
                return;
            };
            // Loopback shows every packet twice: as it leaves, and as it comes in.
            if from.sll_pkttype == libc::PACKET_OUTGOING {
                self.frames
                    .extend(frame(buffer.get(..got).unwrap_or_default()));
            }
        }
    }
}

fn frame(bytes: &[u8]) -> Option<Frame> {
    let kind = u16::from_be_bytes([*bytes.get(12)?, *bytes.get(13)?]);
    let header = match kind {
        0x0800 if *bytes.get(ETHERNET + 9)? == PROTOCOL_TCP => {
            usize::from(*bytes.get(ETHERNET)? & 15) * 4
        }
        0x86dd if *bytes.get(ETHERNET + 6)? == PROTOCOL_TCP => 40,
        _ => return None,
    };
    let tcp = bytes.get(ETHERNET + header..)?;
    // Source and destination address.
    let addresses = match kind {
        0x0800 => ETHERNET + 12..ETHERNET + 20,
        _ => ETHERNET + 8..ETHERNET + 40,
    };
    let pseudo = sum(bytes.get(addresses)?) + u32::from(PROTOCOL_TCP) + tcp.len() as u32;
    let port = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
    let (source_port, dest_port, flags) = (port(0)?, port(2)?, *tcp.get(13)?);
    let mut bytes = bytes.to_vec();
    let tcp = bytes.get_mut(ETHERNET + header..)?;
    tcp.get_mut(16..18)?.fill(0);
    let checksum = fold(pseudo + sum(tcp));
    tcp.get_mut(16..18)?
        .copy_from_slice(&checksum.to_be_bytes());
    Some(Frame {
        bytes,
        source_port,
        dest_port,
        flags,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_both_families_are_read_and_others_left() {
        let mut v4 = vec![0; 14 + 20 + 20];
        (v4[12], v4[14], v4[23]) = (8, 0x45, 6);
        (v4[35], v4[37], v4[47]) = (80, 90, FIN | ACK);
        let read = frame(&v4).unwrap();
        assert_eq!((read.source_port, read.dest_port, read.flags), (80, 90, 17));
        let mut v6 = vec![0; 14 + 40 + 20];
        (v6[12], v6[13], v6[20], v6[55]) = (0x86, 0xdd, 6, 80);
        assert_eq!(frame(&v6).unwrap().source_port, 80);
        v6[20] = 17;
        assert_eq!((frame(&v6), frame(&[0; 13])), (None, None));
        // The checksum is that of the segment with its addresses.
        let whole = sum(&read.bytes[26..34]) + 6 + 20 + sum(&read.bytes[34..]);
        assert_eq!(fold(whole), 0);
        v4.truncate(40);
        assert_eq!(frame(&v4), None);
    }
}
