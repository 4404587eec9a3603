//! A herd trace: what accept-herd and epoll-herd differ in, and the one implementation of both.

use anyhow::Result;

use super::question::Question;
use super::scenes::{self, Plan};
use super::{HOOKS, calls, fold, symbols};
use crate::evidence::Claim;
use crate::lab::Lab;
use crate::trace::{Context, Fold, LabOptions, Trace};

pub struct HerdTrace {
    pub name: &'static str,
    pub summary: &'static str,
    pub page: &'static str,
    pub questions: &'static [Question],
    pub claims: &'static [Claim],
    /// The scenes that these options ask for.
    pub plan: fn(&LabOptions) -> Plan,
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
        scenes::open_lab((self.plan)(options))
    }

    fn lab_options(&self, options: &LabOptions) -> serde_json::Value {
        serde_json::to_value((self.plan)(options)).unwrap_or_default()
    }

    fn fold(&self, context: &Context) -> Box<dyn Fold> {
        fold(self.questions, context)
    }
}
