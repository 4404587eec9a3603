//! Added cost per operation: the workload with a contender attached, less the workload alone, round by round.
//!
//! Every contender of a round is attached in turn between two blocks without anything. A block beside which
//! somebody else's tracing program was loaded is done again. The kernel's own clock around each run is read
//! in one block more: it slows the programs, so it is a witness and no measure.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use probes_user::instrument::sys;
use probes_user::stream::ring::Ring;

use crate::bpf;
use crate::inside::{Bench, Inside, On};
use crate::load::Load;
use crate::statistics::Spread;
use crate::tool::{Running, Tool};

/// Short blocks on either side. Whatever else the machine does makes a block dearer, never cheaper: the cheapest
/// of them is taken.
const BLOCKS: usize = 8;
/// Room for the records of a block.
const RING: u32 = 32 << 20;
const NO_RING: u32 = 4096;
/// How long to wait for somebody else's programs to go.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// Programs of the benchmark's own object; how many keys those by key use.
    Inside(Vec<On>, u32),
    Tool(Tool),
    /// There is nothing to measure yet, and why.
    None(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contender {
    pub name: &'static str,
    pub how: How,
    /// Operations before the first block: until every key is there.
    pub warm: u64,
}

/// What came of one contender; one element per round, in order.
#[derive(Debug, Default)]
pub struct Measured {
    pub name: &'static str,
    /// ns of the workload's CPU time for an operation.
    pub added: Vec<Option<f64>>,
    /// ns of the tool's own CPU time for an operation.
    pub reader: Vec<f64>,
    /// Runs of its programs for an operation, and ns in them: the kernel's word.
    pub inside: Option<(f64, f64)>,
    pub why_not: Option<String>,
}

#[derive(Debug)]
pub struct Row {
    /// ns of CPU time for an operation alone.
    pub base: Option<Spread>,
    pub contenders: Vec<Measured>,
    /// Blocks beside which a foreign program stayed; what they belong to is left out.
    pub disturbed: u32,
}

enum Attached {
    /// With its ring, if it sends.
    Inside(Inside, Option<Ring>),
    Tool(Running),
}

pub struct Meter<'a> {
    pub bench: &'a Bench,
    pub load: Load,
    pub block: u64,
    /// Where a foreign program matters; None = anywhere.
    hooks: Option<Vec<u32>>,
    base: Vec<f64>,
    disturbed: u32,
}

