//! The `probes` binary: reads the command line, hands over, turns the outcome into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    match probes_user::cli::run(std::env::args_os()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("probes: {error:#}");
            probes_user::exit::of_error(&error).into()
        }
    }
}
