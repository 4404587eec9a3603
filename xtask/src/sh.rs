//! Running other programs: say what runs, how long it took, and what to try when it fails.

use anyhow::{Context as _, Result, bail};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Prints a step's name now and its time when it is dropped.
#[derive(Debug)]
pub struct Step {
    what: String,
    since: Instant,
}

#[must_use]
pub fn step(what: impl Into<String>) -> Step {
    let what = what.into();
    eprintln!("==> {what}");
    Step {
        what,
        since: Instant::now(),
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        eprintln!(
            "    {:.1} s  {}",
            self.since.elapsed().as_secs_f64(),
            self.what
        );
    }
}

/// A command line as a person would type it.
#[must_use]
pub fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs to the end with our own output; anything but exit 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("could not start `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}

/// True when it ran and exited 0; its output is kept back.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Standard output as text; errors carry what it said on standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let out = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start `{}`", shown(command)))?;
    if !out.status.success() {
        bail!(
            "`{}` failed: {}: {}",
            shown(command),
            out.status,
            String::from_utf8_lossy(&out.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The exit code of a program that may fail for its own reasons.
pub fn exit_code(command: &mut Command) -> Result<u8> {
    use std::os::unix::process::ExitStatusExt as _;
    let status = command
        .status()
        .with_context(|| format!("could not start `{}`", shown(command)))?;
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, signal) => 128 + signal.unwrap_or(0),
    };
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The program, through sudo when we are not root.
#[must_use]
pub fn as_root(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg("--").arg(program);
    command
}

/// Where a program is: in PATH, in the folders of the superuser, or where cargo installs.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .chain(cargo_bin())
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// The folder `cargo install` writes to.
#[must_use]
pub fn cargo_bin() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")))?;
    Some(home.join("bin"))
}

/// PATH with folders put in front, for one child.
pub fn path_with(first: &[PathBuf]) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = first.iter().cloned().chain(std::env::split_paths(&path));
    std::env::join_paths(all).context("could not put together PATH")
}

/// Asks at a terminal; elsewhere nobody can answer and the answer is yes.
pub fn confirm(question: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    eprint!("{question} [Y/n] ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(matches!(line.trim(), "" | "y" | "Y" | "yes"))
}
