//! A network namespace that nobody else can see: no name, no mount, only a descriptor of ours.
//!
//! A helper thread unshares, brings `lo` up, opens its own namespace and ends; the namespace then lives
//! as long as the descriptor and the children inside it. The tool itself never enters it: `setns` is for
//! children only, so the caller's sockets stay where they were.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, anyhow};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

pub struct Sandbox {
    netns: OwnedFd,
    inum: u32,
}

impl Sandbox {
    /// # Errors
    /// No privilege, no network namespaces in this kernel, no /proc.
    pub fn new() -> Result<Sandbox> {
        let netns = std::thread::Builder::new()
            .name("sandbox".to_owned())
            .spawn(make)
            .context("could not start the thread that makes the sandbox")?
            .join()
            .map_err(|_| anyhow!("the thread that makes the sandbox panicked"))??;
        let inode = rustix::fs::fstat(&netns)
            .context("could not stat the sandbox's network namespace")?
            .st_ino;
        let inum = u32::try_from(inode)
            .context("the network namespace's inode number does not fit 32 bits")?;
        Ok(Sandbox { netns, inum })
    }

    /// Inode number of the network namespace, as `ns.inum` in the kernel.
    pub fn inum(&self) -> u32 {
        self.inum
    }

    pub fn netns(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }
}

/// Moves the calling thread into the namespace. For forked children: allocates nothing.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN.
pub fn enter(netns: BorrowedFd<'_>) -> Result<(), Errno> {
    move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))
}

/// Runs in the helper thread, which is in its own namespace from the first line on.
fn make() -> Result<OwnedFd> {
    // SAFETY: unsharing the network namespace alone leaves memory and descriptor tables as they are.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.map_err(|errno| {
        let remedy = match errno {
            Errno::PERM => "try as root (CAP_SYS_ADMIN)",
            Errno::NOSPC => "try a larger /proc/sys/user/max_net_namespaces",
            _ => "try a kernel with CONFIG_NET_NS",
        };
        anyhow!("could not make a network namespace: {errno}; {remedy}")
    })?;
    bring_lo_up().map_err(|errno| {
        anyhow!("could not bring lo up in the sandbox: {errno}; try as root (CAP_NET_ADMIN)")
    })?;
    let path = "/proc/thread-self/ns/net";
    Ok(File::open(path)
        .with_context(|| format!("could not open {path}; try with /proc mounted"))?
        .into())
}

/// An interface that comes up as loopback gets 127.0.0.1/8 from the kernel (net/ipv4/devinet.c, inetdev_event).
fn bring_lo_up() -> Result<(), Errno> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: an ifreq is plain data; all zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: SIOCSIFFLAGS reads one ifreq.
    let code = unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS as _, &raw const request) };
    if code == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn sandbox_is_another_namespace_and_the_caller_stays_outside() {
        let own = || std::fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
        let before = own();
        let sandbox = Sandbox::new().expect("needs root");
        assert_ne!(u64::from(sandbox.inum()), before);
        assert_eq!(own(), before);
        let other = Sandbox::new().expect("needs root");
        assert_ne!(sandbox.inum(), other.inum());
    }

    #[test]
    fn loopback_works_inside() {
        let sandbox = Sandbox::new().expect("needs root");
        std::thread::spawn(move || {
            enter(sandbox.netns()).unwrap();
            let listener = std::net::TcpListener::bind("127.0.0.1:20000").unwrap();
            std::net::TcpStream::connect("127.0.0.1:20000").unwrap();
            listener.accept().unwrap();
        })
        .join()
        .unwrap();
    }
}
