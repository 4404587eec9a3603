//! What a test is told about the run, and what it answers.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::{Value, json};

/// For one whole test, sized for an emulated guest that shares its host: only a hang reaches it.
pub const BUDGET: Duration = Duration::from_secs(300);

#[derive(Debug, Clone)]
pub struct Ctx {
    /// `host`, or the guest kernel's label: `5.10`, `6.1` …
    pub kernel: String,
    /// The program under test.
    pub probes: PathBuf,
    /// What tests hand over, a line each: in memory, shared with their processes.
    handed: Arc<File>,
}

impl Ctx {
    pub fn new(kernel: &str, probes: PathBuf) -> Ctx {
        let memory = memfd_create("handed-over", MemfdFlags::CLOEXEC).expect("a file in memory");
        Ctx {
            kernel: kernel.to_owned(),
            probes,
            handed: Arc::new(File::from(memory)),
        }
    }

    /// Gives `xtask` a document that the test has made, whatever comes of the test.
    pub fn hand_over(&self, kind: &str, document: &Value) {
        let line = json!({ "kind": kind, "document": document });
        let written = writeln!(&*self.handed, "{line}");
        written.expect("a file in memory takes a document");
    }

    /// What has been handed over since the last call.
    pub fn handed_over(&self) -> Vec<Value> {
        let mut text = String::new();
        let mut file = &*self.handed;
        let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
        let emptied = read
            .and_then(|_| file.set_len(0))
            .and_then(|()| file.rewind());
        emptied.expect("a file in memory can be read");
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

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
    /// No kernel makes a difference to it; or another test shows the same in every guest: the lab beside noise,
    /// its verdicts in `check`.
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
