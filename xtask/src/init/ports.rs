//! The virtio-serial ports by name. The kernel names their devices by number only; the names are
//! in sysfs, and appear there a moment after the driver.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use xtask::job::{CONSOLE_PORT, CONTROL_PORT, Control, RESULTS_PORT};

const CLASS: &str = "/sys/class/virtio-ports";
const LINKS: &str = "/dev/virtio-ports";
/// An emulated guest on a busy host.
const BUDGET: Duration = Duration::from_secs(30);

/// Where we tell the host how it goes.
pub struct ControlPort(File);

impl ControlPort {
    pub fn say(&self, event: &Control) {
        let line = serde_json::to_string(event).unwrap_or_default() + "\n";
        if let Err(error) = (&self.0).write_all(line.as_bytes()) {
            kernel_log(&format!("could not write to the control port: {error}"));
        }
    }
}

#[must_use]
pub fn path(name: &str) -> PathBuf {
    Path::new(LINKS).join(name)
}

/// Waits for all three, links them by name, and opens the one that is ours.
pub fn open() -> io::Result<ControlPort> {
    fs::create_dir_all(LINKS)?;
    let deadline = Instant::now() + BUDGET;
    for name in [CONSOLE_PORT, RESULTS_PORT, CONTROL_PORT] {
        let device = loop {
            if let Some(device) = device(name) {
                break device;
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("no port {name}")));
            }
            std::thread::yield_now();
        };
        std::os::unix::fs::symlink(device, path(name))?;
    }
    let port = File::options().write(true).open(path(CONTROL_PORT))?;
    Ok(ControlPort(port))
}

fn device(name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(CLASS).ok()?.flatten();
    let entry = entries.into_iter().find(|entry| {
        fs::read_to_string(entry.path().join("name")).is_ok_and(|text| text.trim() == name)
    })?;
    let device = Path::new("/dev").join(entry.file_name());
    device.exists().then_some(device)
}

/// The last resort: the kernel's own log.
pub fn kernel_log(text: &str) {
    if let Ok(mut log) = File::options().write(true).open("/dev/kmsg") {
        let _ = writeln!(log, "probes-init: {text}");
    }
}
