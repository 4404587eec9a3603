//! From nothing to attached: BTF, maps, programs, links; each part timed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use probes_common::config::TIMER_FUNCTIONS;

use super::RunOptions;
use super::pump::Pump;
use crate::instrument::attach::GUARD;
use crate::instrument::blocks::BlockMaps;
use crate::instrument::counts::Counts;
use crate::instrument::memory::{Mapping, Shared};
use crate::instrument::pages::PageMaps;
use crate::instrument::runqueue::RunqueueMaps;
use crate::instrument::surgeon::Surgeon;
use crate::instrument::{Attachment, Rung, Setup, Without, attach, hook};
use crate::kernel::btf::{Btf, Facts, Query};
use crate::kernel::{self, Kernel, symbols};
use crate::trace::{Mode, Symbol, Trace, Watching};

/// Attached and ready; nothing is sent before `shared.set_enabled(true)`.
#[derive(Debug)]
pub struct Started {
    pub attachment: Attachment,
    pub shared: Arc<Shared>,
    pub pump: Pump,
    pub symbols: Vec<Symbol>,
    /// Names of the values in [`ENUMS`], as this kernel has them.
    pub enums: BTreeMap<String, BTreeMap<u32, String>>,
    /// Parts of the start in order, ns.
    pub parts: Vec<(String, u64)>,
    /// Needed hooks that did not attach: (hook, why).
    pub missing: Vec<(String, String)>,
}

/// What following tasks takes, whatever the trace asks for: their children, their new names, their ends.
/// Without a name after exec nothing is lost but the name.
const FOLLOWING: [&str; 3] = [
    "sched_process_fork",
    "sched_process_exec",
    "sched_process_exit",
];

/// The trace's own hooks first.
fn hooks(own: &[&'static str], follows: bool) -> Vec<&'static str> {
    let more = FOLLOWING
        .iter()
        .filter(|hook| follows && !own.contains(hook));
    own.iter().chain(more).copied().collect()
}

/// What a trace cannot do without: its own word, and what following tasks takes.
pub fn needs(trace: &dyn Trace) -> Vec<&'static str> {
    needed(trace, trace.watching() == Watching::Tasks)
}

fn needed(trace: &dyn Trace, follows: bool) -> Vec<&'static str> {
    let mut needs = trace.needs().to_vec();
    if follows {
        needs.extend(["sched_process_fork", "sched_process_exit"]);
    }
    needs
}

/// `follows`: tasks and what they fork are followed, whatever the trace's own hooks are.
///
/// # Errors
/// No BTF, no privilege for maps, unreadable symbols. A hook that does not attach is no error.
pub fn start(
    kernel: &Kernel,
    trace: &dyn Trace,
    mode: Mode,
    follows: bool,
    options: &RunOptions,
) -> Result<Started> {
    let mut clock = Parts::default();
    let (mut hooks, mut needs) = (hooks(trace.hooks(), follows), needed(trace, follows));
    let unused = match mode {
        Mode::Watch => trace.lab_only(),
        Mode::Lab => trace.watch_only(),
    };
    let wanted = |hook: &&str| {
        options.surgeon && *hook == "surgeon" || options.wakers && *hook == "runq_waking"
    };
    hooks.retain(|hook| wanted(hook) || !unused.contains(hook));
    needs.retain(|hook| !unused.contains(hook));
    let facts = clock.part("btf", || facts(&hooks))?;
    // The kernel takes 35 ms to print its symbols: only where stacks are read, beside the loading, on a
    // thread that ends here.
    let mut symbols = Symbols::read(trace.symbols(), &hooks)?;
    // Before 5.11 maps are charged to the memlock limit.
    kernel::raise_memlock().context("could not raise the memlock limit")?;
    let setup = Setup {
        facts: &facts,
        pid_bytes: pid_bytes(kernel),
        ring_bytes: options.ring_bytes,
        syscalls: trace.syscalls(),
        counts_calls: trace.counts_calls(),
        timers: clock.part("symbols of timers", || symbols.timers(trace.timers()))?,
        submit_sqes: clock.part("symbols of io_uring", || symbols.submit_sqes())?,
        needs: &needs,
        without: &options.without,
    };
    let (attachment, parts) = attach(&hooks, &setup)?;
    clock.add(parts);
    let (shared, pump) = clock.part("map memory", || memory(&attachment, &setup))?;
    let symbols = clock.part("rest of symbols", || symbols.all())?;
    let missing = attachment
        .reports
        .iter()
        .filter(|report| report.needed && report.attached_as.is_none())
        .map(|report| {
            (
                report.hook.clone(),
                report.why_not.clone().unwrap_or_default(),
            )
        })
        .collect();
    Ok(Started {
        attachment,
        shared: Arc::new(shared),
        pump,
        symbols,
        enums: facts.enums,
        parts: clock.parts,
        missing,
    })
}

