//! `probes-bench`: what the toolkit costs, beside an empty program on the same hooks and beside other tools.
//! Started by `cargo xtask bench`, as root; nothing of the machine stays changed.
//!
//! What could fool it: other work on the machine (hence CPU time and not time, contenders in turn, medians),
//! somebody else's programs on the same hook (hence a look before and after each block), and a tool that is
//! not attached yet (hence its own first line, and the kernel's count of its programs' runs).

mod bpf;
mod inside;
mod load;
mod measure;
mod place;
mod render;
mod rows;
mod startup;
mod statistics;
mod stream;
mod tool;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};

use crate::inside::Bench;
use crate::load::{Kind, Load};
use crate::measure::Meter;
use crate::render::page::{Page, Part};

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure
    Run(RunArgs),
    /// One workload, told what to do on its standard input
    #[command(hide = true)]
    Load {
        kind: Kind,
        #[arg(long)]
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Only these parts: wakeups, calls, latencies, events, connections, requests, pages, start, stream, keys
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    #[arg(long)]
    rounds: Option<u32>,
    /// Few rounds of short blocks: to try it, not to quote
    #[arg(long)]
    quick: bool,
    /// Write the page here
    #[arg(long)]
    write: Option<PathBuf>,
    /// The program that is measured
    #[arg(long)]
    probes: PathBuf,
    /// The folder with the BPF objects
    #[arg(long)]
    objects: PathBuf,
    /// For the files of the workloads: on a disk
    #[arg(long)]
    folder: PathBuf,
}

const ROUNDS: u32 = 11;
const QUICK: u32 = 3;
const KEYS: [u32; 4] = [10, 1_000, 100_000, 1_000_000];

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Load { kind, folder } => load::serve(kind, &folder),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl RunArgs {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }

    fn rounds(&self) -> u32 {
        let usual = if self.quick { QUICK } else { ROUNDS };
        self.rounds.unwrap_or(usual).max(1)
    }
}

fn run(args: &RunArgs) -> Result<()> {
    probes_user::kernel::raise_memlock().context("could not raise the memlock limit")?;
    place::make_own()?;
    let bench = Bench::open(&args.objects)?;
    let mut page = Page::new(args.rounds());
    // Kept after each part: a run takes long.
    let mut add = |part: Part| -> Result<()> {
        page.add(part);
        args.write.as_ref().map_or(Ok(()), |path| {
            std::fs::write(path, page.text())
                .with_context(|| format!("could not write {}", path.display()))
        })
    };
    for plan in rows::plans(&args.probes) {
        if args.wants(plan.id) {
            eprintln!("==> {}", plan.title);
            let load = Load::start(plan.load, &args.folder)?;
            let row = Meter::new(&bench, load, args.quick).row(&plan.contenders, args.rounds())?;
            add(Part::Row(plan, row))?;
        }
    }
    if args.wants("start") {
        eprintln!("==> start-up and memory");
        add(Part::Starts(startup::measure(&args.probes, args.rounds())?))?;
    }
    if args.wants("stream") {
        add(Part::Stream(streams(args, &bench)?))?;
    }
    if args.wants("keys") {
        add(Part::Keys(keys(args, &bench)?))?;
    }
    println!("{}", page.goals());
    Ok(())
}

fn keys(args: &RunArgs, bench: &Bench) -> Result<Vec<(u32, measure::Row)>> {
    let few = args.rounds().div_ceil(2);
    let mut rows = Vec::new();
    for count in KEYS {
        eprintln!("==> counting by {count} keys");
        let load = Load::start(Kind::Calls, &args.folder)?;
        let row = Meter::new(bench, load, args.quick).row(&rows::by_keys(count), few)?;
        rows.push((count, row));
    }
    Ok(rows)
}

fn streams(args: &RunArgs, bench: &Bench) -> Result<Vec<(stream::Wanted, Vec<stream::Streamed>)>> {
    eprintln!("==> records to user space");
    let mut load = Load::start(Kind::Calls, &args.folder)?;
    let seconds = if args.quick { 0.3 } else { 1.0 };
    let mut results: Vec<_> = stream::WANTED.map(|wanted| (wanted, Vec::new())).into();
    for _ in 0..args.rounds() {
        for (wanted, runs) in &mut results {
            runs.push(stream::run(bench, &mut load, *wanted, seconds)?);
        }
    }
    Ok(results)
}
