//! Whether probes can run here at all: one line per precondition, each with its remedy.
//!
//! Pure: judges a [`Kernel`] that was asked before. Function probes are not judged here, since nothing but
//! an attempt to attach tells.

use std::fmt;

use serde::Serialize;

use super::version::major_minor;
use super::{Capability, Kernel, Lockdown, RingBuffer};
use crate::trace::Mode;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// Runs, with less precision or fewer abilities.
    Warn,
    /// Cannot run.
    Fail,
}

/// One precondition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub state: State,
    /// What is the case.
    pub found: String,
    /// What to do about it; none if nothing need be done.
    pub remedy: Option<String>,
}

/// Nothing can be measured here: exit code 3. The text says what failed, why and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CannotRun {
    pub message: String,
}

impl CannotRun {
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

impl fmt::Display for CannotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CannotRun {}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Ok,
            found: found.into(),
            remedy: None,
        }
    }

    fn not(state: State, name: &'static str, found: impl Into<String>, remedy: &str) -> Self {
        Self {
            name,
            state,
            found: found.into(),
            remedy: Some(remedy.to_owned()),
        }
    }
}

/// Every precondition, in the order in which they depend on each other. `Mode::Lab` asks for what a sandbox
/// needs as well; in `Mode::Watch` that is only a warning.
pub fn checks(kernel: &Kernel, mode: Mode) -> Vec<Check> {
    vec![
        architecture(kernel),
        privilege(kernel),
        user_namespace(kernel),
        pid_namespace(kernel),
        types(kernel),
        lockdown(kernel),
        ring_buffer(kernel),
        lab(kernel, mode),
        addresses(kernel),
        memlock(kernel),
        unprivileged(kernel),
        Check::ok(
            "function probes",
            "tried when attaching: fentry, then kprobe",
        ),
    ]
}

/// The first reason why nothing can be measured here.
///
/// # Errors
/// [`CannotRun`] with the one message to print.
pub fn ready(kernel: &Kernel, mode: Mode) -> Result<(), CannotRun> {
    match checks(kernel, mode)
        .into_iter()
        .find(|c| c.state == State::Fail)
    {
        None => Ok(()),
        Some(Check {
            found,
            remedy: Some(remedy),
            ..
        }) => Err(CannotRun::new(format!("{found}; {remedy}"))),
        Some(Check { found, .. }) => Err(CannotRun::new(found)),
    }
}

fn architecture(kernel: &Kernel) -> Check {
    let name = "architecture";
    if kernel.machine == "x86_64" {
        return Check::ok(name, "x86_64");
    }
    let found = format!("this machine is {}", kernel.machine);
    Check::not(
        State::Fail,
        name,
        found,
        "probes knows x86_64 only: run it there",
    )
}

fn privilege(kernel: &Kernel) -> Check {
    let name = "privilege";
    let lacking = kernel
        .capabilities
        .lacking(&[Capability::Bpf, Capability::Perfmon]);
    if lacking.is_empty() {
        return Check::ok(name, "may load and attach programs");
    }
    let remedy =
        "probes needs root (CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_ADMIN): run it with sudo";
    Check::not(State::Fail, name, format!("lacking {lacking}"), remedy)
}

fn user_namespace(kernel: &Kernel) -> Check {
    let name = "user namespace";
    if kernel.initial_user_ns {
        return Check::ok(name, "initial");
    }
    let remedy =
        "capabilities do not count there for the kernel itself: run outside the rootless container";
    Check::not(
        State::Fail,
        name,
        "this is not the initial user namespace",
        remedy,
    )
}

fn pid_namespace(kernel: &Kernel) -> Check {
    let name = "pid namespace";
    if kernel.initial_pid_ns {
        return Check::ok(name, format!("initial, pids below {}", kernel.pid_max));
    }
    let remedy =
        "programs see other pids than we do: run on the host, or the container with --pid=host";
    Check::not(
        State::Fail,
        name,
        "this is not the initial pid namespace",
        remedy,
    )
}

fn types(kernel: &Kernel) -> Check {
    match &kernel.btf_missing {
        None => Check::ok("kernel types", super::btf::VMLINUX),
        // The reader's message holds its own remedy.
        Some(why) => Check {
            name: "kernel types",
            state: State::Fail,
            found: why.clone(),
            remedy: None,
        },
    }
}

