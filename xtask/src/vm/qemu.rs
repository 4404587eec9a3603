//! The QEMU command line and its process. The ports and the image are files handed
//! down by number, so nothing lies on disk; the guest dies with us whatever happens to us.

use crate::cli::Accel;
use crate::{job, sh};
use anyhow::{Context as _, Result};
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = "qemu-system-x86_64";
/// Emulation with one thread per processor panicked guests, and so did cmpxchg16b; this ran clean.
const TCG: &[&str] = &[
    "-accel",
    "tcg,thread=single",
    "-cpu",
    "Skylake-Client-v4,-cx16",
];
const KVM: &[&str] = &["-accel", "kvm", "-cpu", "host"];
/// An oops ends the guest; the soft lockup watchdog waits longer than an emulated guest may stall.
const KERNEL: &str = "panic=-1 oops=panic watchdog_thresh=30 mitigations=off random.trust_cpu=on \
    printk.devkmsg=on loglevel=6 ignore_rlimit_data";

/// The lines that connect us to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    Kernel,
    Console,
    Results,
    Control,
}

impl Port {
    pub const ALL: [Self; 4] = [Self::Kernel, Self::Console, Self::Results, Self::Control];

    fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Console => job::CONSOLE_PORT,
            Self::Results => job::RESULTS_PORT,
            Self::Control => job::CONTROL_PORT,
        }
    }
}

/// What differs from guest to guest.
#[derive(Debug)]
pub struct Machine<'a> {
    pub kernel: &'a Path,
    pub initrd: &'a File,
    pub kvm: bool,
    pub memory: u32,
    /// The first serial line is the terminal we run in.
    pub shell: bool,
}

/// Starts the guest; the streams are our ends of its ports.
pub fn start(machine: &Machine<'_>) -> Result<(Child, Vec<(Port, UnixStream)>)> {
    let mut ours = Vec::new();
    let mut theirs: Vec<(Port, OwnedFd)> = Vec::new();
    for port in Port::ALL {
        let (mine, guest) = UnixStream::pair().context("could not make a socket pair")?;
        ours.push((port, mine));
        theirs.push((port, guest.into()));
    }
    let initrd: OwnedFd = machine.initrd.try_clone()?.into();
    let mut qemu = command(machine, &initrd, &theirs);
    let fds: Vec<OwnedFd> = theirs
        .into_iter()
        .map(|(_, fd)| fd)
        .chain([initrd])
        .collect();
    // SAFETY: between fork and exec only two system calls are made, on numbers that are already
    // there; nothing allocates or takes a lock.
    unsafe {
        qemu.pre_exec(move || {
            for fd in &fds {
                rustix::io::fcntl_setfd(fd.as_fd(), rustix::io::FdFlags::empty())?;
            }
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            Ok(())
        });
    }
    let child = qemu
        .spawn()
        .with_context(|| format!("could not start {PROGRAM}; try `cargo xtask setup`"))?;
    // `qemu` is dropped here and closes the guest's ends in this process.
    Ok((child, ours))
}

fn command(machine: &Machine<'_>, initrd: &OwnedFd, ports: &[(Port, OwnedFd)]) -> Command {
    let program = sh::find(PROGRAM).unwrap_or_else(|| PROGRAM.into());
    let mut qemu = Command::new(program);
    qemu.args(if machine.kvm { KVM } else { TCG })
        .args(["-smp", "2", "-m", &machine.memory.to_string()])
        .args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
        ])
        .arg("-kernel")
        .arg(machine.kernel)
        .args(["-initrd", &format!("/proc/self/fd/{}", initrd.as_raw_fd())])
        .args(["-device", "virtio-serial-pci"]);
    let console = if machine.shell {
        qemu.args([
            "-chardev",
            "stdio,id=terminal,signal=off",
            "-serial",
            "chardev:terminal",
        ]);
        qemu.stdin(Stdio::inherit()).stdout(Stdio::inherit());
        "ttyS1"
    } else {
        qemu.stdin(Stdio::null()).stdout(Stdio::null());
        "ttyS0"
    };
    for (port, fd) in ports {
        let id = format!("port-{}", port.name());
        qemu.args(["-chardev", &format!("socket,id={id},fd={}", fd.as_raw_fd())]);
        match port {
            Port::Kernel => qemu.args(["-serial", &format!("chardev:{id}")]),
            _ => qemu.args([
                "-device",
                &format!("virtserialport,chardev={id},name={}", port.name()),
            ]),
        };
    }
    qemu.args(["-append", &format!("console={console} {KERNEL}")])
        .stderr(Stdio::piped());
    qemu
}

/// What to try, in order.
#[must_use]
pub fn accelerators(accel: Accel) -> &'static [bool] {
    match accel {
        Accel::Tcg => &[false],
        Accel::Kvm => &[true],
        Accel::Auto
            if std::fs::File::options()
                .read(true)
                .write(true)
                .open("/dev/kvm")
                .is_ok() =>
        {
            &[true, false]
        }
        Accel::Auto => &[false],
    }
}
