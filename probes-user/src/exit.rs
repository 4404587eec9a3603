//! Exit codes, and which error leads to which.

use std::fmt;
use std::process::ExitCode;

use crate::evidence::{ClaimResult, Finding};

/// What the process says at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Every claim settled, or as expected under `check`.
    Settled = 0,
    /// `check`: differs from the expectation.
    Differs = 1,
    /// Bad options, an unknown trace, a process that is not there, a file that is no recording.
    Usage = 2,
    /// Privilege, BTF, a needed hook, a full disk: the run could not be done as asked.
    CannotRun = 3,
    Inconclusive = 4,
    /// Ctrl-C; what was known has been printed.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    pub fn of_findings(findings: &[Finding]) -> Exit {
        let any = |result| findings.iter().any(|finding| finding.result == result);
        if any(ClaimResult::Inconclusive) {
            Exit::Inconclusive
        } else if any(ClaimResult::Unsupported) {
            Exit::CannotRun
        } else {
            Exit::Settled
        }
    }
}

/// An error of the caller's: exit code 2 instead of 3.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// # Errors
/// Always: this makes an error of the caller's, which exits with 2.
pub fn usage<T>(message: impl Into<String>) -> anyhow::Result<T> {
    Err(anyhow::Error::new(Usage(message.into())))
}

pub fn of_error(error: &anyhow::Error) -> Exit {
    if error.chain().any(|cause| cause.is::<Usage>()) {
        Exit::Usage
    } else {
        Exit::CannotRun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(result: ClaimResult) -> Finding {
        let (id, statement, because) = (String::new(), String::new(), String::new());
        Finding {
            id,
            result,
            statement,
            because,
            numbers: serde_json::Map::new(),
        }
    }

    #[test]
    fn holds_and_refuted_are_both_settled() {
        let findings = [finding(ClaimResult::Holds), finding(ClaimResult::Refuted)];
        assert_eq!(Exit::of_findings(&findings), Exit::Settled);
    }

    #[test]
    fn one_inconclusive_claim_decides() {
        let findings = [
            finding(ClaimResult::Unsupported),
            finding(ClaimResult::Inconclusive),
        ];
        assert_eq!(Exit::of_findings(&findings), Exit::Inconclusive);
        assert_eq!(Exit::of_findings(&findings[..1]), Exit::CannotRun);
    }

    #[test]
    fn usage_errors_keep_their_code_through_context() {
        use anyhow::Context as _;
        let error = usage::<()>("no such trace").context("while reading the command line");
        assert_eq!(of_error(&error.unwrap_err()), Exit::Usage);
        assert_eq!(of_error(&anyhow::anyhow!("no BTF")), Exit::CannotRun);
    }
}
