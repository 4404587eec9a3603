//! One case of a lab about pages: which file, what was done to it, and what was counted of whom.

use probes_common::pages::{Count, owner};

use crate::instrument::pages::PageRow;
use crate::lab::pages::{FsName, LACKING, STEP, Step, Subject};
use crate::trace::scripted::CaseLog;

/// Kinds of insertion.
pub const INSERTED: [Count; 8] = [
    Count::inserted_read,
    Count::inserted_sync,
    Count::inserted_async,
    Count::inserted_advised,
    Count::inserted_fault,
    Count::inserted_write,
    Count::inserted_direct,
    Count::inserted_other,
];
/// Kinds of misses of read calls.
pub const MISSED: [Count; 4] = [
    Count::missed_in_call,
    Count::missed_sync,
    Count::missed_async,
    Count::missed_advised,
];

#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    pub label: String,
    pub subject: Subject,
    pub steps: Vec<Step>,
    pub ended: bool,
}

impl Case {
    /// None = the script said of no file.
    pub fn of(log: &CaseLog) -> Option<Case> {
        let subject = log.named(Subject::NAME).next()?;
        let steps = log.named(STEP);
        Some(Case {
            label: log.label.clone(),
            subject: serde_json::from_value(subject.data.clone()).ok()?,
            steps: steps
                .filter_map(|mark| serde_json::from_value(mark.data.clone()).ok())
                .collect(),
            ended: log.ended_at.is_some(),
        })
    }

    pub fn step(&self, name: &str) -> Option<Sums<'_>> {
        let step = self.steps.iter().rev().find(|step| step.name == name)?;
        Some(Sums {
            step,
            subject: &self.subject,
        })
    }

    pub fn all(&self) -> impl Iterator<Item = Sums<'_>> {
        let subject = &self.subject;
        self.steps.iter().map(move |step| Sums { step, subject })
    }

    /// Who else, beside the script and the programs it ran, took pages of the file out of the cache in the middle of
    /// a step (reclaim) or brought some in (khugepaged): what the step's own doing shows is then not the whole of it.
    pub fn disturbed_by(&self) -> Option<String> {
        let own =
            |tgid| tgid == self.subject.tgid || self.steps.iter().any(|step| step.did.tgid == tgid);
        self.all().find_map(|sums| {
            let mut others = sums.rows(Who::All).filter(|row| !own(row.tgid));
            others.find_map(|row| {
                if row.get(Count::deleted) > 0 {
                    return Some(format!("{} took pages of the file away", row.comm));
                }
                let came_in = INSERTED.iter().any(|count| row.get(*count) > 0);
                came_in.then(|| format!("{} brought in pages of the file", row.comm))
            })
        })
    }

    /// Did the instrument see what the script itself counted, of every step that read?
    pub fn counts_agree(&self) -> bool {
        self.all().all(|sums| sums.asked_agrees())
    }
}

/// Why a case was left out: the file system, and what it lacks.
pub fn lacking(log: &CaseLog) -> Option<(FsName, String)> {
    let mark = log.named(LACKING).next()?;
    let fs = serde_json::from_value(mark.data.get("fs")?.clone()).ok()?;
    Some((fs, mark.data.get("why")?.as_str()?.to_owned()))
}

/// Whose counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The script, or the program that it ran for the step.
    Actor,
    Others,
    All,
}

/// A step's counts, summed.
#[derive(Debug, Clone, Copy)]
pub struct Sums<'a> {
    pub step: &'a Step,
    pub subject: &'a Subject,
}

impl<'a> Sums<'a> {
    fn actor(&self) -> u32 {
        match self.step.did.tgid {
            0 => self.subject.tgid,
            tgid => tgid,
        }
    }

    fn is(&self, who: Who, row: &PageRow) -> bool {
        match who {
            Who::Actor => row.tgid == self.actor(),
            Who::Others => row.tgid != self.actor(),
            Who::All => true,
        }
    }

    /// Rows of the file itself.
    pub fn rows(&self, who: Who) -> impl Iterator<Item = &'a PageRow> {
        let (key, sums) = (self.subject.key(), *self);
        self.step.pages.rows.iter().filter(move |row| {
            row.owner == key.owner && row.dev == key.dev && row.ino == key.ino && sums.is(who, row)
        })
    }

    pub fn count(&self, who: Who, count: Count) -> u64 {
        self.rows(who).map(|row| row.get(count)).sum()
    }

    pub fn counts(&self, who: Who, counts: &[Count]) -> u64 {
        counts.iter().map(|count| self.count(who, *count)).sum()
    }

    /// Of the file's own disk, seen as a block device.
    pub fn device(&self, who: Who, counts: &[Count]) -> u64 {
        let (dev, sums) = (self.subject.dev, *self);
        let rows =
            self.step.pages.rows.iter().filter(move |row| {
                row.owner == owner::DEVICE && row.dev == dev && sums.is(who, row)
            });
        rows.map(|row| counts.iter().map(|count| row.get(*count)).sum::<u64>())
            .sum()
    }

    pub fn inserted(&self) -> u64 {
        self.counts(Who::All, &INSERTED)
    }

    pub fn asked(&self) -> u64 {
        self.count(Who::Actor, Count::asked)
    }

    pub fn missed(&self) -> u64 {
        self.counts(Who::Actor, &MISSED)
    }

    /// Pages asked for that had been used before; never less than none.
    pub fn hits(&self) -> u64 {
        self.asked().saturating_sub(self.missed())
    }

    /// Of the pages asked for; None = none were.
    pub fn hit_ratio(&self) -> Option<f64> {
        ratio(self.hits(), self.asked())
    }

    fn asked_agrees(&self) -> bool {
        self.step.did.calls == 0
            || self.count(Who::Actor, Count::read_calls) == 0
            || self.asked() == self.step.did.pages
    }

    /// First and last of a time, CLOCK_MONOTONIC.
    pub fn time(&self, who: Who, count: Count) -> Option<u64> {
        let times = self.rows(who).map(|row| row.get(count));
        let times = times.filter(|time| *time != 0);
        if count.is_first() {
            times.min()
        } else {
            times.max()
        }
    }
}

pub fn ratio(part: u64, of: u64) -> Option<f64> {
    (of != 0).then(|| part as f64 / of as f64)
}
