//! The command line of `cargo xtask`, and the exit codes that its chores share.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

pub const OK: u8 = 0;
pub const TEST_FAILED: u8 = 1;
pub const INFRASTRUCTURE: u8 = 69;
pub const GUEST_PANICKED: u8 = 70;
pub const GUEST_HUNG: u8 = 71;

pub const DEFAULT_MEMORY_MIB: u32 = 1024;

const EXIT_CODES: &str = "\
Exit codes:
  0    everything passed
  1    a test or a check failed (with `vm -- CMD` and `run`: the command's own exit code)
  2    wrong usage
  69   the machine could not do it: a missing tool, a failed build, a guest that said nothing
  70   a guest kernel panicked, or printed an oops, a BUG or a soft lockup
  71   a guest hung: no exit line before its timeout

Environment:
  PROBES_ACCEL            tcg, kvm or auto: what --accel says when it is not given
  PROBES_DEBIAN_MIRROR    Debian mirror for the guest kernels when the machine's own apt sources name none
  XDG_CACHE_HOME          kernels and guest images are kept in its folder `probes`";

/// Build, run and test the toolkit.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find the eBPF toolchain, QEMU and the test servers, or install what is missing
    Setup(SetupArgs),
    /// Build the eBPF objects and the programs around them
    Build(BuildArgs),
    /// Build and run one trace: `cargo xtask run epoll-herd --json`
    #[command(disable_help_flag = true)]
    Run(RunArgs),
    /// Run the tests: pure, on this host's kernel, and in guest kernels
    #[command(
        after_help = "Examples:\n  cargo xtask test\n  cargo xtask test --tier pure,live\n  \
        cargo xtask test --tier vm --kernel 6.1,7.2 --filter epoll --repeat 3"
    )]
    Test(TestArgs),
    /// Run a command, the tests or a shell in a guest kernel
    #[command(
        after_help = "Examples:\n  cargo xtask vm --kernel 5.10,6.1 -- probes epoll-herd\n  \
        cargo xtask vm --kernel 7.2                      the tests\n  \
        cargo xtask vm --kernel 6.12 --shell\n  \
        cargo xtask vm --kernel ./bzImage --modules ./lib/modules/6.9.0 -- probes doctor\n  \
        cargo xtask vm --relock                          pin the kernels the mirror has now\n\n\
        Built-in jobs that try the runner itself: @true, @panic, @hang, @sleep"
    )]
    Vm(VmArgs),
    /// `probes check` on every kernel, claim by kernel: where they differ, and by what
    #[command(
        after_help = "Examples:\n  cargo xtask matrix                               the host and four guests\n  \
        cargo xtask matrix --write                       the same, and docs/kernels.md of it\n  \
        cargo xtask matrix --kernel 6.1,host --only 'tcp-*/*'\n  \
        cargo xtask matrix --kernel 6.1,./bzImage --modules ./lib/modules/6.9.0"
    )]
    Matrix(MatrixArgs),
    /// Measure costs beside an empty program and beside other tools
    #[command(
        after_help = "Parts: wakeups, calls, latencies, events, connections, requests, pages, keys, stream, \
        start\n\nThe other tools are the distribution's: apt-get install libbpf-tools bpfcc-tools bpftrace"
    )]
    Bench(BenchArgs),
    /// What CI runs: formatting, lints, every test, generated documents
    Ci,
    /// Write the generated parts of the documents again
    Docs,
}

#[derive(Debug, Default, Args)]
pub struct SetupArgs {
    /// Only look: exit 0 when everything is there, else say what is missing and its remedy
    #[arg(long)]
    pub check: bool,
    /// Do not ask before installing
    #[arg(long, short)]
    pub yes: bool,
    /// Only what building and running needs: no QEMU, no test servers
    #[arg(long)]
    pub build_only: bool,
}

#[derive(Debug, Default, Args)]
pub struct BuildArgs {
    /// Optimised programs (the eBPF objects always are)
    #[arg(long)]
    pub release: bool,
    /// Static programs, which run in any guest
    #[arg(long = "static")]
    pub static_: bool,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The trace and its arguments, handed to `probes` as they are
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<String>,
}

