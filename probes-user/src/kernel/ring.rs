//! Whether the kernel has ring buffers: settled by making one.

use std::os::fd::{FromRawFd, OwnedFd};

use serde::{Deserialize, Serialize};

/// BPF_MAP_TYPE_RINGBUF (5.8), our only way to stream events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RingBuffer {
    Works,
    /// The kernel does not know the map type.
    Missing,
    /// There is no bpf(2) at all (CONFIG_BPF_SYSCALL).
    NoBpf,
    /// EPERM: no privilege, a seccomp filter, or before 5.11 RLIMIT_MEMLOCK.
    Forbidden,
    /// Any other errno.
    Failed(i32),
}

impl RingBuffer {
    /// Makes the smallest ring there is and closes it again.
    pub(super) fn probe() -> Self {
        const BPF_MAP_CREATE: libc::c_long = 0;
        const RINGBUF: u32 = 27;
        // A page: more would not fit the limit of locked memory of 5.10.
        const SIZE: u32 = 4096;
        // union bpf_attr: map_type, key_size, value_size, max_entries, map_flags; the kernel zeroes the rest.
        let attr: [u32; 5] = [RINGBUF, 0, 0, SIZE, 0];
        // SAFETY: the kernel reads size_of_val(&attr) bytes from attr, which outlives the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_CREATE,
                attr.as_ptr(),
                size_of_val(&attr),
            )
        };
        let Ok(fd @ 0..) = i32::try_from(fd) else {
            return match std::io::Error::last_os_error().raw_os_error() {
                Some(libc::EINVAL) => Self::Missing,
                Some(libc::ENOSYS) => Self::NoBpf,
                Some(libc::EPERM) => Self::Forbidden,
                other => Self::Failed(other.unwrap_or(0)),
            };
        };
        // SAFETY: a descriptor just received from the kernel, owned by nobody else.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
        Self::Works
    }
}
