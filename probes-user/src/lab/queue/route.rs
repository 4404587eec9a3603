//! Makes a whole prefix local to the sandbox, so that a packet may come from, and go to, any address of it.
//!
//! One RTM_NEWROUTE request; 127.0.0.0/8 is local without it.

use std::net::Ipv6Addr;

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// The first interface of every network namespace is its `lo`.
const LO: u32 = 1;

/// # Errors
/// No privilege, or a kernel that refuses the route.
pub fn make_local(prefix: Ipv6Addr, bits: u8) -> Result<()> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // NETLINK_ROUTE is protocol 0.
        None,
    )
    .context("could not open a netlink socket")?;
    send(&socket, &request(prefix, bits), SendFlags::empty())
        .context("could not ask for a route")?;
    let mut answer = [0; 256];
    let (length, _) =
        recv(&socket, &mut answer[..], RecvFlags::empty()).context("could not read the answer")?;
    match error(answer.get(..length).unwrap_or_default()) {
        Some(0) => Ok(()),
        Some(code) => Err(Errno::from_raw_os_error(-code))
            .with_context(|| format!("could not make {prefix}/{bits} local")),
        None => bail!("netlink answered with {length} bytes that are no acknowledgement"),
    }
}

fn request(prefix: Ipv6Addr, bits: u8) -> Vec<u8> {
    let mut body = vec![
        libc::AF_INET6 as u8,
        bits,
        0,
        0,
        libc::RT_TABLE_LOCAL,
        libc::RTPROT_STATIC,
        libc::RT_SCOPE_HOST,
        libc::RTN_LOCAL,
    ];
    body.extend(0_u32.to_ne_bytes());
    attribute(&mut body, libc::RTA_DST, &prefix.octets());
    attribute(&mut body, libc::RTA_OIF, &LO.to_ne_bytes());
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let mut message = Vec::new();
    message.extend((16 + body.len() as u32).to_ne_bytes());
    message.extend(libc::RTM_NEWROUTE.to_ne_bytes());
    message.extend((flags as u16).to_ne_bytes());
    // Sequence number and port, of no use on a socket for one question.
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// All values here are multiples of 4 bytes: no padding.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

/// The error number of an NLMSG_ERROR; 0 = done.
fn error(answer: &[u8]) -> Option<i32> {
    let kind = answer.get(4..6)?.try_into().ok().map(u16::from_ne_bytes)?;
    let code = answer.get(16..20)?.try_into().ok().map(i32::from_ne_bytes);
    code.filter(|_| i32::from(kind) == libc::NLMSG_ERROR)
}
