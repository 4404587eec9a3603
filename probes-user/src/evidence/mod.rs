//! Verdicts and the tables they rest on. Pure: no I/O, no clock.

pub mod claim;
pub mod expect;
pub mod ledger;

pub use claim::{Claim, ClaimResult, Finding};
pub use ledger::{Column, Ledger, Table};
