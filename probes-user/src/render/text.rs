//! The report for a person: verdicts with their numbers first, then the ledger, then what it rests on.
//!
//! At most 100 columns. Colour only if the caller says so (a terminal, and no NO_COLOR).

use std::collections::BTreeMap;

use super::report::{HookReport, Report, StatsReport};
use super::table;
use crate::evidence::{ClaimResult, Finding, Ledger};
use crate::trace::Mode;

pub const WIDTH: usize = 100;
/// `inconclusive` and two spaces.
const RESULT: usize = 14;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    pub colour: bool,
    /// All tables, every row, every hook.
    pub verbose: bool,
}

pub fn report(report: &Report, style: Style) -> String {
    let mut page = Page::default();
    for finding in &report.findings {
        verdict(&mut page, finding, style);
    }
    page.gap();
    ledger_onto(&mut page, &report.ledger, style);
    page.gap();
    footer(&mut page, report, style);
    page.text
}

/// The ledger alone, for the intervals of a watch.
pub fn ledger(ledger: &Ledger, style: Style) -> String {
    let mut page = Page::default();
    ledger_onto(&mut page, ledger, style);
    page.text
}

/// Text that grows line by line; one empty line at most between parts.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn gap(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// `head` on the first line, further lines below its end.
    fn hanging(&mut self, head: &str, indent: usize, body: &str) {
        let lines = wrap(body, WIDTH - indent);
        for (number, line) in lines.iter().enumerate() {
            if number == 0 {
                self.line(&format!("{head}{line}"));
            } else {
                self.line(&format!("{}{line}", " ".repeat(indent)));
            }
        }
    }
}

/// A span of time for a person.
pub fn span(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.1} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let used = lines[last].chars().count();
        if used > 0 && used + 1 + word.chars().count() > width {
            lines.push(table::elide(word, width));
        } else {
            if used > 0 {
                lines[last].push(' ');
            }
            lines[last].push_str(&table::elide(word, width));
        }
    }
    lines
}

fn verdict(page: &mut Page, finding: &Finding, style: Style) {
    let word = finding.result.word();
    let pad = " ".repeat(RESULT - word.len());
    let result = if style.colour {
        format!("\x1b[{}m{word}\x1b[0m", colour(finding.result))
    } else {
        word.to_owned()
    };
    page.line(&format!("{result}{pad}{}", finding.id));
    let indent = " ".repeat(RESULT);
    if style.verbose {
        page.hanging(&indent, RESULT, &finding.statement);
    }
    page.hanging(&indent, RESULT, &finding.because);
}

fn colour(result: ClaimResult) -> &'static str {
    match result {
        ClaimResult::Holds => "32",
        ClaimResult::Refuted => "33",
        ClaimResult::Inconclusive => "35",
        ClaimResult::Unsupported => "31",
    }
}

fn ledger_onto(page: &mut Page, ledger: &Ledger, style: Style) {
    for table in ledger
        .tables
        .iter()
        .filter(|table| style.verbose || !table.detail)
    {
        let lines = table::lines(table, style.verbose);
        if lines.is_empty() {
            continue;
        }
        for (number, line) in lines.iter().enumerate() {
            match (number, style.colour) {
                (0, true) => page.line(&format!("\x1b[1m{line}\x1b[0m")),
                _ => page.line(line),
            }
        }
        page.gap();
    }
    for remark in &ledger.remarks {
        page.hanging("- ", 2, remark);
    }
    page.gap();
    for line in &ledger.timeline {
        page.line(&table::elide(line, WIDTH));
    }
}

