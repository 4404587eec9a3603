//! SOCK_DESTROY by sock_diag: what `ss -K` asks of the kernel.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, bail};

const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
/// NLM_F_REQUEST, NLM_F_ACK
const FLAGS: u16 = 1 | 4;
/// nlmsghdr and inet_diag_req_v2.
const LEN: usize = 16 + 56;

/// Destroys the socket with these ends in the calling thread's namespace; returns the kernel's errno, 0 = done.
///
/// # Errors
/// No netlink, or an answer that is none.
pub fn destroy(local: SocketAddr, remote: SocketAddr) -> Result<i32> {
    // SAFETY: no memory is passed.
    let fd = unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            NETLINK_SOCK_DIAG,
        )
    };
    if fd < 0 {
        return Err(std::io::Error::last_os_error()).context("no socket of sock_diag");
    }
    // SAFETY: the kernel has just given us this descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let message = request(local, remote);
    rustix::net::send(&socket, &message, rustix::net::SendFlags::empty())
        .context("could not ask sock_diag")?;
    let mut answer = [0_u8; 512];
    // SAFETY: the kernel writes at most the buffer's length.
    let len = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            answer.as_mut_ptr().cast(),
            answer.len(),
            0,
        )
    };
    if len < 20 || u16::from_ne_bytes([answer[4], answer[5]]) != NLMSG_ERROR {
        bail!("sock_diag gave no answer");
    }
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    Ok(-code)
}

fn request(local: SocketAddr, remote: SocketAddr) -> [u8; LEN] {
    let mut message = [0; LEN];
    let mut put = |at: usize, bytes: &[u8]| message[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(LEN as u32).to_ne_bytes());
    put(4, &SOCK_DESTROY.to_ne_bytes());
    put(6, &FLAGS.to_ne_bytes());
    put(8, &1_u32.to_ne_bytes());
    let family = match local {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    put(16, &[family as u8, libc::IPPROTO_TCP as u8]);
    // All states.
    put(20, &u32::MAX.to_ne_bytes());
    put(24, &local.port().to_be_bytes());
    put(26, &remote.port().to_be_bytes());
    for (at, ip) in [(28, local.ip()), (44, remote.ip())] {
        match ip {
            IpAddr::V4(ip) => put(at, &ip.octets()),
            IpAddr::V6(ip) => put(at, &ip.octets()),
        }
    }
    // Any interface is 0; INET_DIAG_NOCOOKIE.
    put(64, &[0xff; 8]);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_ends_where_inet_diag_has_them() {
        let message = request(
            "127.0.0.1:258".parse().unwrap(),
            "127.0.0.2:772".parse().unwrap(),
        );
        assert_eq!(message[16..18], [2, 6]);
        assert_eq!(message[24..32], [1, 2, 3, 4, 127, 0, 0, 1]);
        assert_eq!(message[44..48], [127, 0, 0, 2]);
        assert_eq!(message[64..72], [0xff; 8]);
    }
}