impl<'a> Meter<'a> {
    pub fn new(bench: &'a Bench, load: Load, quick: bool) -> Meter<'a> {
        let block = load.kind.block() / if quick { 12 } else { 4 };
        let hooks = load.kind.passes().map(|names| bench.hooks(names));
        Meter {
            bench,
            load,
            block,
            hooks,
            base: Vec::new(),
            disturbed: 0,
        }
    }

    /// # Errors
    /// The workload or the benchmark's own programs failed. A tool that does not start is no error.
    pub fn row(mut self, contenders: &[Contender], rounds: u32) -> Result<Row> {
        let mut measured: Vec<Measured> = contenders
            .iter()
            .map(|contender| Measured {
                name: contender.name,
                ..Measured::default()
            })
            .collect();
        self.load.each(self.block)?;
        for round in 0..rounds {
            for (contender, result) in contenders.iter().zip(&mut measured) {
                if result.why_not.is_none() {
                    self.sample(contender, result, round == 0)?;
                }
            }
        }
        Ok(Row {
            base: Spread::of(&self.base),
            contenders: measured,
            disturbed: self.disturbed,
        })
    }

    fn sample(&mut self, contender: &Contender, to: &mut Measured, first: bool) -> Result<()> {
        let before = self.alone()?;
        let mut attached = match self.attach(contender)? {
            Ok(attached) => attached,
            Err(why) => {
                to.why_not = Some(why);
                return Ok(());
            }
        };
        let own = attached.ids()?;
        if contender.warm > 0 {
            self.load.each(contender.warm)?;
        }
        let reader = attached.settled_cpu();
        let mut with = Vec::new();
        for _ in 0..BLOCKS {
            with.extend(self.block(&own)?);
            attached.empty();
        }
        let operations = (BLOCKS as u64 * self.block) as f64;
        if let (Some(before), Some(after)) = (reader, attached.settled_cpu()) {
            let spent = after.saturating_sub(before).as_nanos() as f64;
            to.reader.push(spent / operations);
        }
        if first {
            to.inside = self.witness(&own)?;
        }
        attached.detach()?;
        gone(&own);
        let alone = before.zip(self.alone()?);
        let with = Spread::of(&with).filter(|with| with.samples == BLOCKS);
        let added = with
            .zip(alone)
            .map(|(with, (a, b))| with.median - (a + b) / 2.0);
        to.added.push(added);
        Ok(())
    }

    fn attach(&self, contender: &Contender) -> Result<Result<Attached, String>> {
        Ok(match &contender.how {
            How::None(why) => Err((*why).to_owned()),
            How::Tool(tool) => self.tool(tool)?.map(Attached::Tool),
            How::Inside(programs, keys) => {
                let sends = programs
                    .iter()
                    .any(|On(program, _)| *program == "bench_event");
                let bytes = if sends { RING } else { NO_RING };
                let inside = self.bench.attach(programs, bytes)?;
                inside.set_keys(*keys)?;
                let ring = match sends {
                    true => Some(Ring::new(inside.events()?, bytes)?),
                    false => None,
                };
                Ok(Attached::Inside(inside, ring))
            }
        })
    }

    /// `{pid}` in its arguments is the workload.
    fn tool(&self, tool: &Tool) -> Result<Result<Running, String>> {
        let mut tool = tool.clone();
        for arg in &mut tool.args {
            *arg = arg.replace("{pid}", &self.load.pid().to_string());
        }
        tool.start()
    }

    fn alone(&mut self) -> Result<Option<f64>> {
        let mut blocks = Vec::new();
        for _ in 0..BLOCKS / 2 {
            blocks.extend(self.block(&BTreeSet::new())?);
        }
        let took = cheapest(&blocks).filter(|_| blocks.len() == BLOCKS / 2);
        self.base.extend(took);
        Ok(took)
    }

    /// One block beside these programs and no others; None = there always were others.
    fn block(&mut self, own: &BTreeSet<u32>) -> Result<Option<f64>> {
        let begun = Instant::now();
        let hooks = self.hooks.clone();
        let quiet = || bpf::tracing(hooks.as_deref()).is_subset(own);
        while begun.elapsed() < PATIENCE {
            if !quiet() {
                std::thread::sleep(LOOK);
                continue;
            }
            let took = self.load.each(self.block)?;
            if quiet() {
                return Ok(Some(took));
            }
        }
        self.disturbed += 1;
        Ok(None)
    }

    fn witness(&mut self, own: &BTreeSet<u32>) -> Result<Option<(f64, f64)>> {
        let Ok(_counting) = sys::enable_stats() else {
            return Ok(None);
        };
        let before = bpf::counted(own);
        self.load.each(self.block)?;
        let after = bpf::counted(own);
        let each = |of: u64| of as f64 / self.block as f64;
        Ok(Some((each(after.0 - before.0), each(after.1 - before.1))))
    }
}

fn cheapest(blocks: &[f64]) -> Option<f64> {
    blocks.iter().copied().min_by(f64::total_cmp)
}

/// Waits until the kernel has let go of them.
fn gone(own: &BTreeSet<u32>) {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE && !bpf::tracing(None).is_disjoint(own) {
        std::thread::sleep(LOOK);
    }
}

impl Attached {
    fn ids(&self) -> Result<BTreeSet<u32>> {
        match self {
            Attached::Inside(inside, _) => inside.ids(),
            Attached::Tool(tool) => Ok(bpf::of_process(tool.pid())),
        }
    }

    /// What the tool's process used until it has nothing left to do; None = there is no such process.
    fn settled_cpu(&self) -> Option<Duration> {
        let Attached::Tool(tool) = self else {
            return None;
        };
        let begun = Instant::now();
        let mut last = tool.cpu();
        loop {
            std::thread::sleep(LOOK * 10);
            let now = tool.cpu();
            if now.saturating_sub(last) < LOOK / 5 || begun.elapsed() > PATIENCE / 10 {
                return Some(now);
            }
            last = now;
        }
    }

    /// Makes room in the ring.
    fn empty(&mut self) {
        if let Attached::Inside(_, Some(ring)) = self {
            ring.drain(|_| {});
        }
    }

    fn detach(self) -> Result<()> {
        match self {
            Attached::Inside(..) => Ok(()),
            Attached::Tool(tool) => tool.stop().map(drop),
        }
    }
}
