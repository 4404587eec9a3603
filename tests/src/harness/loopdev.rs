//! A block device of the test's own, over memory: a loop device that clears itself when it is closed.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
const LOOP_SET_FD: libc::Ioctl = 0x4c00;
const LOOP_SET_STATUS64: libc::Ioctl = 0x4c04;
/// `struct loop_info64` and the place of its flags.
const INFO_LEN: usize = 232;
const INFO_FLAGS: usize = 52;
const AUTOCLEAR: u32 = 4;

#[derive(Debug)]
pub struct LoopDev {
    pub path: PathBuf,
    _device: File,
}

impl LoopDev {
    pub fn new(bytes: u64) -> LoopDev {
        let backing = memfd_create("loop", MemfdFlags::CLOEXEC).expect("memory for a device");
        ftruncate(&backing, bytes).expect("its size");
        let control = open("/dev/loop-control");
        // Another one may take the free device first.
        for _ in 0..20 {
            // SAFETY: takes numbers only.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
            assert!(number >= 0, "a free loop device");
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = open(&path.to_string_lossy());
            // SAFETY: takes numbers only.
            if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_FD, backing.as_raw_fd()) } != 0 {
                continue;
            }
            let mut info = [0u8; INFO_LEN];
            info[INFO_FLAGS..INFO_FLAGS + 4].copy_from_slice(&AUTOCLEAR.to_ne_bytes());
            // SAFETY: a whole loop_info64, which the kernel reads.
            let set = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_STATUS64, info.as_ptr()) };
            assert_eq!(set, 0, "autoclear: {}", std::io::Error::last_os_error());
            return LoopDev {
                path,
                _device: device,
            };
        }
        panic!("no loop device was to be had");
    }
}

fn open(path: &str) -> File {
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(true).open(path);
    opened.unwrap_or_else(|error| panic!("{path}: {error}"))
}
