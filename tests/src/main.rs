//! Live tests of `probes`: one static program, run as root on a host and as a guest's only job.
//!
//! Each test runs in a forked child with a budget of its own, so that a panic, a hang or a namespace
//! it enters stays its own. Results go to people on standard output and to `xtask` as JSON lines.

use std::process::ExitCode;

mod cases;
mod context;
mod harness;
mod runner;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some(harness::server::MODE) => harness::server::main(args),
        Some(harness::closer::MODE) => harness::closer::main(args),
        Some(harness::story::MODE) => harness::story::main(args),
        Some(harness::noise::MODE) => harness::noise::main(args),
        _ => runner::main(cases::TESTS, runner::expected::SKIPS),
    }
}
