//! Namespaces of the test's own: each test is a process, so it enters them and never comes back.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// A network with nothing but loopback: every port is free and nobody else connects.
pub fn own_network() {
    enter(UnshareFlags::NEWNET);
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).expect("a socket");
    // SAFETY: an all-zero ifreq is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request outlives the call and is of the type that this ioctl reads.
    let done = unsafe {
        libc::ioctl(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            libc::SIOCSIFFLAGS,
            &raw mut request,
        )
    };
    assert_eq!(done, 0, "loopback up: {}", std::io::Error::last_os_error());
}

/// Mounts made from here on are seen by this test and its children alone.
pub fn own_mounts() {
    enter(UnshareFlags::NEWNS);
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).expect("mounts private");
}

pub fn bind(from: &Path, over: &Path) {
    mount_bind(from, over)
        .unwrap_or_else(|error| panic!("binding over {}: {error}", over.display()));
}

/// A small file system, unmounted when dropped.
#[derive(Debug)]
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    pub fn mount(at: &Path, options: &str) -> Tmpfs {
        let options = CString::new(options).expect("mount options");
        let options = Some(options.as_c_str());
        mount("tmpfs", at, "tmpfs", MountFlags::empty(), options)
            .unwrap_or_else(|error| panic!("a tmpfs on {}: {error}", at.display()));
        Tmpfs(at.to_path_buf())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _best_effort = unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn enter(flags: UnshareFlags) {
    // SAFETY: no flag that touches descriptors or memory that other code relies on.
    let entered = unsafe { unshare_unsafe(flags) };
    entered.unwrap_or_else(|error| panic!("a namespace of our own ({flags:?}): {error}"));
}
