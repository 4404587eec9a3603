//! TCP as the kernel numbers it: states, families, addresses in events, and its table of sockets in /proc.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;

pub const ESTABLISHED: u8 = 1;
pub const SYN_SENT: u8 = 2;
pub const SYN_RECV: u8 = 3;
pub const FIN_WAIT1: u8 = 4;
pub const FIN_WAIT2: u8 = 5;
pub const TIME_WAIT: u8 = 6;
pub const CLOSE: u8 = 7;
pub const CLOSE_WAIT: u8 = 8;
pub const LAST_ACK: u8 = 9;
pub const LISTEN: u8 = 10;
pub const CLOSING: u8 = 11;
pub const NEW_SYN_RECV: u8 = 12;

/// include/net/tcp_states.h; a half-open request (12) is a SYN_RECV to everybody outside.
pub const STATES: &[(u8, &str)] = &[
    (ESTABLISHED, "ESTABLISHED"),
    (SYN_SENT, "SYN_SENT"),
    (SYN_RECV, "SYN_RECV"),
    (FIN_WAIT1, "FIN_WAIT1"),
    (FIN_WAIT2, "FIN_WAIT2"),
    (TIME_WAIT, "TIME_WAIT"),
    (CLOSE, "CLOSE"),
    (CLOSE_WAIT, "CLOSE_WAIT"),
    (LAST_ACK, "LAST_ACK"),
    (LISTEN, "LISTEN"),
    (CLOSING, "CLOSING"),
];

pub fn state_name(state: u8) -> &'static str {
    let state = if state == NEW_SYN_RECV {
        SYN_RECV
    } else {
        state
    };
    let known = STATES.iter().find(|(number, _)| *number == state);
    known.map_or("?", |(_, name)| name)
}

pub fn state_of(name: &str) -> Option<u8> {
    let known = STATES.iter().find(|(_, known)| *known == name);
    known.map(|(number, _)| *number)
}

/// An address as events have it: IPv4 in the first four bytes. An IPv4 peer of an IPv6 socket is IPv4.
pub fn address(family: u16, bytes: [u8; 16]) -> IpAddr {
    if family == AF_INET6 {
        return Ipv6Addr::from(bytes).to_canonical();
    }
    let [a, b, c, d, ..] = bytes;
    Ipv4Addr::new(a, b, c, d).into()
}

/// The other way round, for filters.
pub fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
    }
}

/// A line of /proc/PID/net/tcp or tcp6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub state: u8,
    /// 0 none, 1 resend (also of a SYN+ACK), 2 keepalive, 3 TIME_WAIT, 4 zero-window probe.
    pub timer: u8,
    /// Until that timer expires, hundredths of a second (USER_HZ).
    pub expires: u64,
    pub uid: u32,
    pub inode: u64,
}

/// Both tables of the calling thread's network namespace.
///
/// # Errors
/// No /proc. A kernel without IPv6 has no second table, which is no error.
pub fn table() -> std::io::Result<Vec<Entry>> {
    let mut entries = parse(&std::fs::read_to_string("/proc/thread-self/net/tcp")?);
    if let Ok(text) = std::fs::read_to_string("/proc/thread-self/net/tcp6") {
        entries.extend(parse(&text));
    }
    Ok(entries)
}

fn parse(text: &str) -> Vec<Entry> {
    text.lines().skip(1).filter_map(line).collect()
}

/// `0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 12345 1 0 …`
fn line(text: &str) -> Option<Entry> {
    let mut words = text.split_whitespace().skip(1);
    let (local, remote) = (ends(words.next()?)?, ends(words.next()?)?);
    let state = u8::from_str_radix(words.next()?, 16).ok()?;
    let (timer, expires) = words.nth(1)?.split_once(':')?;
    let uid = words.nth(1)?.parse().ok()?;
    let inode = words.nth(1)?.parse().ok()?;
    Some(Entry {
        local,
        remote,
        state,
        timer: u8::from_str_radix(timer, 16).ok()?,
        expires: u64::from_str_radix(expires, 16).ok()?,
        uid,
        inode,
    })
}

/// The address is printed as 32-bit words of the machine's order.
fn ends(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = [0; 16];
    let words = address.len() / 8;
    if !address.is_ascii() || (words != 1 && words != 4) {
        return None;
    }
    for (at, part) in bytes.chunks_exact_mut(4).take(words).enumerate() {
        let word = u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok()?;
        part.copy_from_slice(&word.to_ne_bytes());
    }
    let family = if words == 1 { AF_INET } else { AF_INET6 };
    Some(SocketAddr::new(
        self::address(family, bytes),
        u16::from_str_radix(port, 16).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0000000000000000 100 0 0 10 0\n\
        1: 0100007F:1F90 0200007F:C350 06 00000000:00000000 03:0000176E 00000000     0        0 0 3 0000000000000000\n";
    const V6: &str = "head\n 0: 00000000000000000000000001000000:0016 0000000000000000FFFF00000100007F:C351 01 00000000:00000000 02:0000AFC8 00000000     0        0 77 2 0\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_both_families_are_read() {
        let v4 = parse(V4);
        assert_eq!(v4.len(), 2);
        assert_eq!(v4[0].local, "127.0.0.1:8080".parse().unwrap());
        assert_eq!((v4[0].state, v4[0].uid, v4[0].inode), (LISTEN, 1000, 12345));
        assert_eq!(
            (v4[1].state, v4[1].timer, v4[1].expires),
            (TIME_WAIT, 3, 5998)
        );
        let v6 = parse(V6);
        assert_eq!(v6[0].local, "[::1]:22".parse().unwrap());
        // An IPv4 peer of an IPv6 socket.
        assert_eq!(v6[0].remote, "127.0.0.1:50001".parse().unwrap());
    }

    #[test]
    fn damaged_lines_are_left_out() {
        assert!(
            parse("head\n0: 01:1 02:2 01\n1: ÄÄÄÄÄÄÄÄ:1 0100007F:1 01 0:0 0:0 0 0 0 0\n")
                .is_empty()
        );
    }

    #[test]
    fn states_have_the_kernels_names() {
        assert_eq!(
            (state_name(5), state_name(NEW_SYN_RECV), state_name(99)),
            ("FIN_WAIT2", "SYN_RECV", "?")
        );
        assert_eq!(state_of("CLOSING"), Some(11));
    }
}
