//! The whole page: the machine, the method, the goals, every table.

use std::process::Command;

use crate::measure::Row;
use crate::rows::Plan;
use crate::startup::Started;
use crate::statistics::{Spread, ratios};
use crate::stream::{Streamed, Wanted};

use super::goals::{self, Verdict};
use super::{number, table, tables};

#[derive(Debug)]
pub enum Part {
    Row(Plan, Row),
    Keys(Vec<(u32, Row)>),
    Stream(Vec<(Wanted, Vec<Streamed>)>),
    Starts(Vec<Started>),
}

#[derive(Debug)]
pub struct Page {
    rounds: u32,
    load: [String; 2],
    parts: Vec<Part>,
}

/// A run counts for a rate if so much of it was offered.
const OFFERED: f64 = 0.97;

const METHOD: &str = include_str!("method.md");
const NOTES: &str = include_str!("notes.md");
const PACKAGES: [&str; 3] = ["libbpf-tools", "bpfcc-tools", "bpftrace"];

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

fn first_line(path: &str, begin: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(begin))?;
    Some(line.to_owned())
}

/// In general terms: how many CPUs, which kernel, virtual or not, which packages.
fn machine() -> String {
    let cpus = probes_user::kernel::possible_cpus().unwrap_or(0);
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim().split('-').next().unwrap_or("?").to_owned();
    let flags = first_line("/proc/cpuinfo", "flags").unwrap_or_default();
    let kind = if flags.contains(" hypervisor") {
        "virtual machine"
    } else {
        "machine"
    };
    let versions = PACKAGES.map(|package| {
        let mut query = Command::new("dpkg-query");
        let out = query.args(["-W", "-f=${Version}", package]).output();
        let version = out.ok().filter(|out| out.status.success());
        let version = version.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
        let version = version.filter(|version| !version.is_empty());
        format!(
            "{package} {}",
            version.as_deref().unwrap_or("(not installed)")
        )
    });
    format!(
        "A {kind} with {cpus} CPUs, Linux {release}; {}.",
        versions.join(", ")
    )
}

impl Page {
    pub fn new(rounds: u32) -> Page {
        Page {
            rounds,
            load: [load_average(), String::new()],
            parts: Vec::new(),
        }
    }

    /// Shows the part now, and keeps it.
    pub fn add(&mut self, part: Part) {
        println!("{}", part.text());
        self.parts.push(part);
        self.load[1] = load_average();
    }

    pub fn goals(&self) -> String {
        let verdicts = self.parts.iter().flat_map(Part::verdicts);
        let rows: Vec<Vec<String>> = verdicts.map(Verdict::cells).collect();
        table(&["goal", "wanted", "found", ""], &rows)
    }

    pub fn text(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(Part::text).collect();
        let [before, after] = &self.load;
        format!(
            "{METHOD}\n## This run\n\n{} {} rounds; the load average was {before} at the start (other work \
             on the machine) and {after} at the end.\n\n## Goals\n\n{}\n{NOTES}\n{}",
            machine(),
            self.rounds,
            self.goals(),
            parts.join("\n")
        )
    }
}

impl Part {
    fn text(&self) -> String {
        match self {
            Part::Row(plan, row) => {
                let remark = match plan.remark {
                    "" => String::new(),
                    remark => format!("\n{remark}\n"),
                };
                let costs = tables::costs(plan.load.unit(), row);
                format!("## {} (`{}`)\n\n{costs}{remark}", plan.title, plan.id)
            }
            Part::Keys(rows) => format!(
                "## Growth with distinct keys (`keys`)\n\nAdded ns for one system call that is counted by a \
                 key drawn at random; drawing it is part of every number but the empty program's.\n\n{}",
                tables::keys(rows)
            ),
            Part::Stream(all) => format!(
                "## Records of 64 bytes to user space (`stream`)\n\n{}",
                tables::streams(all)
            ),
            Part::Starts(all) => format!(
                "## Start-up and memory (`start`)\n\n{}",
                tables::starts(all)
            ),
        }
    }

    fn verdicts(&self) -> Vec<Verdict> {
        match self {
            Part::Row(plan, row) => goals::verdicts(plan, row),
            Part::Keys(_) => Vec::new(),
            Part::Stream(all) => streams(all),
            Part::Starts(all) => starts(all),
        }
    }
}

fn streams(all: &[(Wanted, Vec<Streamed>)]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (wanted, runs) in all {
        let name = format!(
            "stream: {} M/s through {} MiB",
            wanted.rate as f64 / 1e6,
            wanted.ring >> 20
        );
        let of = |what: fn(&Streamed) -> f64| {
            let offered = runs
                .iter()
                .filter(|run| run.rate >= wanted.rate as f64 * OFFERED);
            Spread::of(&offered.map(what).collect::<Vec<f64>>())
        };
        let most = runs.iter().map(|run| run.rate / 1e6).fold(0.0, f64::max);
        let why = format!("the workload reached {} M/s at most", number(most));
        let lost = of(|run| run.lost as f64);
        verdicts.push(Verdict::of(
            format!("{name}: records lost"),
            0.0,
            lost,
            &why,
        ));
        if wanted.rate == 1_000_000 {
            let share = of(|run| run.share * 100.0);
            verdicts.push(Verdict::of(
                format!("{name}: reader, % of a core"),
                5.0,
                share,
                &why,
            ));
        }
        let odd = of(|run| run.sent.abs_diff(run.read) as f64);
        verdicts.push(Verdict::of(
            format!("{name}: produced - read - lost"),
            0.0,
            odd,
            &why,
        ));
    }
    verdicts
}

/// Ours beside what follows it in its group: the peer of libbpf-tools, then bpftrace.
fn starts(all: &[Started]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for group in all.chunk_by(|a, b| a.about == b.about) {
        let Some((ours, others)) = group.split_first() else {
            continue;
        };
        for (peer, most) in others.iter().zip([1.0, 0.25]) {
            let why = [ours, peer]
                .into_iter()
                .find_map(|its| its.why_not.as_deref());
            for (what, of, to) in [
                ("CPU", &ours.cpu_ms, &peer.cpu_ms),
                ("peak memory", &ours.peak_mib, &peer.peak_mib),
            ] {
                let name = format!("start: {what}, {} / {}", ours.name, peer.name);
                let found = Spread::of(&ratios(of, to));
                verdicts.push(Verdict::of(name, most, found, why.unwrap_or("no round")));
            }
        }
    }
    verdicts
}
