//! Pure tests on streams made by hand.

mod causes;
mod kit;
mod property;
mod tied;
mod verdicts;
mod watches;
