//! The herd lab: N processes wait for one listening socket, a client connects; who is woken?
//!
//! One scene per variant (how the workers wait) and arrival (how connections come). The lab only provokes
//! and counts what processes can count themselves; who was woken by what is the kernel events' business.
//! Scenes run in one sandbox, each with its own family of processes and its own port.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::sandbox::Sandbox;
use super::{KernelView, Lab, Scene};
use crate::trace::herd::marks::{Arrival, Variant};

mod board;
mod client;
mod failure;
mod master;
mod plan;
mod record;
mod scene;
mod socket;
#[cfg(test)]
pub(crate) mod tests;
mod worker;

pub use client::MAX_BURST;
use plan::{CLIENT_PORTS, FIRST_CLIENT_PORT, FIRST_PORT, Plan};
pub use plan::{STEP_BUDGET, label, supports};
use scene::HerdScene;

/// A pidfd each, and the usual descriptor limit is 1024.
pub const MAX_WORKERS: u32 = 512;
/// As many as the client has ports: a connection is known by its port for the length of a scene.
pub const MAX_CONNECTIONS: u32 = CLIENT_PORTS;

#[derive(Debug, Clone)]
pub struct HerdOptions {
    /// In the order of the run.
    pub scenes: Vec<(Variant, Arrival)>,
    pub workers: u32,
    /// Per scene.
    pub connections: u32,
    /// Connections at once where the arrival is a burst.
    pub burst: u32,
    /// Where the arrival is a late accept.
    pub accept_delay: Duration,
}

impl HerdOptions {
    /// # Errors
    /// An option out of range, or a scene that does not exist.
    pub fn check(&self) -> Result<()> {
        let HerdOptions {
            workers,
            connections,
            burst,
            accept_delay,
            ref scenes,
        } = *self;
        ensure!(
            (1..=MAX_WORKERS).contains(&workers),
            "{workers} workers: try 1 to {MAX_WORKERS}"
        );
        ensure!(
            (1..=MAX_CONNECTIONS).contains(&connections),
            "{connections} connections: try 1 to {MAX_CONNECTIONS}"
        );
        ensure!(
            (1..=MAX_BURST).contains(&(burst as usize)),
            "a burst of {burst}: try 1 to {MAX_BURST}"
        );
        ensure!(
            accept_delay < STEP_BUDGET / 2,
            "an accept delay of {accept_delay:?}: try less than {:?}",
            STEP_BUDGET / 2
        );
        ensure!(
            scenes.len() < usize::from(FIRST_CLIENT_PORT - FIRST_PORT),
            "{} scenes: too many",
            scenes.len()
        );
        for &(variant, arrival) in scenes {
            ensure!(
                supports(variant, arrival),
                "{}: there is no such scene",
                label(variant, arrival)
            );
        }
        Ok(())
    }
}

pub struct HerdLab {
    options: HerdOptions,
    sandbox: Sandbox,
    next: usize,
    /// Scenes built so far: number, port and phases of the next one.
    built: u32,
    budget: Duration,
}

impl HerdLab {
    /// # Errors
    /// Options out of range, a scene that does not exist, or a sandbox that cannot be made.
    pub fn new(options: HerdOptions) -> Result<HerdLab> {
        options.check()?;
        Ok(HerdLab {
            options,
            sandbox: Sandbox::new()?,
            next: 0,
            built: 0,
            budget: STEP_BUDGET,
        })
    }

    fn plan(&self, scene: u32, (variant, arrival): (Variant, Arrival)) -> Plan {
        let options = &self.options;
        Plan {
            scene,
            variant,
            arrival,
            port: FIRST_PORT + scene as u16,
            workers: options.workers as usize,
            connections: options.connections,
            burst: if arrival == Arrival::Burst {
                options.burst
            } else {
                1
            },
            accept_delay: if arrival == Arrival::LateAccept {
                options.accept_delay
            } else {
                Duration::ZERO
            },
            first_phase: 1 + scene * options.connections,
            budget: self.budget,
        }
    }
}

impl Lab for HerdLab {
    fn scenes(&self) -> usize {
        self.options.scenes.len()
    }

    /// The calling thread must live as long as the scene.
    fn next(&mut self, view: &Arc<dyn KernelView>) -> Result<Option<Box<dyn Scene>>> {
        let Some(&scene) = self.options.scenes.get(self.next) else {
            return Ok(None);
        };
        let plan = self.plan(self.built, scene);
        self.next += 1;
        self.built += 1;
        Ok(Some(Box::new(HerdScene::build(
            plan,
            &self.sandbox,
            view.as_ref(),
        )?)))
    }

    fn again(&mut self) {
        self.next = self.next.saturating_sub(1);
    }
}
