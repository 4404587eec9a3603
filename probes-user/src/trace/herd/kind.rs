//! A herd trace: what accept-herd and epoll-herd differ in, and the one implementation of both.

use anyhow::Result;

use super::question::Question;
use super::scenes::{self, Plan};
use super::{HOOKS, NEEDS, calls, fold, symbols};
use crate::evidence::Claim;
use crate::lab::Lab;
use crate::trace::{Context, Fold, LabOption, LabOptions, Trace, Watching};

const EXAMPLES: &[(&str, &str)] = &[
    (
        "--workers 8 --timeline",
        "one connection drawn as a swim lane",
    ),
    ("-n nginx -i 1s", "every process of that name"),
    (
        "-- ./server --port 80",
        "a command from its first instruction",
    ),
];

pub struct HerdTrace {
    pub name: &'static str,
    pub summary: &'static str,
    pub page: &'static str,
    pub questions: &'static [Question],
    pub claims: &'static [Claim],
    /// The scenes that these options ask for.
    pub plan: fn(&LabOptions) -> Result<Plan>,
}

impl Trace for HerdTrace {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        self.summary
    }

    fn claims(&self) -> &'static [Claim] {
        self.claims
    }

    fn hooks(&self) -> &'static [&'static str] {
        HOOKS
    }

    fn needs(&self) -> &'static [&'static str] {
        NEEDS
    }

    fn options(&self) -> &'static [LabOption] {
        scenes::OPTIONS
    }

    fn examples(&self) -> &'static [(&'static str, &'static str)] {
        EXAMPLES
    }

    fn draws_timelines(&self) -> bool {
        true
    }

    fn alone(&self) -> bool {
        true
    }

    fn watching(&self) -> Watching {
        Watching::Tasks
    }

    fn syscalls(&self) -> &'static [u32] {
        calls::FOLLOWED
    }

    fn symbols(&self) -> &'static [&'static str] {
        &symbols::NAMES
    }

    fn page(&self) -> &'static str {
        self.page
    }

    fn lab(&self, options: &LabOptions) -> Result<Box<dyn Lab>> {
        scenes::open_lab((self.plan)(options)?)
    }

    fn lab_options(&self, options: &LabOptions) -> Result<serde_json::Value> {
        Ok(serde_json::to_value((self.plan)(options)?)?)
    }

    fn fold(&self, context: &Context) -> Box<dyn Fold> {
        fold(self.questions, context)
    }
}
