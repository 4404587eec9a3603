//! `probes check`: every lab on this kernel, compared with what is known of it.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::output::print;
use crate::evidence::Finding;
use crate::evidence::expect::{Expectations, Verdict};
use crate::exit::{Exit, usage};
use crate::instrument::Without;
use crate::kernel::{Kernel, preflight};
use crate::session::interrupt::Interrupt;
use crate::session::{RunOptions, lab};
use crate::trace::{LabOptions, Mode, TRACES, Trace};

#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Only claims whose id matches (`*` stands for anything): accept-herd/*, */exclusive
    #[arg(long, value_name = "GLOB")]
    pub only: Option<String>,
    /// Compare with this file instead of the built-in knowledge
    #[arg(long, value_name = "FILE")]
    pub expect: Option<PathBuf>,
}

/// # Errors
/// An expectation file that cannot be read; a run that cannot start.
pub fn run(args: &CheckArgs) -> Result<Exit> {
    let expectations = match &args.expect {
        Some(path) => match std::fs::read_to_string(path)
            .map_err(Into::into)
            .and_then(|t| Expectations::parse(&t))
        {
            Ok(expectations) => expectations,
            Err(error) => {
                return usage(format!(
                    "could not read the expectations {}: {error:#}",
                    path.display()
                ));
            }
        },
        None => Expectations::built_in()?,
    };
    let only = args.only.as_deref().unwrap_or("*");
    let traces: Vec<&dyn Trace> = TRACES
        .iter()
        .copied()
        .filter(|trace| trace.claims().iter().any(|claim| glob(only, claim.id)))
        .collect();
    if traces.is_empty() {
        return usage(format!(
            "no claim matches {only:?}: `probes claims` lists them"
        ));
    }
    let kernel = Kernel::running()?;
    preflight::ready(&kernel, Mode::Lab)?;
    let interrupt = Interrupt::install()?;
    let options = RunOptions {
        ring_bytes: 2 << 20,
        progress: std::io::IsTerminal::is_terminal(&std::io::stderr()),
        without: Without::default(),
        ..RunOptions::default()
    };
    let mut tally = Tally::default();
    for trace in traces {
        let report = lab::run(&kernel, trace, &LabOptions::default(), &options, &interrupt)?;
        for finding in report
            .findings
            .iter()
            .filter(|finding| glob(only, &finding.id))
        {
            tally.line(finding, &expectations.judge(&kernel.release, finding))?;
        }
        if report.ending.interrupted {
            return Ok(Exit::Interrupted);
        }
    }
    tally.end()
}

#[derive(Default)]
struct Tally {
    as_expected: usize,
    differs: usize,
    unknown: usize,
    inconclusive: usize,
}

impl Tally {
    fn line(&mut self, finding: &Finding, verdict: &Verdict) -> Result<()> {
        let mark = match verdict {
            Verdict::AsExpected => {
                self.as_expected += 1;
                "as expected".to_owned()
            }
            Verdict::Unknown => {
                self.unknown += 1;
                "nothing known".to_owned()
            }
            Verdict::Inconclusive => {
                self.inconclusive += 1;
                "NOT SETTLED".to_owned()
            }
            Verdict::Differs { expected, source } => {
                self.differs += 1;
                format!("DIFFERS: expected {expected} ({source})")
            }
        };
        let result = finding.result.word();
        print(
            format!(
                "{result:<12} {:<34} {mark}\n             {}\n",
                finding.id, finding.because
            )
            .as_bytes(),
        )
    }

    fn end(&self) -> Result<Exit> {
        print(
            format!(
                "{} as expected, {} differ, {} not settled, {} with nothing known\n",
                self.as_expected, self.differs, self.inconclusive, self.unknown
            )
            .as_bytes(),
        )?;
        Ok(if self.differs > 0 {
            Exit::Differs
        } else if self.inconclusive > 0 {
            Exit::Inconclusive
        } else {
            Exit::Settled
        })
    }
}

/// `*` stands for any run of characters.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len())
                .filter(|at| rest.is_char_boundary(*at))
                .any(|at| glob(tail, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn stars_stand_for_anything() {
        assert!(glob("*", "epoll-herd/edge"));
        assert!(glob("epoll-herd/*", "epoll-herd/edge"));
        assert!(glob("*/edge", "epoll-herd/edge"));
        assert!(glob("*herd*", "epoll-herd/edge"));
        assert!(!glob("accept-herd/*", "epoll-herd/edge"));
        assert!(!glob("epoll-herd", "epoll-herd/edge"));
    }
}
