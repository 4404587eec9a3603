//! Where a report goes: standard output or a file, as text or as JSON.

use std::fs::File;
use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};

use super::args::OutputArgs;
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
        let style = text::Style { colour: colour(output), verbose: output.verbose };
        bytes.extend_from_slice(text::report(report, style).as_bytes());
    }
    write(&bytes, output)
}

fn colour(output: &OutputArgs) -> bool {
    output.output.is_none() && io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn write(bytes: &[u8], output: &OutputArgs) -> Result<()> {
    match &output.output {
        Some(path) => File::create(path)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .with_context(|| format!("could not write {}", path.display())),
        None => print(bytes),
    }
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
