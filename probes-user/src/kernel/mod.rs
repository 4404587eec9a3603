//! The kernel model: what runs here and what it allows. The only readers of /proc and /sys.
//!
//! [`Kernel`] is built once and is plain data, so that tests can make one of any kind; the judgement over it
//! is [`preflight`]. Types and addresses are asked separately ([`btf`], [`symbols`]) since they cost time.

pub mod btf;
mod filter;
mod lockdown;
pub mod preflight;
mod privilege;
mod proc;
mod ring;
pub mod symbols;
pub mod tcp;
pub mod uring;
mod version;

use serde::{Deserialize, Serialize};

pub use lockdown::Lockdown;
pub use preflight::{CannotRun, Check, State};
pub use privilege::{Capabilities, Capability};
pub use proc::{jiffy_ns, monotonic_ns, own_rss_peak, process_lives, raise_memlock};
pub use ring::RingBuffer;
pub use version::patch_level;

/// The running kernel and what it allows this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// `uname -v`: holds the true patch level on Debian, see [`Self::patch_level`].
    pub version: String,
    /// `uname -m`.
    pub machine: String,
    /// CPUs online, at least 1.
    pub cpus: u32,
    /// CPUs that could come online: the rows of a per-CPU map.
    pub possible_cpus: u32,
    /// Process ids are below this: 32768 to 4194304.
    pub pid_max: u32,
    /// Whether our pids are those that the kernel (and thus every program) sees.
    pub initial_pid_ns: bool,
    /// Whether capabilities count against the kernel itself and not only against a container.
    pub initial_user_ns: bool,
    pub capabilities: Capabilities,
    /// None: not visible to us.
    pub lockdown: Option<Lockdown>,
    /// `kernel.unprivileged_bpf_disabled`: 0 anyone may load, 1 and 2 nobody without privilege. None: no
    /// such setting.
    pub unprivileged_bpf_disabled: Option<u8>,
    /// Why the kernel's types cannot be read; none if they can.
    pub btf_missing: Option<String>,
    pub ring_buffer: RingBuffer,
    /// Whether /proc/kallsyms shows us addresses.
    pub symbols_visible: bool,
    /// RLIMIT_MEMLOCK in bytes; none = unlimited. Limits maps before 5.11.
    pub memlock: Option<u64>,
}

/// As many cells has a value of a per-CPU map.
///
/// # Errors
/// No sysfs.
pub fn possible_cpus() -> Result<u32, CannotRun> {
    proc::cpus("possible")
}

impl Kernel {
    /// Asks the running kernel. Needs no privilege; costs less than a millisecond.
    ///
    /// # Errors
    /// Only when /proc or /sys cannot be read at all.
    pub fn running() -> Result<Self, CannotRun> {
        let uname = rustix::system::uname();
        let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
        Ok(Self {
            release: text(uname.release()),
            version: text(uname.version()),
            machine: text(uname.machine()),
            cpus: proc::cpus("online")?,
            possible_cpus: proc::cpus("possible")?,
            pid_max: proc::pid_max()?,
            initial_pid_ns: proc::in_initial_namespace("pid")?,
            initial_user_ns: proc::in_initial_namespace("user")?,
            capabilities: Capabilities(proc::effective_capabilities()?),
            lockdown: Lockdown::running(),
            unprivileged_bpf_disabled: proc::setting("kernel/unprivileged_bpf_disabled"),
            btf_missing: btf::Btf::probe().err().map(|e| e.to_string()),
            ring_buffer: RingBuffer::probe(),
            symbols_visible: symbols::visible(),
            memlock: rustix::process::getrlimit(rustix::process::Resource::Memlock).current,
        })
    }

    /// The true version, such as `5.10.223`: Debian's release names say `5.10.0-32` for years.
    pub fn patch_level(&self) -> &str {
        patch_level(&self.release, &self.version)
    }
}
