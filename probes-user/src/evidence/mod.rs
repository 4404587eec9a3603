//! Verdicts and the tables they rest on. Pure: no I/O, no clock.

pub mod claim;
pub mod expect;
pub mod histogram;
pub mod ledger;
pub mod statistics;

pub use claim::{Claim, ClaimResult, Finding};
pub use histogram::Histogram;
pub use ledger::{Column, Ledger, Table};
