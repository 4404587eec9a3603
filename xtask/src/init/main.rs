//! The guest's first process: makes the usual file systems, loads modules, runs one job, says how
//! it ended on a port of its own, and powers off. Called as `modprobe`, which is how the kernel
//! asks for a module, it loads that one from the image instead.

mod builtin;
mod job;
mod modules;
mod mounts;
mod net;
mod ports;

use rustix::system::RebootCommand;
use std::fs;
use xtask::job::{BUILTIN_SLEEP, Control, JOB_PATH, Job};

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

fn main() {
    let mut args = std::env::args();
    let name = args.next().unwrap_or_default();
    if name.ends_with("modprobe") {
        std::process::exit(modules::modprobe(args));
    }
    if args.next().as_deref() == Some(BUILTIN_SLEEP) {
        loop {
            std::thread::park();
        }
    }
    if std::process::id() != 1 {
        eprintln!("this is the first process of a guest; nothing to do here");
        std::process::exit(2);
    }
    boot();
    power_off();
}

fn boot() {
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("PATH", PATH) };
    let mut warnings = mounts::all();
    warnings.extend(modules::load_eager());
    warnings.extend(net::loopback_up());
    let control = match ports::open() {
        Ok(control) => control,
        Err(error) => {
            // Without the port nobody hears us but who reads the kernel's log.
            ports::kernel_log(&format!("could not open the ports: {error}"));
            return;
        }
    };
    control.say(&Control::Boot {
        kernel: read("/proc/sys/kernel/osrelease"),
        uptime_ms: uptime_ms(),
    });
    for message in warnings {
        control.say(&Control::Warning { message });
    }
    let code = match read_job() {
        Ok(job) => job::run(&job, &control),
        Err(message) => {
            control.say(&Control::Warning { message });
            xtask::cli::INFRASTRUCTURE
        }
    };
    control.say(&Control::Exit { code });
}

fn read_job() -> Result<Job, String> {
    let text = fs::read(JOB_PATH).map_err(|error| format!("could not read the job: {error}"))?;
    serde_json::from_slice(&text).map_err(|error| format!("could not understand the job: {error}"))
}

fn read(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

fn uptime_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec * 1000 + now.tv_nsec / 1_000_000).unwrap_or(0)
}

fn power_off() -> ! {
    rustix::fs::sync();
    // QEMU runs with -no-reboot: a restart ends it also where ACPI's power-off is not built in.
    let _ = rustix::system::reboot(RebootCommand::Restart);
    loop {
        std::thread::park();
    }
}
