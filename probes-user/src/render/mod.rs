//! Text for a person, JSON for a program, from one report.

pub mod json;
pub mod report;
pub mod table;
pub mod text;

pub use report::Report;
