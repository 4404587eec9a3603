//! Which scenes a lab runs: (variant, arrival) pairs, filtered by what the user asked for.

use std::time::Duration;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::marks::{Arrival, Variant};
use super::scene::label;
use crate::exit::usage;
use crate::lab::Lab;
use crate::lab::herd::{HerdLab, HerdOptions};
use crate::trace::{LabOption, LabOptions};

pub const DEFAULT_WORKERS: u32 = 4;
pub const MAX_WORKERS: u32 = 64;
const DEFAULT_CONNECTIONS: u32 = 20;
const DEFAULT_BURST: u32 = 4;
const DEFAULT_DELAY_NS: u64 = 2_000_000;

pub const ACCEPT_VARIANTS: &[Variant] = &[Variant::Accept, Variant::PollAccept];
/// A blocking accept() has nothing to be late with.
const ACCEPT_LATE: &[Variant] = &[Variant::PollAccept];

pub const EPOLL_VARIANTS: &[Variant] = &[
    Variant::SharedInstance,
    Variant::PerProcessInstance,
    Variant::EdgePerProcess,
    Variant::EdgeShared,
    Variant::Exclusive,
    Variant::OneshotPerProcess,
    Variant::OneshotShared,
    Variant::Reuseport,
    Variant::AcceptMutex,
    Variant::Poll,
    Variant::Select,
];
/// Where more than one worker could see the same connection while the first dawdles.
const EPOLL_LATE: &[Variant] = &[
    Variant::SharedInstance,
    Variant::PerProcessInstance,
    Variant::EdgeShared,
    Variant::Exclusive,
    Variant::OneshotShared,
    Variant::Poll,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SceneSpec {
    pub variant: Variant,
    pub arrival: Arrival,
}

/// A herd lab's whole plan; written into `Context::options`, so that the fold knows what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub scenes: Vec<SceneSpec>,
    pub workers: u32,
    pub connections: u32,
    pub burst: u32,
    pub accept_delay_ns: u64,
}

impl Plan {
    /// # Errors
    /// No scene bears such a name, or too few or too many workers, or nothing to connect.
    pub fn checked(self) -> Result<Plan> {
        if self.scenes.is_empty() {
            bail!("no scene has such a name; `probes explain` lists them");
        }
        if !(2..=MAX_WORKERS).contains(&self.workers) {
            bail!("{} workers: a herd takes 2 to {MAX_WORKERS}", self.workers);
        }
        if self.connections == 0 || self.burst == 0 {
            bail!("nothing to provoke: connections and burst must be at least 1");
        }
        Ok(self)
    }

    pub fn asks_for(&self, variant: Variant, arrival: Arrival) -> bool {
        self.scenes.contains(&SceneSpec { variant, arrival })
    }
}

pub const OPTIONS: &[LabOption] = &[
    LabOption {
        name: "workers",
        value: "N",
        help: "Processes that wait, 2 to 64",
    },
    LabOption {
        name: "connections",
        value: "N",
        help: "Connections in each one-at-a-time scene",
    },
    LabOption {
        name: "burst",
        value: "N",
        help: "Connections at once in the burst scenes",
    },
    LabOption {
        name: "accept-delay",
        value: "D",
        help: "How long a woken worker waits before it accepts, in the late scenes (2ms, 500us …)",
    },
];

/// # Errors
/// An option that cannot be read.
pub fn accept_plan(options: &LabOptions) -> Result<Plan> {
    plan(ACCEPT_VARIANTS, ACCEPT_LATE, options)
}

/// # Errors
/// An option that cannot be read.
pub fn epoll_plan(options: &LabOptions) -> Result<Plan> {
    plan(EPOLL_VARIANTS, EPOLL_LATE, options)
}

fn plan(variants: &[Variant], late: &[Variant], options: &LabOptions) -> Result<Plan> {
    let scenes = variants
        .iter()
        .flat_map(|variant| {
            let mut arrivals = vec![Arrival::Sequential, Arrival::Burst];
            if late.contains(variant) {
                arrivals.push(Arrival::LateAccept);
            }
            arrivals.into_iter().map(|arrival| SceneSpec {
                variant: *variant,
                arrival,
            })
        })
        .filter(|scene: &SceneSpec| options.wants(&label(scene.variant, scene.arrival)))
        .collect();
    let delay = options
        .duration("accept-delay")?
        .map(|delay| u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX));
    Ok(Plan {
        scenes,
        workers: options.number("workers")?.unwrap_or(DEFAULT_WORKERS),
        connections: options
            .number("connections")?
            .unwrap_or(DEFAULT_CONNECTIONS),
        burst: options.number("burst")?.unwrap_or(DEFAULT_BURST),
        accept_delay_ns: delay.unwrap_or(DEFAULT_DELAY_NS),
    })
}

/// The lab that runs a plan.
///
/// # Errors
/// The plan makes no sense, or the sandbox cannot be made.
pub fn open_lab(plan: Plan) -> Result<Box<dyn Lab>> {
    let plan = plan
        .checked()
        .or_else(|error| usage(format!("{error:#}")))?;
    let scenes = plan.scenes.iter().map(|spec| (spec.variant, spec.arrival));
    let options = HerdOptions {
        scenes: scenes.collect(),
        workers: plan.workers,
        connections: plan.connections,
        burst: plan.burst,
        accept_delay: Duration::from_nanos(plan.accept_delay_ns),
    };
    options
        .check()
        .or_else(|error| usage(format!("{error:#}")))?;
    Ok(Box::new(HerdLab::new(options)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_is_run_one_at_a_time_and_in_bursts() {
        let plan = epoll_plan(&LabOptions::default()).unwrap();
        for variant in EPOLL_VARIANTS {
            assert!(
                plan.asks_for(*variant, Arrival::Sequential)
                    && plan.asks_for(*variant, Arrival::Burst)
            );
        }
        assert_eq!((plan.workers, plan.connections, plan.burst), (4, 20, 4));
        assert!(
            !accept_plan(&LabOptions::default())
                .unwrap()
                .asks_for(Variant::Accept, Arrival::LateAccept)
        );
    }

    #[test]
    fn scenes_are_chosen_by_part_of_their_label() {
        let options = LabOptions {
            variants: vec!["exclusive/seq".to_owned()],
            ..LabOptions::default()
        };
        let plan = epoll_plan(&options).unwrap();
        assert_eq!(
            plan.scenes,
            [SceneSpec {
                variant: Variant::Exclusive,
                arrival: Arrival::Sequential
            }]
        );
    }

    #[test]
    fn senseless_options_are_refused() {
        for (name, value) in [
            ("workers", "1"),
            ("workers", "65"),
            ("connections", "0"),
            ("burst", "0"),
            ("variants", ""),
        ] {
            let mut options = LabOptions::default();
            options.values.insert(name.to_owned(), value.to_owned());
            if name == "variants" {
                options.variants = vec!["no-such-scene".to_owned()];
            }
            assert!(
                epoll_plan(&options).unwrap().checked().is_err(),
                "{name} {value}"
            );
        }
    }
}
