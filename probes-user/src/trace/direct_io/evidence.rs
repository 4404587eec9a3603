//! One file system's case: steps as the page cache counted them, beside what the disk did and how calls ended.

use probes_common::pages::Count;

use super::marks::{self, DISK, DiskGrowth, TRIED, Tried};
use crate::lab::pages::PAGE;
use crate::trace::pages::steps::{Case, Sums, Who};
use crate::trace::scripted::CaseLog;

pub struct View {
    pub case: Case,
    disk: Vec<DiskGrowth>,
    pub tried: Vec<Tried>,
}

/// A step with the disk's own counts.
pub struct StepView<'a> {
    pub sums: Sums<'a>,
    pub disk: &'a DiskGrowth,
}

impl View {
    /// None = the script said of no file.
    pub fn of(log: &CaseLog) -> Option<View> {
        Some(View {
            case: Case::of(log)?,
            disk: marks::all(log, DISK),
            tried: marks::all(log, TRIED),
        })
    }

    /// # Errors
    /// The step is not there whole.
    pub fn step(&self, name: &str) -> Result<StepView<'_>, String> {
        let disk = self.disk.iter().rev().find(|its| its.step == name);
        match (self.case.step(name), disk) {
            (Some(sums), Some(disk)) => Ok(StepView { sums, disk }),
            _ => Err(format!("step \"{name}\" is missing")),
        }
    }

    pub fn steps(&self) -> impl Iterator<Item = StepView<'_>> {
        let names = self.case.steps.iter().map(|step| step.name.as_str());
        names.filter_map(|name| self.step(name).ok())
    }
}

impl StepView<'_> {
    pub fn bytes(&self) -> u64 {
        self.sums.step.did.bytes
    }

    /// Pages that came in for the file, whoever brought them.
    pub fn inserted(&self) -> u64 {
        self.sums.inserted()
    }

    pub fn resident(&self) -> u64 {
        self.sums.step.resident
    }

    pub fn direct_calls(&self) -> u64 {
        self.sums.count(Who::Actor, Count::direct_calls)
    }

    pub fn direct_bytes(&self) -> u64 {
        self.sums.count(Who::Actor, Count::direct_bytes)
    }

    /// What the disk was asked for, in pages of the file.
    pub fn read_pages(&self) -> u64 {
        self.disk.read_bytes / PAGE
    }

    /// A step that must have been direct, seen as such by the instrument.
    ///
    /// # Errors
    /// It was not seen, or not as the script had it.
    pub fn believed(&self) -> Result<(), String> {
        let (name, seen, own) = (&self.sums.step.name, self.direct_bytes(), self.bytes());
        match seen == own {
            true => Ok(()),
            false => Err(format!(
                "step \"{name}\": {own} bytes by the script's own account, {seen} seen in calls with O_DIRECT"
            )),
        }
    }
}
