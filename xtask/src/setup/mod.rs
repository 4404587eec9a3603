//! `cargo xtask setup`: looks for what the project needs, says what it will install, installs it.
//! Idempotent. Building and running a trace needs only the eBPF toolchain; the live and guest
//! tests also want QEMU and real servers.

pub mod apt;
pub mod compiler;
mod missing;
pub mod packages;

use crate::cli::{self, SetupArgs};
use crate::sh;
use anyhow::{Result, bail};
use missing::{Missing, look};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Building, and running a trace.
    Build,
    /// Also QEMU and the servers of the tests.
    Tests,
}

pub fn main(args: &SetupArgs) -> Result<u8> {
    let need = if args.build_only {
        Need::Build
    } else {
        Need::Tests
    };
    let missing = look(need)?;
    if args.check {
        return Ok(report(&missing));
    }
    if missing.is_empty() {
        println!("nothing is missing");
        return Ok(cli::OK);
    }
    install(need, missing, args.yes)?;
    Ok(cli::OK)
}

/// Installs what is missing, and says nothing when nothing is.
pub fn ensure(need: Need) -> Result<()> {
    let missing = look(need)?;
    if missing.is_empty() {
        return Ok(());
    }
    install(need, missing, std::env::var_os("CI").is_some())
}

fn report(missing: &[Missing]) -> u8 {
    for item in missing {
        println!("missing  {:<22} {}", item.what(), item.remedy());
    }
    if missing.is_empty() {
        println!("nothing is missing");
        return cli::OK;
    }
    cli::TEST_FAILED
}

/// Each round installs what can be seen to be missing; a compiler shows which LLVM and linker it
/// wants only once it is there. Three rounds settle it: packages, LLVM, linker.
fn install(need: Need, mut missing: Vec<Missing>, yes: bool) -> Result<()> {
    let _step = sh::step("setup");
    if apt::available() {
        apt::update()?;
    }
    let mut agreed = yes;
    for _ in 0..3 {
        eprintln!("    will install:");
        for item in &missing {
            eprintln!("      {:<22} {}", item.what(), item.remedy());
        }
        if !agreed && !sh::confirm("go on?")? {
            bail!("nothing was installed");
        }
        agreed = true;
        missing::install(&missing)?;
        missing = look(need)?;
        if missing.is_empty() {
            return Ok(());
        }
    }
    report(&missing);
    bail!("could not install everything; see the remedies above")
}
