//! What the kernel says of a TCP socket: `struct tcp_info` (include/uapi/linux/tcp.h).
//!
//! Eight bytes, then numbers of 32 bits, since 3.15 some of 64 among them. The struct has only ever grown, so
//! what an older kernel does not tell is 0.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use anyhow::{Context as _, Result};

/// Up to and with `tcpi_dsack_dups` (4.19).
const LEN: usize = 220;

/// As far as the labs ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// 1 ESTABLISHED … 12 NEW_SYN_RECV
    pub state: u8,
    /// Expiries of the retransmission timer in a row.
    pub backoff: u8,
    /// TCPI_OPT_TIMESTAMPS 1, SACK 2, WSCALE 4 and more
    pub options: u8,
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    pub rto_us: u32,
    pub snd_mss: u32,
    /// Segments in flight; of a listener, connections that wait for accept.
    pub unacked: u32,
    /// Of a listener, the limit of those.
    pub sacked: u32,
    pub total_retrans: u32,
    /// Segments with data that were sent, resent ones included.
    pub data_segs_out: u32,
    /// Needless segments of which the peer has told.
    pub dsack_dups: u32,
}

impl TcpInfo {
    /// # Errors
    /// The socket is none of TCP's.
    pub fn of(socket: impl AsFd) -> Result<TcpInfo> {
        let mut bytes = [0_u8; LEN];
        let mut len = bytes.len() as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes.
        let code = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                bytes.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        if code != 0 {
            return Err(io::Error::last_os_error()).context("TCP_INFO");
        }
        Ok(TcpInfo::parse(&bytes))
    }

    fn parse(bytes: &[u8; LEN]) -> TcpInfo {
        let word = |at: usize| {
            let word: Option<&[u8; 4]> = bytes.get(at..).and_then(|rest| rest.first_chunk());
            word.map_or(0, |word| u32::from_ne_bytes(*word))
        };
        TcpInfo {
            state: bytes[0],
            backoff: bytes[4],
            options: bytes[5],
            snd_wscale: bytes[6] & 15,
            rcv_wscale: bytes[6] >> 4,
            rto_us: word(8),
            snd_mss: word(16),
            unacked: word(24),
            sacked: word(28),
            total_retrans: word(100),
            data_segs_out: word(156),
            dsack_dups: word(216),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;
    use crate::lab::sandbox::{Sandbox, enter};

    #[test]
    fn both_ends_and_the_listener_tell_what_they_are() {
        let sandbox = Sandbox::new().expect("needs root");
        let work = move || {
            enter(sandbox.netns()).unwrap();
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 20_000)).unwrap();
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, 20_000)).unwrap();
            let own = TcpInfo::of(&listener).unwrap();
            assert_eq!((own.state, own.unacked, own.sacked), (10, 1, 128));
            std::io::Write::write_all(&mut client, b"hello").unwrap();
            let info = TcpInfo::of(&client).unwrap();
            assert_eq!((info.state, info.backoff, info.data_segs_out), (1, 0, 1));
            // Timestamps, SACK and window scale are what both ends ask for by default.
            assert_eq!(info.options & 7, 7);
            assert!(info.snd_mss > 1000 && info.rto_us >= 200_000);
        };
        std::thread::spawn(work).join().unwrap();
    }

    #[test]
    fn what_is_no_socket_of_tcps_is_an_error() {
        assert!(TcpInfo::of(std::io::stdin()).is_err());
    }
}
