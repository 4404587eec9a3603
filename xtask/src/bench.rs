//! `cargo xtask bench`: what the toolkit costs beside an empty program and beside other tools. Builds, and
//! hands over to `probes-bench`, which runs as root; see bench/. No part of CI: it wants a quiet machine.

use crate::cli::BenchArgs;
use crate::{build, dirs, setup, sh};
use anyhow::Result;

const PAGE: &str = "docs/benchmarks.md";

pub fn main(args: &BenchArgs) -> Result<u8> {
    setup::ensure(setup::Need::Build)?;
    let (programs, bench) = build::bench()?;
    let mut run = sh::as_root(bench);
    run.arg("run")
        .arg("--probes")
        .arg(&programs.probes)
        .arg("--objects")
        .arg(dirs::ebpf_objects())
        .arg("--folder")
        .arg(dirs::target());
    if !args.only.is_empty() {
        run.arg("--only").arg(args.only.join(","));
    }
    if let Some(rounds) = args.rounds {
        run.arg("--rounds").arg(rounds.to_string());
    }
    if args.quick {
        run.arg("--quick");
    }
    if args.write {
        run.arg("--write").arg(dirs::root().join(PAGE));
    }
    sh::exit_code(&mut run)
}
