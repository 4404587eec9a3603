//! The tests, by what they are about. Their names are sentences.

use crate::context::Test;
use crate::tests;

mod bad_input;
mod breaking;
mod commands;
mod files;
mod herding;
mod kills;
mod labs;
mod nginx;
mod schema;
mod stats;
mod targets;
mod witness;

pub const TESTS: &[Test] = tests![
    commands: every_command_that_only_looks_answers, doctor_finds_this_machine_fit, explain_has_a_page_for_every_trace;
];
