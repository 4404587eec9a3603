//! Jobs that init does itself: the ones that prove the runner, and the shell.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use xtask::job::{BUILTIN_HANG, BUILTIN_PANIC, BUILTIN_TRUE};

const TERMINAL: &str = "/dev/ttyS0";
const BUSYBOX: &str = "/usr/bin/busybox";

/// The exit code of a built-in job that ends; nothing for a job that is a program.
pub fn run(name: &str) -> Option<u8> {
    match name {
        BUILTIN_TRUE => Some(0),
        BUILTIN_PANIC => {
            sysrq('c');
            // Never reached by a kernel that has sysrq.
            Some(1)
        }
        BUILTIN_HANG => loop {
            std::thread::park();
        },
        _ => None,
    }
}

pub fn sysrq(key: char) {
    let _ = fs::write("/proc/sysrq-trigger", key.to_string());
}

/// A shell with the serial line as its terminal.
pub fn shell() -> std::io::Result<Command> {
    let _ = Command::new(BUSYBOX).args(["--install", "-s"]).status();
    let terminal = File::options().read(true).write(true).open(TERMINAL)?;
    let controlling = terminal.try_clone()?;
    let mut command = Command::new(BUSYBOX);
    command
        .args(["sh", "-l"])
        .stdin(terminal.try_clone()?)
        .stdout(terminal.try_clone()?)
        .stderr(terminal);
    // SAFETY: only two system calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(&controlling)?;
            Ok(())
        });
    }
    Ok(command)
}