fn footer(page: &mut Page, report: &Report, style: Style) {
    let kernel = &report.kernel;
    let mode = match report.mode {
        Mode::Lab => "lab",
        Mode::Watch => "watch",
    };
    let machine = format!(
        "{} ({mode}) on Linux {} {}, {} CPUs",
        report.trace, kernel.release, kernel.machine, kernel.cpus
    );
    page.hanging("", 0, &machine);
    hooks(page, &report.hooks, style);
    let ending = &report.ending;
    page.hanging("lost: ", 6, &counts(&ending.lost));
    if ending.gaps > 0 {
        let gaps = format!(
            "{} places where an event is missing; what they touch is not judged",
            ending.gaps
        );
        page.hanging("gaps: ", 6, &gaps);
    }
    if ending.skipped > 0 && style.verbose {
        let skipped = format!(
            "{} program runs, made good by further copies or not needed",
            ending.skipped
        );
        page.hanging("skipped: ", 9, &skipped);
    }
    if !ending.failed.is_empty() {
        page.hanging("failed: ", 8, &counts(&ending.failed));
    }
    if let Some(error) = &ending.lab_error {
        page.hanging("lab: ", 5, error);
    }
    if let Some(error) = &report.record_error {
        page.hanging("", 4, &format!("recording incomplete: {error}"));
    }
    let interrupted = if ending.interrupted {
        ", interrupted"
    } else {
        ""
    };
    page.line(&format!(
        "{} records in {}{interrupted}",
        ending.emitted,
        seconds(ending.duration_ns)
    ));
    if let Some(stats) = &report.stats {
        cost(page, stats);
    }
}

fn hooks(page: &mut Page, hooks: &[HookReport], style: Style) {
    let mut ways: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for hook in hooks {
        if let Some(way) = &hook.attached_as {
            ways.entry(way).or_default().push(&hook.hook);
        }
    }
    let told: Vec<String> = ways
        .iter()
        .map(|(way, hooks)| {
            if style.verbose {
                format!("{way}: {}", hooks.join(", "))
            } else {
                format!("{} as {way}", hooks.len())
            }
        })
        .collect();
    let attached = if told.is_empty() {
        "nothing".to_owned()
    } else {
        told.join("; ")
    };
    page.hanging("attached: ", 10, &attached);
    for hook in hooks
        .iter()
        .filter(|hook| hook.attached_as.is_none() && (hook.needed || style.verbose))
    {
        let why = hook.why_not.as_deref().unwrap_or("not tried");
        page.hanging(
            "not attached: ",
            14,
            &format!("{} ({why}): {}", hook.hook, hook.lost_without),
        );
    }
    let optional: Vec<&str> = hooks
        .iter()
        .filter(|hook| hook.attached_as.is_none() && !hook.needed)
        .map(|hook| hook.hook.as_str())
        .collect();
    if !optional.is_empty() && !style.verbose {
        page.hanging(
            "",
            4,
            &format!(
                "without (less precise, -v says how): {}",
                optional.join(", ")
            ),
        );
    }
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let told: Vec<String> = counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if told.is_empty() {
        "nothing".to_owned()
    } else {
        told.join(", ")
    }
}

fn cost(page: &mut Page, stats: &StatsReport) {
    let parts: Vec<String> = stats
        .startup_ns
        .iter()
        .map(|(part, ns)| format!("{part} {}", millis(*ns)))
        .collect();
    let startup: u64 = stats.startup_ns.iter().map(|(_, ns)| ns).sum();
    page.hanging(
        "start: ",
        7,
        &format!("{} ({})", millis(startup), parts.join(", ")),
    );
    page.line(&format!(
        "cost: {:.0} records/s, peak memory {} KiB, maps {} KiB",
        stats.events_per_second,
        stats.peak_rss_bytes / 1024,
        stats.map_bytes / 1024
    ));
    for program in stats.programs.iter().filter(|program| program.runs > 0) {
        page.line(&format!(
            "  {:<28} {:>10} runs {:>6} ns each",
            program.program,
            program.runs,
            program.ns / program.runs
        ));
    }
}

fn seconds(ns: u64) -> String {
    format!("{:.1} s", std::time::Duration::from_nanos(ns).as_secs_f64())
}

fn millis(ns: u64) -> String {
    format!(
        "{:.1} ms",
        std::time::Duration::from_nanos(ns).as_secs_f64() * 1000.0
    )
}