fn lockdown(kernel: &Kernel) -> Check {
    let name = "lockdown";
    match kernel.lockdown {
        None => Check::ok(name, "none visible"),
        Some(Lockdown::None) => Check::ok(name, "none"),
        Some(Lockdown::Integrity) => Check::ok(name, "integrity: reading is allowed"),
        Some(Lockdown::Confidentiality) => {
            let found =
                "the kernel is locked down (confidentiality): programs may not read its memory";
            let remedy = "boot with lockdown=integrity or without Secure Boot";
            Check::not(State::Fail, name, found, remedy)
        }
    }
}

fn ring_buffer(kernel: &Kernel) -> Check {
    let name = "ring buffer";
    match kernel.ring_buffer {
        RingBuffer::Works => Check::ok(name, "works"),
        RingBuffer::Missing => Check::not(
            State::Fail,
            name,
            "the kernel has no BPF ring buffer",
            "run Linux 5.8 or later",
        ),
        RingBuffer::NoBpf => {
            let remedy = "run a kernel with CONFIG_BPF_SYSCALL, outside of seccomp";
            Check::not(
                State::Fail,
                name,
                "the kernel has no bpf system call",
                remedy,
            )
        }
        RingBuffer::Forbidden
            if privilege(kernel).state == State::Fail || !kernel.initial_user_ns =>
        {
            let remedy = "see the lines above";
            Check::not(State::Warn, name, "not tried for lack of privilege", remedy)
        }
        RingBuffer::Forbidden => {
            let found = "bpf(2) is refused although the capabilities are there";
            let remedy =
                "run outside the container (seccomp), or raise `ulimit -l` before Linux 5.11";
            Check::not(State::Fail, name, found, remedy)
        }
        RingBuffer::Failed(errno) => {
            let error = std::io::Error::from_raw_os_error(errno);
            let remedy = "try again with more memory free";
            Check::not(
                State::Fail,
                name,
                format!("could not make a BPF ring buffer: {error}"),
                remedy,
            )
        }
    }
}

fn lab(kernel: &Kernel, mode: Mode) -> Check {
    let name = "lab";
    let lacking = kernel
        .capabilities
        .lacking(&[Capability::NetAdmin, Capability::SysAdmin]);
    if lacking.is_empty() {
        return Check::ok(name, "may make namespaces");
    }
    let state = if mode == Mode::Lab {
        State::Fail
    } else {
        State::Warn
    };
    let remedy = "the lab's namespaces need them: run it with sudo, or watch a process with -p";
    Check::not(state, name, format!("lacking {lacking}"), remedy)
}

fn addresses(kernel: &Kernel) -> Check {
    let name = "kernel addresses";
    if kernel.symbols_visible {
        return Check::ok(name, "visible");
    }
    let found = "hidden: stacks have no names, and claims that read stacks stay open";
    let remedy = "run as root with CAP_SYSLOG; if kernel.kptr_restrict is 2, set it to 1";
    Check::not(State::Warn, name, found, remedy)
}

fn memlock(kernel: &Kernel) -> Check {
    let name = "locked memory";
    let Some(limit) = kernel.memlock else {
        return Check::ok(name, "unlimited");
    };
    let found = format!("limit of {} KiB", limit / 1024);
    if major_minor(kernel.patch_level()).is_some_and(|version| version >= (5, 11)) {
        return Check::ok(name, format!("{found}, not applied to maps since 5.11"));
    }
    if kernel.capabilities.has(Capability::SysResource) {
        return Check::ok(name, format!("{found}, raised at start"));
    }
    Check::not(
        State::Warn,
        name,
        found,
        "maps may not fit: run with CAP_SYS_RESOURCE or `ulimit -l unlimited`",
    )
}

fn unprivileged(kernel: &Kernel) -> Check {
    let found = match kernel.unprivileged_bpf_disabled {
        None => "no such setting".to_owned(),
        Some(0) => {
            "kernel.unprivileged_bpf_disabled = 0: anyone may load simple programs".to_owned()
        }
        Some(value) => {
            format!("kernel.unprivileged_bpf_disabled = {value}: privilege needed, as here")
        }
    };
    Check::ok("unprivileged BPF", found)
}

#[cfg(test)]
#[path = "preflight_tests.rs"]
mod tests;
