//! The test binary as root on this host's own kernel. It is the static one that the guests run.

use super::Collected;
use crate::build::{self, Link, Profile};
use crate::cli::TestArgs;
use crate::report::{protocol, run::Column};
use crate::sh;
use anyhow::Result;

pub const LABEL: &str = "host";

pub fn run(args: &TestArgs) -> Result<Collected> {
    let programs = build::host(Profile::Release, Link::Static)?;
    let _step = sh::step("live tests on this host's kernel");
    let results = tempfile::NamedTempFile::new()?;
    let mut command = sh::as_root(&programs.tests);
    command
        .args(["--kernel", LABEL, "--results"])
        .arg(results.path())
        .arg("--probes")
        .arg(&programs.probes)
        .args(test_words(args));
    let code = sh::exit_code(&mut command)?;
    let mut column = Column::new(LABEL);
    let lines = std::fs::read(results.path())?;
    for line in String::from_utf8_lossy(&lines).lines() {
        protocol::parse(line)
            .into_iter()
            .for_each(|event| column.take(event));
    }
    column.close(Some(code), !args.filter.is_empty());
    Ok(Collected {
        columns: vec![column],
        ..Collected::default()
    })
}

/// The words that the test binary understands on every kernel.
pub fn test_words(args: &TestArgs) -> Vec<String> {
    let mut words = Vec::new();
    for filter in &args.filter {
        words.extend(["--filter".to_owned(), filter.clone()]);
    }
    if let Some(repeat) = args.repeat {
        words.extend(["--repeat".to_owned(), repeat.to_string()]);
    }
    words
}