impl Started {
    pub fn attached_programs(&self) -> Vec<String> {
        self.attachment
            .attached
            .iter()
            .map(|attached| attached.program.to_owned())
            .collect()
    }
}

/// Enums whose values stand in events, by the hook that sends them.
const ENUMS: [(&str, &str); 2] = [
    ("kfree_skb", "skb_drop_reason"),
    ("tcp_send_reset", "sk_rst_reason"),
];

/// The kernel's symbols, read on a thread beside the loading; only the timers' must be known before it. Where
/// nothing but the timers is wanted the kernel is asked for them alone, if it can be.
struct Symbols {
    reader: Option<JoinHandle<Result<Vec<Symbol>, symbols::Error>>>,
    read: Vec<Symbol>,
    wanted: Vec<&'static str>,
    timers: bool,
    rings: bool,
}

/// Below it a request of io_uring is completed by its submitter.
const SUBMIT_SQES: &str = "io_submit_sqes";

impl Symbols {
    fn read(own: &'static [&'static str], hooks: &[&str]) -> Result<Symbols> {
        let timers = ["timer_start", "timer_expire_entry", "request_queued"]
            .iter()
            .any(|hook| hooks.contains(hook));
        let mut wanted = own.to_vec();
        if timers {
            wanted.extend(TIMER_FUNCTIONS);
        }
        let rings = hooks.contains(&"io_uring_complete");
        if rings {
            wanted.push(SUBMIT_SQES);
        }
        let mut symbols = Symbols {
            reader: None,
            read: Vec::new(),
            wanted,
            timers,
            rings,
        };
        if rings || !own.is_empty() {
            symbols.begin()?;
        }
        Ok(symbols)
    }

    fn begin(&mut self) -> Result<()> {
        let wanted = self.wanted.clone();
        let reader = std::thread::Builder::new()
            .name("symbols".to_owned())
            .spawn(move || symbols::running(&wanted))
            .context("could not start a thread")?;
        self.reader = Some(reader);
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        if let Some(reader) = self.reader.take() {
            self.read = match reader.join() {
                Ok(symbols) => symbols?,
                Err(_) => bail!("the reader of /proc/kallsyms panicked"),
            };
        }
        Ok(())
    }

    /// Where the functions of TCP's timers are, if a hook asks for them; 0 = not known.
    fn timers(&mut self, followed: &[&str]) -> Result<[u64; 5]> {
        if !self.timers {
            return Ok([0; 5]);
        }
        if self.reader.is_none() {
            if let Some(found) = symbols::entries(followed) {
                let found: Vec<_> = followed.iter().zip(found).collect();
                let entry = |name: &str| found.iter().find(|(its, _)| **its == name);
                return Ok(TIMER_FUNCTIONS.map(|name| entry(name).map_or(0, |(_, at)| *at)));
            }
            self.begin()?;
        }
        self.wait()?;
        let entry = |name: &str| {
            let followed = followed.contains(&name);
            followed.then(|| symbols::entry(&self.read, name)).flatten()
        };
        Ok(TIMER_FUNCTIONS.map(|name| entry(name).unwrap_or(0)))
    }

    fn submit_sqes(&mut self) -> Result<[u64; 2]> {
        if !self.rings {
            return Ok([0; 2]);
        }
        self.wait()?;
        let pieces = self.read.iter().filter(|symbol| symbol.name == SUBMIT_SQES);
        let largest = pieces.max_by_key(|symbol| symbol.end - symbol.start);
        Ok(largest.map_or([0; 2], |symbol| [symbol.start, symbol.end]))
    }

    fn all(mut self) -> Result<Vec<Symbol>> {
        self.wait()?;
        Ok(self.read)
    }
}

/// Bytes of a byte-per-pid map: a power of two above every pid, at least a page.
fn pid_bytes(kernel: &Kernel) -> u32 {
    kernel.pid_max.next_power_of_two().max(4096)
}

