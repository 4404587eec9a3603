//! Text for a person, JSON for a program, from one report.

pub mod report;

pub use report::Report;
