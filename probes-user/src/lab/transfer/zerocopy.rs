//! send() with MSG_ZEROCOPY out of a mapping of the file, and the completions that say what became of it.
//!
//! A completion comes on the socket's error queue, for a range of sends; SO_EE_CODE_ZEROCOPY_COPIED in it means
//! that the kernel copied after all (include/uapi/linux/errqueue.h).

use std::os::fd::AsRawFd as _;

use anyhow::{Context, Result, bail};

use super::method::{Sent, Work, moved};
use crate::lab::mapping::Mapping;

const SO_EE_ORIGIN_ZEROCOPY: u8 = 5;
const SO_EE_CODE_ZEROCOPY_COPIED: u8 = 1;

pub fn send(work: &Work<'_>) -> Result<Sent> {
    let socket = work.socket.as_raw_fd();
    let mut sent = Sent {
        tells: Some(true),
        ..Sent::default()
    };
    sent.call("mmap");
    let map = Mapping::new(work.file, work.size)?;
    while sent.bytes < work.size {
        work.stage.check()?;
        let len = work.piece(sent.bytes);
        let from = map.bytes()[usize::try_from(sent.bytes)?..].as_ptr();
        // SAFETY: inside the mapping, which outlives the completions.
        let put = unsafe { libc::send(socket, from.cast(), len, libc::MSG_ZEROCOPY) };
        sent.call("send");
        // Too many completions not fetched yet.
        if put < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOBUFS) {
            wait(work, &mut sent)?;
            continue;
        }
        sent.bytes += moved("send", put)? as u64;
        sent.zero_copy_sends += 1;
    }
    while sent.completed < sent.zero_copy_sends {
        wait(work, &mut sent)?;
    }
    sent.call("mmap");
    drop(map);
    Ok(sent)
}

/// Waits for a completion and takes all there are.
fn wait(work: &Work<'_>, sent: &mut Sent) -> Result<()> {
    work.stage.check()?;
    let mut poll = libc::pollfd {
        fd: work.socket.as_raw_fd(),
        events: 0,
        revents: 0,
    };
    // SAFETY: one pollfd; POLLERR needs no asking.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 10_000) };
    sent.call("poll");
    if ready < 0 {
        return Err(std::io::Error::last_os_error()).context("poll");
    }
    if ready == 0 {
        bail!(
            "no completion came for 10 s: {} of {}",
            sent.completed,
            sent.zero_copy_sends
        );
    }
    while one(work.socket.as_raw_fd(), sent)? {}
    Ok(())
}

/// False when there is none.
fn one(socket: i32, sent: &mut Sent) -> Result<bool> {
    let mut control = [0u64; 32];
    // SAFETY: all zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: writes into `control` only.
    let got = unsafe {
        libc::recvmsg(
            socket,
            &raw mut message,
            libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT,
        )
    };
    sent.call("recv");
    if got < 0 {
        let error = std::io::Error::last_os_error();
        if error.raw_os_error() == Some(libc::EAGAIN) {
            return Ok(false);
        }
        return Err(error).context("recvmsg of the error queue");
    }
    // SAFETY: the kernel filled `control`; the macros stay inside it.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            let error = libc::CMSG_DATA(header)
                .cast::<libc::sock_extended_err>()
                .read_unaligned();
            if error.ee_origin == SO_EE_ORIGIN_ZEROCOPY && error.ee_errno == 0 {
                let sends = u64::from(error.ee_data.wrapping_sub(error.ee_info)) + 1;
                sent.completed += sends;
                if error.ee_code & SO_EE_CODE_ZEROCOPY_COPIED != 0 {
                    sent.copied += sends;
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok(true)
}
