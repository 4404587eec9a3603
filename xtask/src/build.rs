//! Builds both halves: the eBPF objects with a compiler that can build `core` for the BPF target,
//! then the programs for the host. The two must not see each other's flags, so every cargo call
//! here starts from an environment without RUSTFLAGS and its relatives.

use crate::cli::{self, BuildArgs};
use crate::setup::{self, compiler::Compiler};
use crate::{dirs, sh};
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;
use std::process::Command;

const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Dev,
    Release,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Dynamic,
    /// Runs in any guest: glibc inside.
    Static,
}

/// The programs of one build.
#[derive(Debug, Clone)]
pub struct Programs {
    pub probes: PathBuf,
    pub tests: PathBuf,
    pub init: PathBuf,
}

pub fn main(args: &BuildArgs) -> Result<u8> {
    setup::ensure(setup::Need::Build)?;
    let profile = if args.release {
        Profile::Release
    } else {
        Profile::Dev
    };
    let link = if args.static_ {
        Link::Static
    } else {
        Link::Dynamic
    };
    let programs = host(profile, link)?;
    println!("{}", programs.probes.display());
    println!("{}", programs.tests.display());
    Ok(cli::OK)
}

/// Everything the host and the guests need.
pub fn host(profile: Profile, link: Link) -> Result<Programs> {
    ebpf()?;
    programs(&["probes", "probes-tests", "probes-init"], profile, link)
}

/// Only `probes`, for running a trace.
pub fn probes() -> Result<Programs> {
    ebpf()?;
    programs(&["probes"], Profile::Release, Link::Dynamic)
}

/// `probes`, and the program that measures it.
pub fn bench() -> Result<(Programs, PathBuf)> {
    ebpf()?;
    let bins = ["probes", "probes-bench"];
    let programs = programs(&bins, Profile::Release, Link::Dynamic)?;
    let bench = programs.probes.with_file_name("probes-bench");
    Ok((programs, bench))
}

/// Only the guest's init: enough to try a guest.
pub fn init() -> Result<Programs> {
    programs(&["probes-init"], Profile::Release, Link::Static)
}

fn programs(bins: &[&str], profile: Profile, link: Link) -> Result<Programs> {
    let _step = sh::step(format!("build {} ({profile:?}, {link:?})", bins.join(", ")));
    let mut cargo = cargo();
    cargo.arg("build");
    for bin in bins {
        cargo.args(["--package", package(bin), "--bin", bin]);
    }
    finish(cargo, profile, link)
}

fn package(bin: &str) -> &str {
    match bin {
        "probes" => "probes-user",
        "probes-init" => "xtask",
        same => same,
    }
}

fn finish(mut cargo: Command, profile: Profile, link: Link) -> Result<Programs> {
    let mut dir = dirs::target();
    if link == Link::Static {
        cargo.args(["--target", STATIC_TARGET]).env(
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-C target-feature=+crt-static",
        );
        dir.push(STATIC_TARGET);
    }
    match profile {
        Profile::Dev => dir.push("debug"),
        Profile::Release => {
            cargo.arg("--release");
            dir.push("release");
        }
    }
    sh::run(&mut cargo)?;
    Ok(Programs {
        probes: dir.join("probes"),
        tests: dir.join("probes-tests"),
        init: dir.join("probes-init"),
    })
}

/// Builds the eBPF objects into `target/ebpf`.
pub fn ebpf() -> Result<()> {
    let compiler = Compiler::find()?.context(
        "could not find a compiler for eBPF; try `cargo xtask setup --check`, which says what is missing",
    )?;
    let _step = sh::step(format!("build the eBPF objects with {compiler}"));
    sh::run(ebpf_cargo(&compiler, "build")?.arg("--release"))
}

/// A cargo call for the eBPF crate, with the compiler that can build it.
pub fn ebpf_cargo(compiler: &Compiler, verb: &str) -> Result<Command> {
    let manifest = dirs::root().join("probes-ebpf/Cargo.toml");
    if !manifest.is_file() {
        bail!("could not find {}", manifest.display());
    }
    let mut cargo = compiler.cargo();
    clean_env(&mut cargo);
    cargo
        .arg(verb)
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(dirs::target().join("ebpf"))
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"])
        .env("PATH", setup::compiler::linker_path()?)
        .current_dir(dirs::root().join("probes-ebpf"));
    Ok(cargo)
}

/// The cargo that runs us, at the workspace's root.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    clean_env(&mut cargo);
    cargo
        .env("PROBES_EBPF_DIR", dirs::ebpf_objects())
        .current_dir(dirs::root());
    cargo
}

/// `cargo xtask` hands down what cargo set for us; none of it is meant for another build.
pub fn clean_env(command: &mut Command) {
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        let leaks = name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || name.starts_with("CARGO_BUILD_")
            || name.starts_with("CARGO_TARGET_") && name.ends_with("_RUSTFLAGS")
            || matches!(
                &*name,
                "RUSTFLAGS" | "CARGO_ENCODED_RUSTFLAGS" | "CARGO_BIN_NAME" | "CARGO_CRATE_NAME"
            );
        if leaks {
            command.env_remove(&key);
        }
    }
}
