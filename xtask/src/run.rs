//! `cargo xtask run TRACE ARGS`: from a fresh clone to a running trace in one command.

use crate::cli::RunArgs;
use crate::{build, setup, sh};
use anyhow::Result;

pub fn main(args: &RunArgs) -> Result<u8> {
    setup::ensure(setup::Need::Build)?;
    let programs = build::probes()?;
    sh::exit_code(sh::as_root(&programs.probes).args(&args.args))
}
