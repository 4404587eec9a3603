//! What a case ran under, as its script found it in the namespace: sysctls and the time scale.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{LIMITS, SECOND};
use crate::lab::netns::sysctl;
use crate::trace::scripted::CaseLog;

/// At which speed the law runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Speed {
    /// The initial timeout is set short; the law after it is the kernel's.
    Compressed,
    /// The kernel's own timeouts and retries.
    Full,
    /// The kernel's own timeouts, and few retries.
    Few,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub speed: Speed,
    /// Why it is not compressed although nobody asked for real time.
    pub why: Option<String>,
    /// The initial timeout.
    pub first_ns: u64,
    /// One tick of the kernel's timers; None = not found out.
    pub jiffy_ns: Option<u64>,
    /// tcp_syn_retries or tcp_synack_retries
    pub retries: u32,
    /// tcp_syn_linear_timeouts; None = this kernel has no such thing.
    pub linear: Option<u32>,
    /// tcp_rto_max_ms; None = this kernel has no such thing.
    pub rto_max_ms: Option<u64>,
}

/// TCP_RTO_MAX where it is no sysctl.
const LONGEST: u64 = 120 * SECOND;
/// The slowest tick that a kernel is built with.
const SLOWEST: u64 = SECOND / 100;

impl Limits {
    /// The sysctls of the calling thread's namespace.
    ///
    /// # Errors
    /// No such sysctl, or no number in it.
    pub fn read(retries: &str) -> Result<Limits> {
        let number = |name: &str| -> Result<u32> {
            sysctl(name)?
                .parse()
                .with_context(|| format!("{name} is no number"))
        };
        Ok(Limits {
            speed: Speed::Full,
            why: None,
            first_ns: SECOND,
            jiffy_ns: None,
            retries: number(retries)?,
            linear: number("net.ipv4.tcp_syn_linear_timeouts").ok(),
            rto_max_ms: number("net.ipv4.tcp_rto_max_ms").ok().map(u64::from),
        })
    }

    pub fn of(case: &CaseLog) -> Option<Limits> {
        let mark = case.named(LIMITS).next()?;
        serde_json::from_value(mark.data.clone()).ok()
    }

    pub fn longest_ns(&self) -> u64 {
        self.rto_max_ms.map_or(LONGEST, |ms| ms * 1_000_000)
    }

    /// For tolerances.
    pub fn tick_ns(&self) -> u64 {
        self.jiffy_ns.unwrap_or(SLOWEST)
    }

    /// The same time at the kernel's own initial timeout, in seconds.
    pub fn real_s(&self, ns: u64) -> f64 {
        ns as f64 / self.first_ns as f64
    }
}
