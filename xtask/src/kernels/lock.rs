//! `xtask/kernels.lock`: which kernel packages the guests boot, pinned by version and SHA-256.
//! JSON, written by `cargo xtask vm --relock`; the one list of the matrix' kernels.

use crate::dirs;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    pub kernels: Vec<Pin>,
}

/// One kernel of the matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// What people call it and the grid shows: major.minor.
    pub label: String,
    pub suite: String,
    /// The suite replaces its kernels all the time: a pin that is gone is no fault of this tree.
    #[serde(default)]
    pub rolling: bool,
    pub packages: Vec<Package>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    /// Its place in the archive, for people.
    pub file: String,
    pub sha256: String,
}

impl Lock {
    pub fn path() -> PathBuf {
        dirs::root().join("xtask/kernels.lock")
    }

    pub fn read() -> Result<Self> {
        let path = Self::path();
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("could not read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("could not understand {}", path.display()))
    }

    pub fn parse(text: &str) -> Result<Self> {
        Ok(serde_json::from_str(text)?)
    }

    pub fn write(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        let path = Self::path();
        std::fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))
    }

    /// The pins with these labels, in the lock file's order; all of them when none is named.
    pub fn select(&self, labels: &[String]) -> Result<Vec<Pin>> {
        for label in labels {
            self.kernels
                .iter()
                .find(|pin| pin.label == *label)
                .with_context(|| {
                    let known: Vec<_> = self.kernels.iter().map(|pin| &*pin.label).collect();
                    format!(
                        "could not find kernel {label}; try one of {}",
                        known.join(", ")
                    )
                })?;
        }
        let chosen = self.kernels.iter();
        Ok(chosen
            .filter(|pin| labels.is_empty() || labels.contains(&pin.label))
            .cloned()
            .collect())
    }
}

impl Pin {
    /// Changes whenever the bytes of the kernel change.
    #[must_use]
    pub fn key(&self) -> String {
        let all: Vec<_> = self.packages.iter().map(|p| &*p.sha256).collect();
        super::hex_sha256(all.join(" ").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"kernels":[
        {"label":"6.1","suite":"bookworm","packages":[{"name":"a","version":"1","file":"pool/a.deb","sha256":"00"}]},
        {"label":"7.2","suite":"sid","rolling":true,"packages":[]}]}"#;

    #[test]
    fn the_committed_lock_file_pins_every_package_by_hash() {
        for pin in Lock::read().unwrap().kernels {
            assert!(!pin.packages.is_empty(), "{} has no package", pin.label);
            for package in pin.packages {
                assert_eq!(package.sha256.len(), 64, "{}", package.name);
            }
        }
    }

    #[test]
    fn no_label_means_all_in_order() {
        let lock = Lock::parse(TEXT).unwrap();
        let labels: Vec<_> = lock
            .select(&[])
            .unwrap()
            .into_iter()
            .map(|p| p.label)
            .collect();
        assert_eq!(labels, ["6.1", "7.2"]);
    }

    #[test]
    fn an_unknown_label_is_an_error_that_names_the_known_ones() {
        let error = Lock::parse(TEXT)
            .unwrap()
            .select(&["9.9".into()])
            .unwrap_err();
        assert!(error.to_string().contains("6.1, 7.2"), "{error}");
    }

    #[test]
    fn a_pin_that_says_nothing_of_rolling_does_not_roll() {
        let lock = Lock::parse(TEXT).unwrap();
        assert!(!lock.kernels[0].rolling && lock.kernels[1].rolling);
    }
}
