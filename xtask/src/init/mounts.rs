//! The file systems that a program expects to find.

use rustix::fs::Mode;
use rustix::mount::{MountFlags, mount};
use std::fs;

/// Source and type, where, options, and whether a kernel may lack it.
const MOUNTS: &[(&str, &str, &str)] = &[
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", "mode=0755"),
    ("devpts", "/dev/pts", "mode=0620,ptmxmode=0666"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("tmpfs", "/tmp", "mode=1777"),
    ("tmpfs", "/run", "mode=0755"),
    ("cgroup2", "/sys/fs/cgroup", ""),
    ("tracefs", "/sys/kernel/tracing", ""),
    ("debugfs", "/sys/kernel/debug", ""),
    ("bpf", "/sys/fs/bpf", "mode=0700"),
];

/// Mounts them all; what failed is a warning, for the job may not need it.
pub fn all() -> Vec<String> {
    let mut warnings = Vec::new();
    rustix::process::umask(Mode::from_bits_truncate(0o022));
    for (kind, path, options) in MOUNTS {
        let _ = fs::create_dir_all(path);
        let data = std::ffi::CString::new(*options).unwrap_or_default();
        let flags = MountFlags::empty();
        if let Err(error) = mount(*kind, *path, *kind, flags, Some(data.as_c_str())) {
            warnings.push(format!("could not mount {kind} on {path}: {error}"));
        }
    }
    // As the service manager of a real machine does it.
    if let Err(error) = fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory +io") {
        warnings.push(format!("could not switch on controllers: {error}"));
    }
    let links = [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ];
    for (target, path) in links {
        let _ = std::os::unix::fs::symlink(target, path);
    }
    warnings
}
