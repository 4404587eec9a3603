//! Moves records from the ring through decode and order to whoever folds and records them.

use std::os::fd::BorrowedFd;

use anyhow::{Context, Result};

use crate::stream::continuity::Continuity;
use crate::stream::decode::decode;
use crate::stream::order::Order;
use crate::stream::repeats::Repeats;
use crate::stream::ring::Ring;
use crate::stream::{Item, Mark};

#[derive(Debug)]
pub struct Pump {
    ring: Ring,
    order: Order,
    records: u64,
    repeats: Repeats,
    gaps: Continuity,
    /// Records that could not be decoded.
    damaged: u64,
}

/// What went wrong between the ring and the fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Records that could not be decoded.
    pub damaged: u64,
    /// Items that came too late to be ordered.
    pub late: u64,
    /// Places where something of a watched task is missing; marked in the stream.
    pub gaps: u64,
}

impl Pump {
    /// # Errors
    /// The ring cannot be mapped.
    pub fn new(map: BorrowedFd<'_>, ring_bytes: u32, programs: &[&str]) -> Result<Pump> {
        let ring = Ring::new(map, ring_bytes).context("could not map the event ring")?;
        Ok(Pump {
            ring,
            order: Order::default(),
            records: 0,
            repeats: Repeats::default(),
            gaps: Continuity::of(programs),
            damaged: 0,
        })
    }

    /// Takes what the ring holds now. Returns how many records.
    pub fn drain(&mut self) -> u64 {
        let (order, damaged, repeats) = (&mut self.order, &mut self.damaged, &mut self.repeats);
        let records = self.ring.drain(|bytes| match decode(bytes) {
            Ok(event) if repeats.is_repeat(&event) => {}
            Ok(event) => order.push(Item::Event(event)),
            Err(_) => *damaged += 1,
        });
        self.records += records;
        records
    }

    pub fn mark(&mut self, mark: Mark) {
        self.order.push(Item::Mark(mark));
    }

    /// Hands out what no older item can precede any more.
    pub fn release(&mut self, now: u64, mut take: impl FnMut(Item)) {
        let gaps = &mut self.gaps;
        self.order.release(now, |item| {
            gaps.pass(item, &mut take);
        });
    }

    /// Hands out everything: the window is cut.
    pub fn flush(&mut self, mut take: impl FnMut(Item)) {
        let gaps = &mut self.gaps;
        self.order.flush(|item| {
            gaps.pass(item, &mut take);
        });
        gaps.cut();
    }

    /// Records read from the ring so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    pub fn faults(&self) -> Faults {
        Faults {
            damaged: self.damaged,
            late: self.order.late(),
            gaps: self.gaps.gaps(),
        }
    }
}
