//! The loopback interface, up: by ioctl, for there is no `ip` in the guest.

use rustix::net::{AddressFamily, SocketType, socket};
use std::os::fd::AsRawFd as _;

pub fn loopback_up() -> Option<String> {
    set_up()
        .err()
        .map(|error| format!("could not bring lo up: {error}"))
}

fn set_up() -> std::io::Result<()> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: an all-zero ifreq is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request outlives the call and is of the type that this ioctl reads.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) };
    if done < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}
