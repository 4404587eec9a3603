//! The time scale of a lab: the kernel's own minutes, or the same law in seconds.
//!
//! The kernel takes the initial timeout of a control group's sockets from a program, in jiffies. How long one
//! is, it tells: a socket that begins with a known number of them shows the same timeout in microseconds.

use crate::lab::family::Family;
use crate::lab::tcp_info::TcpInfo;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustix::net::AddressFamily;
use serde::Serialize;

use super::ends;
use super::limits::{Limits, Speed};
use super::{LIMITS, SCALE_PORT};
use crate::exit::usage;
use crate::lab::cgroup::Cgroup;
use crate::lab::first_timeout::FirstTimeout;
use crate::lab::script::Stage;
use crate::trace::{LabOption, LabOptions};

pub const OPTIONS: &[LabOption] = &[
    LabOption {
        name: "full",
        value: "",
        help: "In the kernel's own time, which is minutes",
    },
    LabOption {
        name: "retries",
        value: "N",
        help: "Instead of the kernel's default number of retries: 2 to 10",
    },
];

/// A compressed initial timeout is at least this long, and so many jiffies.
const SHORT_NS: u64 = 40_000_000;
const LEAST_JIFFIES: u32 = 8;
/// For finding out how long a jiffy is.
const TRIAL_JIFFIES: u32 = 100;
/// Retries where time cannot be compressed: enough to see the third wait.
pub const FEW: u32 = 2;

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Asked {
    pub full: bool,
    pub retries: Option<u32>,
}

impl Asked {
    /// # Errors
    /// A number of retries that shows nothing or never ends, as a usage error.
    pub fn of(options: &LabOptions) -> Result<Asked> {
        let retries = options.number("retries")?;
        if retries.is_some_and(|retries| !(2..=10).contains(&retries)) {
            return usage("--retries takes 2 to 10");
        }
        Ok(Asked {
            full: options.flag("full"),
            retries,
        })
    }
}

/// How a lab runs its cases.
#[derive(Clone)]
pub struct Pace {
    speed: Speed,
    why: Option<String>,
    cgroup: Option<Arc<Cgroup>>,
}

impl Pace {
    pub fn full() -> Pace {
        Pace {
            speed: Speed::Full,
            why: None,
            cgroup: None,
        }
    }

    /// Compressed, or in real time with few retries and the reason.
    pub fn short() -> Pace {
        let tried = Cgroup::new().and_then(|cgroup| {
            FirstTimeout::of(&cgroup, TRIAL_JIFFIES)?;
            Ok(cgroup)
        });
        match tried {
            Ok(cgroup) => Pace {
                speed: Speed::Compressed,
                why: None,
                cgroup: Some(Arc::new(cgroup)),
            },
            Err(error) => Pace::few(format!("{error:#}")),
        }
    }

    pub fn few(why: String) -> Pace {
        Pace {
            speed: Speed::Few,
            why: Some(why),
            cgroup: None,
        }
    }

    /// What to set the sysctl of retries to.
    pub fn retries(&self, asked: &Asked) -> Option<u32> {
        match self.speed {
            Speed::Few => Some(asked.retries.unwrap_or(FEW).min(FEW)),
            Speed::Full | Speed::Compressed => asked.retries,
        }
    }

    /// Sockets that begin with the lab's timeout.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn socket(&self, family: Family) -> Result<OwnedFd> {
        let Some(cgroup) = &self.cgroup else {
            return ends::socket(family);
        };
        let mut made = cgroup.sockets(&[family.address_family()])?;
        made.pop().context("no socket came")
    }

    /// Sets the scale for as long as the result lives, and notes what the case runs under. SYNs to
    /// [`SCALE_PORT`] must be lost by then.
    ///
    /// # Errors
    /// The kernel does not take the scale.
    pub fn set(
        &self,
        stage: &Stage,
        family: Family,
        mut limits: Limits,
    ) -> Result<(Limits, Option<FirstTimeout>)> {
        limits.speed = self.speed;
        limits.why.clone_from(&self.why);
        let mut scale = None;
        if let Some(cgroup) = &self.cgroup {
            let jiffy_us = self.jiffy_us(cgroup, family)?;
            let least = u32::try_from(SHORT_NS.div_ceil(jiffy_us * 1000))?;
            let jiffies = least.max(LEAST_JIFFIES);
            limits.jiffy_ns = Some(jiffy_us * 1000);
            limits.first_ns = u64::from(jiffies) * jiffy_us * 1000;
            scale = Some(FirstTimeout::of(cgroup, jiffies)?);
        }
        stage.note(LIMITS, serde_json::to_value(&limits)?);
        Ok((limits, scale))
    }

    fn jiffy_us(&self, cgroup: &Cgroup, family: Family) -> Result<u64> {
        let trial = FirstTimeout::of(cgroup, TRIAL_JIFFIES)?;
        let socket = self.socket(family)?;
        ends::begin_connect(socket.as_fd(), family, SCALE_PORT)?;
        let info = TcpInfo::of(socket.as_fd())?;
        drop(trial);
        let jiffy = info.rto_us / TRIAL_JIFFIES;
        if info.state != ends::SYN_SENT || jiffy == 0 || jiffy > 10_000 {
            bail!("the initial timeout could not be set: the socket shows {info:?}");
        }
        Ok(jiffy.into())
    }
}

impl Family {
    fn address_family(self) -> AddressFamily {
        match self {
            Family::V4 => AddressFamily::INET,
            Family::V6 => AddressFamily::INET6,
        }
    }
}
