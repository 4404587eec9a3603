//! Moves records from the ring through decode and order to whoever folds and records them.

use std::os::fd::BorrowedFd;

use anyhow::{Context, Result};

use crate::stream::decode::decode;
use crate::stream::order::Order;
use crate::stream::ring::Ring;
use crate::stream::{Item, Mark};

#[derive(Debug)]
pub struct Pump {
    ring: Ring,
    order: Order,
    records: u64,
    /// Records that could not be decoded.
    damaged: u64,
}

impl Pump {
    /// # Errors
    /// The ring cannot be mapped.
    pub fn new(map: BorrowedFd<'_>, ring_bytes: u32) -> Result<Pump> {
        let ring = Ring::new(map, ring_bytes).context("could not map the event ring")?;
        Ok(Pump { ring, order: Order::default(), records: 0, damaged: 0 })
    }

    /// Takes what the ring holds now. Returns how many records.
    pub fn drain(&mut self) -> u64 {
        let (order, damaged) = (&mut self.order, &mut self.damaged);
        let records = self.ring.drain(|bytes| match decode(bytes) {
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
    pub fn release(&mut self, now: u64, take: impl FnMut(Item)) {
        self.order.release(now, take);
    }

    /// Hands out everything.
    pub fn flush(&mut self, take: impl FnMut(Item)) {
        self.order.flush(take);
    }

    /// Records read from the ring so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// (records that could not be decoded, items that came too late to be ordered)
    pub fn faults(&self) -> (u64, u64) {
        (self.damaged, self.order.late())
    }
}
