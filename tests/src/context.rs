//! What a test is told about the run, and what it answers.

use std::path::PathBuf;
use std::time::Duration;

/// For one whole test, sized for an emulated guest that shares its host: only a hang reaches it.
pub const BUDGET: Duration = Duration::from_secs(300);

#[derive(Debug, Clone)]
pub struct Ctx {
    /// `host`, or the guest kernel's label: `5.10`, `6.1` …
    pub kernel: String,
    /// The program under test.
    pub probes: PathBuf,
}

impl Ctx {
    pub fn on_host(&self) -> bool {
        self.kernel == "host"
    }
}

/// A test that fails panics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Pass,
    /// This kernel or machine lacks what the test is about; must stand in the table of expected skips.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "nothing is skipped now; the rule is the runner's and tested there"
        )
    )]
    Skip(String),
}

/// Where a test runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Everywhere,
    /// What it shows, another test shows in every guest: the same beside noise, and the verdicts in `check`.
    Host,
}

#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// `file::sentence`.
    pub name: &'static str,
    pub run: fn(&Ctx) -> Outcome,
    pub budget: Duration,
    pub on: On,
}

impl Test {
    /// `kernel` as in [`Ctx::kernel`].
    pub fn runs_on(&self, kernel: &str) -> bool {
        self.on == On::Everywhere || kernel == "host"
    }
}

/// A table of tests: `tests![labs: a, b(600), c(host)]`, the number being a budget in seconds.
#[macro_export]
macro_rules! tests {
    ($($file:ident: $($name:ident $(($how:tt))?),+;)+) => {
        &[$($($crate::context::Test {
            name: concat!(stringify!($file), "::", stringify!($name)),
            run: $file::$name,
            budget: $crate::tests!(@budget $($how)?),
            on: $crate::tests!(@on $($how)?),
        }),+),+]
    };
    (@budget) => { $crate::context::BUDGET };
    (@budget host) => { $crate::context::BUDGET };
    (@budget $secs:literal) => { std::time::Duration::from_secs($secs) };
    (@on host) => { $crate::context::On::Host };
    (@on $($secs:literal)?) => { $crate::context::On::Everywhere };
}
