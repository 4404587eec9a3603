//! Waiting for facts: polled under one budget that suits an emulated guest.

use std::time::{Duration, Instant};

/// Only what has gone wrong reaches it.
pub const BUDGET: Duration = Duration::from_secs(120);

/// For one run of the program, all labs in an emulated guest included; the test's own budget is less.
pub const PROGRAM: Duration = Duration::from_secs(900);

/// Polls until `fact` gives something.
///
/// # Panics
/// When the budget is over.
pub fn until<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    match within(BUDGET, &mut fact) {
        Some(value) => value,
        None => panic!("waited {} s in vain: {what}", BUDGET.as_secs()),
    }
}

pub fn within<T>(budget: Duration, mut fact: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + budget;
    loop {
        if let Some(value) = fact() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        tick();
    }
}

/// Between two looks at a fact.
pub fn tick() {
    std::thread::sleep(Duration::from_millis(5));
}
