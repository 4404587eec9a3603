//! The Debian packages that the tests use: the one list for setup and for the guests' images.

/// What runs guests and unpacks their kernels.
pub const GUEST_TOOLS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("xz", "xz-utils"),
    ("dpkg-deb", "dpkg"),
];

/// Real programs that the tests watch or the labs use, on the host and in every guest.
/// Each with a file that shows that it is there.
pub const SERVERS: &[(&str, &str)] = &[
    ("/usr/sbin/nginx", "nginx-light"),
    ("/usr/bin/python3", "python3"),
    (
        "/usr/lib/python3/dist-packages/uvicorn/__init__.py",
        "python3-uvicorn",
    ),
    ("/usr/bin/curl", "curl"),
    // ss and nstat.
    ("/usr/bin/ss", "iproute2"),
    ("/usr/sbin/mkfs.ext4", "e2fsprogs"),
    ("/usr/sbin/mkfs.xfs", "xfsprogs"),
];

/// Single files of packages that are too big for a guest as a whole.
pub const PROGRAMS: &[&str] = &["/usr/bin/dd"];

/// Services that come with them and must not run.
pub const SERVICES: &[(&str, &str)] = &[("nginx-light", "nginx")];

/// Names for other families of distributions, for the instructions.
pub const FEDORA: &str = "dnf install qemu-system-x86-core xz dpkg nginx python3-uvicorn curl e2fsprogs xfsprogs \
     iproute";
pub const ARCH: &str =
    "pacman -S qemu-system-x86 xz dpkg nginx uvicorn curl e2fsprogs xfsprogs iproute2";
