//! What is known of each claim, by kernel: an expectation with its source, and the comparison.
//!
//! Kernels are named by ranges of releases (`>=5.10 <6.4`). A claim may have several rows; the first whose
//! range holds this kernel counts. Nothing known is not an agreement: it is said so.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::ClaimResult;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    pub claim: String,
    /// `*`, or conditions that must all hold: `>=5.10 <7.0`.
    pub kernels: String,
    pub result: ClaimResult,
    /// Kernel release or commit, and our own evidence.
    pub source: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectations {
    /// `probes.expect/1`
    pub schema: String,
    pub expectations: Vec<Expectation>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    AsExpected,
    Differs {
        expected: &'static str,
        source: String,
    },
    /// No expectation for this claim on this kernel.
    Unknown,
    /// The claim was not settled, so there is nothing to compare.
    Inconclusive,
}

const SCHEMA: &str = "probes.expect/1";

impl Expectations {
    /// The product's own knowledge.
    ///
    /// # Errors
    /// A fault of the build; a test reads it.
    pub fn built_in() -> Result<Expectations> {
        Expectations::parse(include_str!("expectations.json"))
    }

    /// # Errors
    /// No JSON of schema probes.expect/1, or a range that cannot be read.
    pub fn parse(text: &str) -> Result<Expectations> {
        let read: Expectations = serde_json::from_str(text).context("it is no expectation file")?;
        if read.schema != SCHEMA {
            bail!("its schema is {:?}, not {SCHEMA:?}", read.schema);
        }
        for row in &read.expectations {
            matches(&row.kernels, "6.1.0").with_context(|| format!("claim {}", row.claim))?;
        }
        Ok(read)
    }

    pub fn new(expectations: Vec<Expectation>) -> Expectations {
        Expectations {
            schema: SCHEMA.to_owned(),
            expectations,
        }
    }

    /// The range that holds the releases of one version: `>=6.1 <6.2`; `*` if that cannot be read.
    pub fn only(release: &str) -> String {
        match version(release) {
            Ok((major, minor)) => format!(">={major}.{minor} <{major}.{}", minor + 1),
            Err(_) => "*".to_owned(),
        }
    }

    /// What is known of the claim on this kernel; `release` as `uname -r` gives it.
    pub fn find(&self, release: &str, claim: &str) -> Option<&Expectation> {
        self.expectations
            .iter()
            .find(|row| row.claim == claim && matches(&row.kernels, release).unwrap_or(false))
    }

    pub fn judge(&self, release: &str, claim: &str, result: ClaimResult) -> Verdict {
        if result == ClaimResult::Inconclusive {
            return Verdict::Inconclusive;
        }
        match self.find(release, claim) {
            None => Verdict::Unknown,
            Some(row) if row.result == result => Verdict::AsExpected,
            Some(row) => Verdict::Differs {
                expected: row.result.word(),
                source: row.source.clone(),
            },
        }
    }
}

fn version(text: &str) -> Result<(u32, u32)> {
    let mut parts = text
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => bail!("{text:?} is no kernel version such as 6.1"),
    }
}

fn matches(range: &str, release: &str) -> Result<bool> {
    if range == "*" {
        return Ok(true);
    }
    let running = version(release)?;
    let mut all = true;
    for condition in range.split_whitespace() {
        all &= if let Some(bound) = condition.strip_prefix(">=") {
            running >= version(bound)?
        } else if let Some(bound) = condition.strip_prefix('<') {
            running < version(bound)?
        } else {
            bail!("{condition:?} is no condition: >=X.Y or <X.Y");
        };
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(kernels: &str, result: &str) -> Expectations {
        let row =
            format!(r#"{{"claim":"a/b","kernels":"{kernels}","result":"{result}","source":"s"}}"#);
        Expectations::parse(&format!(
            r#"{{"schema":"probes.expect/1","expectations":[{row}]}}"#
        ))
        .unwrap()
    }

    #[test]
    fn ranges_hold_their_lower_and_not_their_upper_end() {
        for (range, release, holds) in [
            ("*", "7.2.13", true),
            (">=5.10 <6.4", "5.10.0-32-cloud-amd64", true),
            (">=5.10 <6.4", "6.4.0", false),
            (">=6.4", "6.18.44-fc", true),
            ("<6.4", "6.12", false),
        ] {
            assert_eq!(matches(range, release).unwrap(), holds, "{range} {release}");
        }
        assert!(matches("6.1", "6.1").is_err());
    }

    #[test]
    fn an_altered_expectation_differs() {
        let holds = ClaimResult::Holds;
        assert_eq!(
            known("*", "holds").judge("6.1", "a/b", holds),
            Verdict::AsExpected
        );
        assert!(matches!(
            known("*", "refuted").judge("6.1", "a/b", holds),
            Verdict::Differs { .. }
        ));
    }

    #[test]
    fn the_range_of_one_version_holds_its_releases_only() {
        let range = Expectations::only("6.12.117+deb13-cloud-amd64");
        assert_eq!(range, ">=6.12 <6.13");
        assert!(matches(&range, "6.12.0").unwrap());
        assert!(!matches(&range, "6.13.0").unwrap());
    }

    #[test]
    fn nothing_known_and_not_settled_are_no_agreement() {
        assert_eq!(
            known(">=7.0", "holds").judge("6.1", "a/b", ClaimResult::Holds),
            Verdict::Unknown
        );
        assert_eq!(
            known("*", "holds").judge("6.1", "a/b", ClaimResult::Inconclusive),
            Verdict::Inconclusive
        );
    }

    #[test]
    fn built_in_expectations_name_claims_that_exist() {
        let claims: Vec<&str> = crate::trace::TRACES
            .iter()
            .flat_map(|trace| trace.claims())
            .map(|claim| claim.id)
            .collect();
        for row in Expectations::built_in().unwrap().expectations {
            assert!(claims.contains(&row.claim.as_str()), "{}", row.claim);
            assert!(!row.source.is_empty());
        }
    }
}
