//! Where a report goes: standard output or a file, as text or as JSON.

use std::fs::File;
use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};

use super::args::OutputArgs;
use crate::evidence::Ledger;
use crate::render::{Report, json, text};

/// Writes the whole report.
///
/// # Errors
/// The file cannot be written. A reader that has gone away (a closed pipe) is no error.
pub fn report(report: &Report, output: &OutputArgs) -> Result<()> {
    let mut bytes = Vec::new();
    if output.json {
        serde_json::to_writer_pretty(&mut bytes, &json::document(report))?;
        bytes.push(b'\n');
    } else {
        let style = text::Style {
            colour: colour(output),
            verbose: output.verbose,
        };
        bytes.extend_from_slice(text::report(report, style).as_bytes());
    }
    write(&bytes, output)
}

fn colour(output: &OutputArgs) -> bool {
    output.output.is_none() && io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn write(bytes: &[u8], output: &OutputArgs) -> Result<()> {
    match &output.output {
        Some(path) => {
            let written = File::create(path).and_then(|mut file| file.write_all(bytes));
            if written.is_err() {
                // Nothing that was measured is lost.
                print(bytes)?;
            }
            written.with_context(|| {
                let name = path.display();
                format!("could not write {name}, the report went to standard output")
            })
        }
        None => print(bytes),
    }
}

/// Writes a ledger in the middle of a watch; JSON waits for the end, which is one document.
///
/// # Errors
/// As [`report`].
pub fn interim(ledger: &Ledger, output: &OutputArgs) -> Result<()> {
    if output.json || output.output.is_some() {
        return Ok(());
    }
    let mut out = String::new();
    if output.timestamp {
        out.push_str(&time_of_day());
    }
    out.push_str(&text::ledger(
        ledger,
        text::Style {
            colour: colour(output),
            verbose: output.verbose,
        },
    ));
    out.push('\n');
    print(out.as_bytes())
}

/// `HH:MM:SS` and a line end, local time.
fn time_of_day() -> String {
    // SAFETY: both structs are plain data that the calls fill.
    let tm = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut tm: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const now, &raw mut tm);
        tm
    };
    format!("{:02}:{:02}:{:02}\n", tm.tm_hour, tm.tm_min, tm.tm_sec)
}

/// # Errors
/// Standard output cannot be written (a full disk …).
pub fn print(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("could not write to standard output"),
    }
}
