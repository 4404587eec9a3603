//! The test binary in each guest kernel, two guests at a time.

use super::{Collected, live};
use crate::cli::{self, TestArgs};
use crate::job::{Job, RESULTS_PORT};
use crate::kernels::lock::Lock;
use crate::kernels::{Kernel, fetch};
use crate::report::protocol::{self, Event, Outcome};
use crate::report::run::Column;
use crate::vm::end::End;
use crate::vm::guest::{self, Guest};
use crate::vm::watch::Said;
use crate::{image, sh, vm};
use anyhow::Result;
use std::collections::BTreeMap;

/// For the whole suite in one emulated guest.
const TIMEOUT_S: u64 = 2700;

pub fn run(args: &TestArgs) -> Result<Collected> {
    let mut kernels = Vec::new();
    let mut missing = Vec::new();
    for pin in Lock::read()?.select(&args.kernel)? {
        let found = fetch::kernel(&pin);
        match found {
            Ok(Some(kernel)) => kernels.push(kernel),
            // The one honest skip: the archive does not have the pinned kernel any more.
            Ok(None) if pin.rolling => {
                let mut column = Column::new(&pin.label);
                column.unavailable = Some(vm::gone(&pin.label));
                missing.push(column);
            }
            Ok(None) => missing.push(broken(&pin.label, vm::gone(&pin.label))),
            Err(error) => missing.push(broken(&pin.label, format!("{error:#}"))),
        }
    }
    run_in(kernels, missing, args)
}

fn broken(label: &str, why: String) -> Column {
    let mut column = Column::new(label);
    column.problems.push((cli::INFRASTRUCTURE, why));
    column
}

/// In these kernels; columns of kernels that could not be had stand beside them.
pub fn run_in(kernels: Vec<Kernel>, missing: Vec<Column>, args: &TestArgs) -> Result<Collected> {
    let contents = guest::our_programs(image::default_packages())?;
    let _step = sh::step("tests in guest kernels");
    let guests: Vec<Guest> = kernels
        .into_iter()
        .map(|kernel| Guest {
            job: job(&kernel.label, args),
            kernel,
            contents: contents.clone(),
            args: args.guest.clone(),
        })
        .collect();
    let mut columns: BTreeMap<String, Column> = BTreeMap::new();
    let outcomes = guest::run_all(&guests, |guest, said| {
        let label = &guest.kernel.label;
        let column = columns
            .entry(label.clone())
            .or_insert_with(|| Column::new(label));
        hear(column, said);
    });
    let mut done = Vec::new();
    for (guest, outcome) in guests.iter().zip(outcomes) {
        let label = &guest.kernel.label;
        let mut column = columns.remove(label).unwrap_or_else(|| Column::new(label));
        match outcome {
            Ok(outcome) => {
                let own = match &outcome.end {
                    End::Exited(code) => Some(*code),
                    _ => None,
                };
                if own.is_none() {
                    column
                        .problems
                        .push((outcome.end.code(), outcome.end.to_string()));
                }
                column.close(own, !args.filter.is_empty());
            }
            Err(error) => column
                .problems
                .push((cli::INFRASTRUCTURE, format!("{error:#}"))),
        }
        if column.code() != cli::OK {
            show_logs(guest);
        }
        done.push(column);
    }
    done.extend(missing);
    // As the lock file has them, whatever could not be run.
    let order: Vec<String> = Lock::read()?
        .kernels
        .into_iter()
        .map(|pin| pin.label)
        .collect();
    done.sort_by_key(|column| order.iter().position(|label| *label == column.label));
    Ok(Collected {
        columns: done,
        ..Collected::default()
    })
}

fn job(label: &str, args: &TestArgs) -> Job {
    let results = format!("/dev/virtio-ports/{RESULTS_PORT}");
    let mut argv: Vec<String> = ["probes-tests", "--kernel", label, "--results", &results]
        .map(str::to_owned)
        .into();
    argv.extend(["--probes", "/usr/bin/probes"].map(str::to_owned));
    argv.extend(live::test_words(args));
    Job {
        argv,
        env: BTreeMap::new(),
        timeout_s: args.guest.timeout_or(TIMEOUT_S).as_secs(),
    }
}

/// Result lines become cells and one line each for the person who waits.
fn hear(column: &mut Column, said: Said<'_>) {
    match said {
        Said::Note(note) => eprintln!("[{}] {note}", column.label),
        Said::Output(_) => {}
        Said::Result(line) => {
            let Some(event) = protocol::parse(line) else {
                return;
            };
            if let Event::Finished {
                test,
                outcome,
                reason,
                ms,
            } = &event
            {
                let word = match outcome {
                    Outcome::Pass => "ok",
                    Outcome::Fail => "FAILED",
                    Outcome::Skip => "skipped",
                };
                let reason = reason.as_deref().unwrap_or_default();
                println!("[{}] {word:<7} {test} ({ms} ms) {reason}", column.label);
            }
            column.take(event);
        }
    }
}

/// The ends of what the job and the kernel said, for a column that is red.
fn show_logs(guest: &Guest) {
    const LAST: usize = 40;
    let Ok(dir) = guest.dir() else {
        return;
    };
    for name in ["output.log", "console.log"] {
        let path = dir.join(name);
        let text = std::fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        println!("--- [{}] end of {}", guest.kernel.label, path.display());
        for line in lines.iter().skip(lines.len().saturating_sub(LAST)) {
            println!("{line}");
        }
    }
}
