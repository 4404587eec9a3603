//! Commands that only look: list, claims, explain, doctor, and the hidden docs generator.

use std::fmt::Write as _;

use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::output::print;
use crate::exit::{Exit, usage};
use crate::instrument::hook;
use crate::kernel::{Kernel, preflight};
use crate::session::start;
use crate::trace::{Mode, TRACES, Trace, find};

pub fn commands() -> Vec<Command> {
    vec![
        Command::new("list")
            .about("What traces there are")
            .display_order(102),
        Command::new("claims")
            .about("What each trace settles, and what number would refute it")
            .arg(
                Arg::new("trace")
                    .value_name("TRACE")
                    .help("Only this trace"),
            )
            .display_order(103),
        Command::new("explain")
            .about("How a trace proves what it says")
            .arg(Arg::new("trace").value_name("TRACE").required(true))
            .display_order(104),
        Command::new("doctor")
            .about("Can probes run here? Each line with its remedy")
            .display_order(105),
        Command::new("docs")
            .about("Write or check the generated parts of the documentation")
            .arg(Arg::new("write").long("write").action(ArgAction::SetTrue))
            .arg(
                Arg::new("check")
                    .long("check")
                    .action(ArgAction::SetTrue)
                    .conflicts_with("write"),
            )
            .arg(
                Arg::new("root")
                    .long("root")
                    .value_name("DIR")
                    .default_value("."),
            )
            .hide(true),
    ]
}

/// # Errors
/// An unknown trace; standard output that cannot be written.
pub fn run(name: &str, args: &ArgMatches) -> Result<Exit> {
    let named = || args.get_one::<String>("trace").map(String::as_str);
    match name {
        "list" => text(&list()),
        "claims" => text(&claims(named())?),
        "explain" => text(trace_named(named().unwrap_or_default())?.page()),
        "doctor" => doctor(),
        "docs" => super::docs::run(args),
        other => usage(format!("no command {other:?}")),
    }
}

fn text(text: &str) -> Result<Exit> {
    print(text.as_bytes())?;
    Ok(Exit::Settled)
}

fn trace_named(name: &str) -> Result<&'static dyn Trace> {
    match find(name) {
        Some(trace) => Ok(trace),
        None => {
            let names: Vec<&str> = TRACES.iter().map(|trace| trace.name()).collect();
            usage(format!("no trace {name:?}: there are {}", names.join(", ")))
        }
    }
}

fn list() -> String {
    let mut out = String::new();
    for trace in TRACES {
        let _written = writeln!(
            out,
            "{:<14} {} ({} claims)",
            trace.name(),
            trace.summary(),
            trace.claims().len()
        );
    }
    out
}

fn claims(only: Option<&str>) -> Result<String> {
    let traces: Vec<&dyn Trace> = match only {
        Some(name) => vec![trace_named(name)?],
        None => TRACES.to_vec(),
    };
    let mut out = String::new();
    for claim in traces.iter().flat_map(|trace| trace.claims()) {
        let _written = writeln!(
            out,
            "{}\n  {}\n  holds if    {}\n  refuted if  {}\n",
            claim.id, claim.statement, claim.holds_if, claim.refuted_if
        );
    }
    Ok(out)
}

/// Privileges, BTF and lockdown by looking, hooks by attaching them.
fn doctor() -> Result<Exit> {
    let kernel = Kernel::running()?;
    let checks = preflight::checks(&kernel, Mode::Lab);
    let mut out = String::new();
    for check in &checks {
        let _written = writeln!(
            out,
            "{:<5} {:<22} {}",
            word(check.state),
            check.name,
            check.found
        );
        if let Some(remedy) = &check.remedy {
            let _written = writeln!(out, "      {:<22} → {remedy}", "");
        }
    }
    let failed = checks
        .iter()
        .any(|check| check.state == preflight::State::Fail);
    let missing = if failed { 0 } else { hooks(&kernel, &mut out)? };
    print(out.as_bytes())?;
    Ok(if failed || missing > 0 {
        Exit::CannotRun
    } else {
        Exit::Settled
    })
}

fn word(state: preflight::State) -> &'static str {
    match state {
        preflight::State::Ok => "ok",
        preflight::State::Warn => "warn",
        preflight::State::Fail => "FAIL",
    }
}

/// Attaches every hook once. Returns how many needed ones did not.
fn hooks(kernel: &Kernel, out: &mut String) -> Result<usize> {
    let programs: Vec<&'static str> = hook::INSTRUMENTS
        .iter()
        .flat_map(|i| i.hooks.iter())
        .map(|hook| hook.program)
        .collect();
    let mut needs: Vec<&str> = TRACES
        .iter()
        .flat_map(|trace| start::needs(*trace))
        .collect();
    needs.sort_unstable();
    needs.dedup();
    let attachment = start::attach_only(kernel, &programs, &needs)?;
    for report in &attachment.reports {
        let (word, found) = match (&report.attached_as, report.needed) {
            (Some(rung), _) => ("ok", rung.clone()),
            (None, true) => ("FAIL", report.why_not.clone().unwrap_or_default()),
            (None, false) => ("warn", report.why_not.clone().unwrap_or_default()),
        };
        let _written = writeln!(out, "{word:<5} hook {:<28} {found}", report.hook);
        if report.attached_as.is_none() {
            let _written = writeln!(out, "      {:<33} → without it {}", "", report.lost_without);
        } else if let Some(why) = &report.why_not {
            let _written = writeln!(out, "      {:<33} → {why}", "");
        }
    }
    Ok(attachment
        .reports
        .iter()
        .filter(|report| report.needed && report.attached_as.is_none())
        .count())
}
