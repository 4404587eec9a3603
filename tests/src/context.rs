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

#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// `file::sentence`.
    pub name: &'static str,
    pub run: fn(&Ctx) -> Outcome,
    pub budget: Duration,
}

/// A table of tests: `tests![labs: a, b(600)]`, the number being a budget in seconds.
#[macro_export]
macro_rules! tests {
    ($($file:ident: $($name:ident $(($secs:literal))?),+;)+) => {
        &[$($($crate::context::Test {
            name: concat!(stringify!($file), "::", stringify!($name)),
            run: $file::$name,
            budget: $crate::tests!(@budget $($secs)?),
        }),+),+]
    };
    (@budget) => { $crate::context::BUDGET };
    (@budget $secs:literal) => { std::time::Duration::from_secs($secs) };
}
