//! Requests to the kernel about interfaces, addresses, routes and filters (rtnetlink), each with its answer.
//!
//! A request is for the network namespace of the thread that sends it. The kernel's own words come with a
//! refusal where it has some.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

pub const CREATE: u16 = 0x400;
pub const EXCLUSIVE: u16 = 0x200;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
/// Of an answer: the request is not repeated in it; words follow.
const CAPPED: u16 = 0x100;
const ACK_TLVS: u16 = 0x200;
const ERROR: u16 = 2;
const MESSAGE: u16 = 1;
const NESTED: u16 = 1 << 15;
const HEADER: usize = 16;
/// Header and error number of an answer.
const ANSWER: usize = HEADER + 4;

/// What the kernel said no with.
#[derive(Debug)]
pub struct Refusal {
    pub errno: Errno,
    said: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.said {
            Some(said) => write!(f, "{} ({said})", self.errno),
            None => self.errno.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Refusal {
        Refusal { errno, said: None }
    }
}

/// One message, built front to back.
#[derive(Debug)]
pub struct Request(Vec<u8>);

impl Request {
    /// `body`: the fixed struct of this kind of message.
    pub fn new(kind: u16, flags: u16, body: &[u8]) -> Request {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | REQUEST | ACK).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(body);
        Request(bytes).padded()
    }

    #[must_use]
    pub fn attr(mut self, kind: u16, value: &[u8]) -> Request {
        self.0.extend((4 + value.len() as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.padded()
    }

    /// A struct that stands before attributes.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Request {
        self.0.extend(bytes);
        self.padded()
    }

    /// An attribute made of attributes.
    #[must_use]
    pub fn nest(self, kind: u16, fill: impl FnOnce(Request) -> Request) -> Request {
        let start = self.0.len();
        let mut filled = fill(self.attr(kind | NESTED, &[]));
        let len = (filled.0.len() - start) as u16;
        filled.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        filled
    }

    fn padded(mut self) -> Request {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Sends it and waits for the answer.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(mut self) -> Result<(), Refusal> {
        let len = self.0.len() as u32;
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )?;
        ask_for_words(&socket);
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&socket, &self.0, SendFlags::empty(), &kernel)?;
        let mut answer = vec![0; 4096];
        let (_, len) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
        answer.truncate(len);
        read(&answer)
    }
}

/// Kernels that give no words refuse; nothing is lost then.
fn ask_for_words(socket: &OwnedFd) {
    const NETLINK_EXT_ACK: libc::c_int = 11;
    let on: libc::c_int = 1;
    // SAFETY: reads one int.
    let _refused = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            NETLINK_EXT_ACK,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
}

fn read(answer: &[u8]) -> Result<(), Refusal> {
    if answer.len() < ANSWER || half(answer, 4) != Some(ERROR) {
        return Err(Errno::BADMSG.into());
    }
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if code == 0 {
        return Ok(());
    }
    Err(Refusal {
        errno: Errno::from_raw_os_error(-code),
        said: words(answer),
    })
}

/// The message attribute that follows the request's repeated header.
fn words(answer: &[u8]) -> Option<String> {
    let flags = half(answer, 6)?;
    if flags & ACK_TLVS == 0 {
        return None;
    }
    let request = half(answer, ANSWER).map(usize::from)?;
    let mut at = ANSWER
        + if flags & CAPPED != 0 {
            HEADER
        } else {
            request.next_multiple_of(4)
        };
    while let (Some(len), Some(kind)) = (half(answer, at), half(answer, at + 2)) {
        let value = answer.get(at + 4..at + usize::from(len))?;
        if kind & !NESTED == MESSAGE {
            let text = String::from_utf8_lossy(value);
            return Some(text.trim_end_matches('\0').to_owned());
        }
        at += usize::from(len).next_multiple_of(4);
    }
    None
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes([pair[0], pair[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nests_know_their_length() {
        let request = Request::new(36, CREATE, &[1, 2, 3, 4])
            .attr(1, b"bpf\0x")
            .nest(2, |options| options.attr(6, &7_u32.to_ne_bytes()));
        let bytes = &request.0[HEADER + 4..];
        assert_eq!(bytes[..12], *b"\x09\0\x01\0bpf\0x\0\0\0");
        assert_eq!(bytes[12..], *b"\x0c\0\x02\x80\x08\0\x06\0\x07\0\0\0");
    }

    #[test]
    fn a_refusal_bears_the_kernels_words() {
        let mut answer = vec![0; HEADER];
        answer[4] = 2;
        answer[7] = 3;
        answer.extend((-22_i32).to_ne_bytes());
        answer.extend([0; HEADER]);
        answer.extend(*b"\x0b\0\x01\0no such\0");
        let refusal = read(&answer).unwrap_err();
        assert_eq!(refusal.errno, Errno::INVAL);
        assert!(refusal.to_string().ends_with("(no such)"), "{refusal}");
    }

    #[test]
    fn damaged_answers_are_errors() {
        assert!(read(&[]).is_err());
        assert!(read(&[0; 20]).is_err());
    }
}
