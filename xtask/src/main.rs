//! `cargo xtask`: dispatch only. Exit codes are described in `cli.rs`.

use clap::Parser as _;
use std::process::ExitCode;
use xtask::cli::{Cli, Command};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup(args) => xtask::setup::main(&args),
        Command::Build(args) => xtask::build::main(&args),
        Command::Run(args) => xtask::run::main(&args),
        Command::Test(args) => xtask::test::main(&args),
        Command::Vm(args) => xtask::vm::main(&args),
        Command::Matrix(args) => xtask::matrix::main(&args),
        Command::Bench(args) => xtask::bench::main(&args),
        Command::Ci => xtask::ci::main(),
        Command::Docs => xtask::docs::main(),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(xtask::cli::INFRASTRUCTURE)
        }
    }
}
