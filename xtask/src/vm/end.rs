//! How a guest ended, and the exit code that says so.

use crate::cli;
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The guest said so itself.
    Exited(u8),
    /// The kernel's own words.
    Panicked(String),
    Hung(String),
    /// Nothing came from the guest, or it went away without a word.
    Silent(String),
}

impl End {
    /// For a job of the user's: its own code when it had one.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Exited(code) => *code,
            Self::Panicked(_) => cli::GUEST_PANICKED,
            Self::Hung(_) => cli::GUEST_HUNG,
            Self::Silent(_) => cli::INFRASTRUCTURE,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Panicked(words) => write!(f, "the guest kernel panicked: {words}"),
            Self::Hung(words) => write!(f, "the guest hung: {words}"),
            Self::Silent(words) => write!(f, "the guest said nothing: {words}"),
        }
    }
}

/// Everything that counts for how a guest ended, gathered while it ran.
#[derive(Debug, Default, Clone)]
pub struct Signs {
    pub booted: bool,
    pub exit: Option<u8>,
    pub fatal: Option<String>,
    pub job_timeout: Option<u64>,
    /// Our own deadline passed and we ended the guest.
    pub killed_after: Option<u64>,
    pub qemu: String,
}

impl Signs {
    /// A kernel that broke is worth more than what its processes said before or after.
    #[must_use]
    pub fn end(self) -> End {
        if let Some(words) = self.fatal {
            return End::Panicked(words);
        }
        if let Some(seconds) = self.job_timeout {
            return End::Hung(format!("its job had not ended after {seconds} s"));
        }
        if let Some(code) = self.exit {
            return End::Exited(code);
        }
        match (self.booted, self.killed_after) {
            (true, Some(seconds)) => End::Hung(format!("no exit line after {seconds} s")),
            (false, Some(seconds)) => End::Silent(format!("it had not booted after {seconds} s")),
            (true, None) => {
                End::Silent(format!("it went away without an exit line ({})", self.qemu))
            }
            (false, None) => End::Silent(format!(
                "QEMU ended before the guest was up ({})",
                self.qemu
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_line_after_an_oops_does_not_count() {
        let signs = Signs {
            booted: true,
            exit: Some(0),
            fatal: Some("BUG: x".into()),
            ..Signs::default()
        };
        assert_eq!(signs.end().code(), cli::GUEST_PANICKED);
    }

    #[test]
    fn a_guest_that_booted_and_went_quiet_hung() {
        let signs = Signs {
            booted: true,
            killed_after: Some(5),
            ..Signs::default()
        };
        assert_eq!(signs.end().code(), cli::GUEST_HUNG);
    }

    #[test]
    fn a_job_that_outlived_its_time_hung_even_with_an_exit_line() {
        let signs = Signs {
            booted: true,
            exit: Some(124),
            job_timeout: Some(5),
            ..Signs::default()
        };
        assert_eq!(signs.end().code(), cli::GUEST_HUNG);
    }

    #[test]
    fn a_guest_that_never_spoke_is_no_test_failure() {
        assert_eq!(Signs::default().end().code(), cli::INFRASTRUCTURE);
    }
}
