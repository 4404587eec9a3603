//! Skips must be earned: the one table of what is expected to be skipped where, and the rule.

/// A test that has nothing to test on a kernel.
#[derive(Debug, Clone, Copy)]
pub struct Skip {
    pub kernel: &'static str,
    pub test: &'static str,
    pub reason: &'static str,
}

pub const SKIPS: &[Skip] = &[];

/// What the test's child came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raw {
    Passed,
    Failed(String),
    Skipped(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Fail(String),
    Skip(String),
}

/// An unexpected skip fails, and so does an expected one that runs fine: its row is stale.
pub fn judge(skips: &[Skip], kernel: &str, test: &str, raw: Raw) -> Verdict {
    let row = skips
        .iter()
        .find(|row| row.kernel == kernel && row.test == test);
    match (raw, row) {
        (Raw::Failed(why), _) => Verdict::Fail(why),
        (Raw::Passed, None) => Verdict::Pass,
        (Raw::Passed, Some(row)) => Verdict::Fail(format!(
            "expected to be skipped on {kernel} ({}), but it runs: remove the row",
            row.reason
        )),
        (Raw::Skipped(why), Some(_)) => Verdict::Skip(why),
        (Raw::Skipped(why), None) => Verdict::Fail(format!("unexpected skip: {why}")),
    }
}