/// Attaches these programs and nothing else: what `probes doctor` shows.
///
/// # Errors
/// As [`start`].
pub fn attach_only(kernel: &Kernel, programs: &[&str], needs: &[&str]) -> Result<Attachment> {
    kernel::raise_memlock().context("could not raise the memlock limit")?;
    let facts = facts(programs)?;
    let setup = Setup {
        facts: &facts,
        pid_bytes: pid_bytes(kernel),
        ring_bytes: 4096,
        syscalls: &[],
        counts_calls: false,
        timers: [0; 5],
        submit_sqes: [0; 2],
        needs,
        without: &Without::default(),
    };
    Ok(attach(programs, &setup)?.0)
}

/// Asks BTF for what these programs need.
///
/// # Errors
/// No BTF, or a damaged one.
pub fn facts(programs: &[&str]) -> Result<Facts> {
    let hooks = programs
        .iter()
        .filter_map(|program| hook::hook(program))
        .map(|(_, hook)| hook)
        .filter(|hook| !hook.ladder.contains(&Rung::Tc));
    let mut by_kind: BTreeMap<bool, Vec<&str>> = BTreeMap::new();
    for hook in hooks {
        by_kind
            .entry(hook.ladder.contains(&Rung::TpBtf))
            .or_default()
            .push(hook.symbol);
    }
    let enums = ENUMS
        .iter()
        .filter(|(program, _)| programs.contains(program))
        .map(|(_, name)| name);
    let query = Query::new()
        .offsets()
        .tracepoints(by_kind.get(&true).into_iter().flatten())
        .functions(by_kind.get(&false).into_iter().flatten())
        .functions([GUARD])
        .enumerators(["I_DIRTY_PAGES", "PG_head", "ITER_UBUF", "ITER_IOVEC"])
        .enums(enums);
    Ok(Btf::running()?.answer(&query)?)
}

fn memory(attachment: &Attachment, setup: &Setup<'_>) -> Result<(Shared, Pump)> {
    let shared = shared(attachment, setup.pid_bytes)?;
    let programs: Vec<&str> = attachment.attached.iter().map(|a| a.program).collect();
    let events = attachment.maps.get("EVENTS")?;
    let pump = Pump::new(events, setup.ring_bytes, &programs)?;
    Ok((shared, pump))
}

/// Maps what user space and the programs talk by.
pub(crate) fn shared(attachment: &Attachment, pid_bytes: u32) -> Result<Shared> {
    let map = |name: &str, len: usize| -> Result<Mapping> {
        let fd = attachment.maps.get(name)?;
        Mapping::new(fd, 0, len, true).with_context(|| format!("could not map the BPF map {name}"))
    };
    let pids = pid_bytes as usize;
    Ok(Shared {
        control: map("CONTROL", 4096)?,
        watch: map("WATCH", pids)?,
        asleep: map("ASLEEP", pids)?,
        pending: map("PENDING", pids)?,
        ports: map("PORTS", probes_common::control::PORT_BYTES)?,
        surgeon: Surgeon::of(attachment)?,
        blocks: BlockMaps::of(attachment)?,
        pages: PageMaps::of(attachment)?,
        runqueue: RunqueueMaps::of(attachment)?,
        counts: Counts::of(attachment)?,
    })
}

#[derive(Default)]
struct Parts {
    parts: Vec<(String, u64)>,
}

impl Parts {
    fn part<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let started = Instant::now();
        let value = work()?;
        self.parts
            .push((name.to_owned(), started.elapsed().as_nanos() as u64));
        Ok(value)
    }

    fn add(&mut self, parts: Vec<(String, u64)>) {
        self.parts.extend(parts);
    }
}

#[cfg(test)]
mod tests {
    use super::{FOLLOWING, hooks};

    #[test]
    fn tasks_are_followed_whatever_a_trace_asks_for_and_each_hook_once() {
        let bare = hooks(&["sys_exit"], true);
        assert_eq!(bare[0], "sys_exit");
        assert!(FOLLOWING.iter().all(|hook| bare.contains(hook)));
        let own = ["sched_process_fork", "sched_waking"];
        let all = hooks(&own, true);
        assert_eq!(all[..2], own);
        assert_eq!(all.len(), own.len() + FOLLOWING.len() - 1);
        assert_eq!(hooks(&own, false), own);
    }
}
