//! `cargo xtask ci`: formatting, lints, every test, generated documents. Everything runs even when
//! something before it failed; the first failure decides the exit code.

use crate::cli::{self, TestArgs};
use crate::setup::{self, compiler::Compiler};
use crate::{build, dirs, docs, sh, test};
use anyhow::{Context as _, Result};
use std::process::Command;

pub fn main() -> Result<u8> {
    setup::ensure(setup::Need::Tests)?;
    let mut worst = Vec::new();
    for (name, check) in [
        ("formatting", formatting as fn() -> Result<u8>),
        ("lints", lints),
        ("lints of the eBPF crate", ebpf_lints),
        ("generated documents", docs::check),
        // Last, so that its totals are what a reader sees at the end.
        ("tests", tests),
    ] {
        let code = check().unwrap_or_else(|error| {
            eprintln!("error: {name}: {error:#}");
            cli::INFRASTRUCTURE
        });
        if code != cli::OK {
            worst.push((name, code));
        }
    }
    for (name, code) in &worst {
        println!("ci: {name} failed ({code})");
    }
    Ok(worst.first().map_or(cli::OK, |(_, code)| *code))
}

fn tests() -> Result<u8> {
    test::main(&TestArgs {
        guest: cli::GuestArgs {
            memory: cli::DEFAULT_MEMORY_MIB,
            ..cli::GuestArgs::default()
        },
        ..TestArgs::default()
    })
}

fn formatting() -> Result<u8> {
    let _step = sh::step("formatting");
    let own = sh::exit_code(build::cargo().args(["fmt", "--all", "--check"]))?;
    let ebpf = dirs::root().join("probes-ebpf/Cargo.toml");
    let mut fmt = build::cargo();
    fmt.args(["fmt", "--check", "--manifest-path"]).arg(ebpf);
    Ok(own.max(sh::exit_code(&mut fmt)?))
}

fn lints() -> Result<u8> {
    build::ebpf()?;
    let _step = sh::step("lints");
    let mut clippy = build::cargo();
    clippy.args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]);
    sh::exit_code(&mut clippy)
}

/// Clippy belongs to one compiler; a distribution's package with sources brings none, and then its
/// own warnings must do.
fn ebpf_lints() -> Result<u8> {
    let compiler = Compiler::find()?.context("could not find a compiler for eBPF")?;
    let clippy = matches!(&compiler, Compiler::Nightly { toolchain }
        if sh::succeeds(Command::new("rustup").args(["run", toolchain, "cargo", "clippy", "-V"])));
    if !clippy {
        eprintln!("==> no clippy for {compiler}: the eBPF crate is built and formatted only");
        return Ok(cli::OK);
    }
    let _step = sh::step("lints of the eBPF crate");
    let mut cargo = build::ebpf_cargo(&compiler, "clippy")?;
    sh::exit_code(cargo.args(["--release", "--", "-D", "warnings"]))
}