#[derive(Debug, Default, Args)]
pub struct BenchArgs {
    /// Only these parts, separated by commas
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    pub only: Vec<String>,
    /// How often each contender is measured
    #[arg(long, value_name = "N")]
    pub rounds: Option<u32>,
    /// Few rounds of short blocks: to try it, not to quote
    #[arg(long)]
    pub quick: bool,
    /// Write docs/benchmarks.md (wants every part)
    #[arg(long, conflicts_with_all = ["only", "quick"])]
    pub write: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// `cargo test`: logic, decoders, replayed streams; no root
    Pure,
    /// The real thing on this host's kernel; root
    Live,
    /// The same in guest kernels; no root
    Vm,
}

#[derive(Debug, Default, Args)]
pub struct TestArgs {
    /// Which tiers, separated by commas (all when not given)
    #[arg(long, value_delimiter = ',')]
    pub tier: Vec<Tier>,
    /// Which guest kernels (all of the lock file when not given)
    #[arg(long, value_delimiter = ',')]
    pub kernel: Vec<String>,
    /// Only tests whose name contains one of these, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub filter: Vec<String>,
    /// Run each live test so many times
    #[arg(long, value_name = "N")]
    pub repeat: Option<u32>,
    #[command(flatten)]
    pub guest: GuestArgs,
}

#[derive(Debug, Default, Args)]
pub struct VmArgs {
    /// Labels of the lock file separated by commas, or the path of one bzImage
    #[arg(long, value_delimiter = ',')]
    pub kernel: Vec<String>,
    /// Modules folder (the one that holds `kernel/`) that belongs to a bzImage of yours
    #[arg(long, value_name = "DIR")]
    pub modules: Option<PathBuf>,
    /// A shell in the guest (BusyBox of this host)
    #[arg(long)]
    pub shell: bool,
    /// Add an installed Debian package with everything it depends on
    #[arg(long, value_name = "NAME")]
    pub package: Vec<String>,
    /// Leave the test servers out: boots faster
    #[arg(long)]
    pub bare: bool,
    /// Pin the kernels that the mirror has now, and write them to the lock file
    #[arg(long)]
    pub relock: bool,
    #[command(flatten)]
    pub guest: GuestArgs,
    /// The command; the first word is looked up in the guest, or a file of this host
    #[arg(last = true)]
    pub command: Vec<String>,
}

#[derive(Debug, Default, Args)]
pub struct MatrixArgs {
    /// Labels of the lock file, `host`, or the path of one bzImage, separated by commas (all but that when not given)
    #[arg(long, value_delimiter = ',')]
    pub kernel: Vec<String>,
    /// Modules folder (the one that holds `kernel/`) that belongs to a bzImage of yours
    #[arg(long, value_name = "DIR")]
    pub modules: Option<PathBuf>,
    /// Only claims whose id matches (`*` stands for anything), several by commas
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    pub only: Vec<String>,
    /// The whole as JSON (schema probes.matrix/1) too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write docs/kernels.md
    #[arg(long)]
    pub write: bool,
    #[command(flatten)]
    pub guest: GuestArgs,
}

#[derive(Debug, Default, Clone, Args)]
pub struct GuestArgs {
    /// Seconds a guest may take for its job
    #[arg(long, value_name = "S")]
    pub timeout: Option<u64>,
    /// How the guest's processors are made (auto: KVM if a guest starts with it)
    #[arg(long, env = "PROBES_ACCEL", default_value = "tcg", hide_env = true)]
    pub accel: Accel,
    /// Memory of a guest in MiB
    #[arg(long, value_name = "MIB", default_value_t = DEFAULT_MEMORY_MIB)]
    pub memory: u32,
}

impl GuestArgs {
    #[must_use]
    pub fn timeout_or(&self, seconds: u64) -> Duration {
        Duration::from_secs(self.timeout.unwrap_or(seconds))
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Accel {
    #[default]
    Tcg,
    Kvm,
    Auto,
}
