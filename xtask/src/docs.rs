//! The generated parts of the documents: `probes` itself writes and checks them, from its registry.

use crate::build::{self, Link};
use crate::{cli, dirs, sh};
use anyhow::Result;
use std::process::Command;

/// `cargo xtask docs`: write them again.
pub fn main() -> Result<u8> {
    probes_docs("--write", Link::Dynamic)
}

/// Part of CI: they must be what the code says. With the programs that the live tests run.
pub fn check() -> Result<u8> {
    let code = probes_docs("--check", Link::Static)?;
    if code != cli::OK {
        eprintln!("the generated documents differ from the code: try `cargo xtask docs`");
    }
    Ok(code)
}

fn probes_docs(flag: &str, link: Link) -> Result<u8> {
    let programs = match link {
        Link::Dynamic => build::probes()?,
        Link::Static => build::host(build::Profile::Release, link)?,
    };
    sh::exit_code(
        Command::new(programs.probes)
            .args(["docs", flag])
            .current_dir(dirs::root()),
    )
}
