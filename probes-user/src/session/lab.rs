//! Runs a trace's lab: scene by scene, children parked, watched, released, cut, folded.
//!
//! A scene's window is cut before its workers end, because dying workers wake each other.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use probes_common::Task;
use probes_common::control::SockFilter;

use super::interrupt::Interrupt;
use super::start::{Started, start};
use super::{RunOptions, stats};
use crate::instrument::counters::Counters;
use crate::kernel::{Kernel, monotonic_ns};
use crate::lab::{KernelView, Lab, Progress, Scene};
use crate::render::Report;
use crate::render::report::KernelReport;
use crate::stream::continuity::Gap;
use crate::stream::record::{Head, Recorder};
use crate::stream::{Item, Mark};
use crate::trace::pages::watch::COUNTED;
use crate::trace::{Context, Ending, Fold, LabOptions, Mode, Trace, Watching};

/// How often the ring is drained while a lab runs.
const TICK: Duration = Duration::from_millis(2);
/// How often a scene with gaps in its evidence is run before its verdict rests on what there is.
const TRIES: u32 = 3;

/// # Errors
/// The run cannot start. What goes wrong later is in the report.
pub fn run(
    kernel: &Kernel,
    trace: &dyn Trace,
    lab: &LabOptions,
    options: &RunOptions,
    interrupt: &Interrupt,
) -> Result<Report> {
    let mut sandbox = trace.lab(lab)?;
    let started = start(
        kernel,
        trace,
        Mode::Lab,
        trace.watching() == Watching::Tasks,
        options,
    )?;
    let context = Context {
        trace: trace.name().to_owned(),
        mode: Mode::Lab,
        options: trace.lab_options(lab)?,
        symbols: started.symbols.clone(),
        attached: started.attached_programs(),
        enums: started.enums.clone(),
        timeline: options.timeline,
    };
    let mut run = Run::new(kernel, trace, started, context, options)?;
    if run.started.missing.is_empty() {
        run.scenes(sandbox.as_mut(), interrupt);
    }
    run.finish()
}

/// What a run keeps while it goes on; shared by lab and watch.
pub(super) struct Run<'a> {
    kernel: &'a Kernel,
    pub started: Started,
    pub options: &'a RunOptions,
    pub ending: Ending,
    pub sink: Sink,
    context: Context,
    meter: stats::Meter,
    begun: Instant,
}

/// Where ordered items go.
pub(super) struct Sink {
    pub fold: Box<dyn Fold>,
    recorder: Option<Recorder<std::io::BufWriter<std::fs::File>>>,
    /// Why the recording stopped.
    pub record_error: Option<String>,
}

impl Sink {
    pub fn take(&mut self, item: &Item) {
        self.fold.item(item);
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.item(item)
        {
            self.record_error = Some(format!("{error:#}"));
            self.recorder = None;
        }
    }
}

impl<'a> Run<'a> {
    pub fn new(
        kernel: &'a Kernel,
        trace: &dyn Trace,
        started: Started,
        context: Context,
        options: &'a RunOptions,
    ) -> Result<Run<'a>> {
        let recorder = match &options.record {
            Some(path) => {
                let file = std::fs::File::create(path).with_context(|| {
                    format!("could not create the recording {}", path.display())
                })?;
                let head = Head {
                    kernel: KernelReport::of(kernel),
                    context: context.clone(),
                    hooks: started.attachment.reports.clone(),
                };
                Some(
                    Recorder::new(std::io::BufWriter::new(file), &head)
                        .context("could not write the recording")?,
                )
            }
            None => None,
        };
        Ok(Run {
            kernel,
            sink: Sink {
                fold: trace.fold(&context),
                recorder,
                record_error: None,
            },
            ending: Ending {
                missing: started.missing.clone(),
                ..Ending::default()
            },
            meter: stats::Meter::start(options.stats),
            started,
            options,
            context,
            begun: Instant::now(),
        })
    }

    /// A scene whose evidence has gaps is run again, whatever it showed: what decides is that something
    /// is missing, never what was found.
    fn scenes(&mut self, lab: &mut dyn Lab, interrupt: &Interrupt) {
        let of = lab.scenes();
        let view: Arc<dyn KernelView> = self.started.shared.clone();
        let (mut number, mut tries) = (1, 1);
        while !self.ending.interrupted {
            let (label, outcome) = match lab.next(&view) {
                Ok(None) => break,
                Ok(Some(mut scene)) => {
                    let label = scene.label();
                    let told = format!("{number}/{of} {label}");
                    (label, self.scene(scene.as_mut(), interrupt, &told))
                }
                Err(error) => ("could not build a scene".to_owned(), Err(error)),
            };
            match outcome {
                Ok(gaps) if gaps > 0 && tries < TRIES => {
                    lab.again();
                    tries += 1;
                }
                Ok(_) => (number, tries) = (number + 1, 1),
                Err(error) => {
                    self.ending.lab_error = Some(format!("{label}: {error:#}"));
                    break;
                }
            }
            self.ending.interrupted |= interrupt.requested();
        }
        self.progress("");
    }

    /// Runs one scene; returns the gaps in what its workers did.
    fn scene(
        &mut self,
        scene: &mut dyn Scene,
        interrupt: &Interrupt,
        label: &str,
    ) -> Result<usize> {
        let shared = &self.started.shared;
        shared.set_netns(scene.netns());
        // A scene's sockets are those of its namespace.
        shared.set_sockets(&SockFilter {
            on: u32::from(scene.netns() != 0),
            ..SockFilter::default()
        });
        shared.forget_ports();
        for port in scene.ports() {
            shared.follow_port(port);
        }
        let tasks = scene.tasks();
        for (pid, bits) in &tasks {
            shared.set_asleep(*pid, false);
            shared.watch(*pid, *bits);
        }
        shared.set_enabled(true);
        let outcome = self.drive(scene, interrupt, label);
        let shared = &self.started.shared;
        shared.cut();
        for (pid, _) in &tasks {
            shared.watch(*pid, 0);
        }
        self.started.pump.drain();
        for mark in scene.marks() {
            self.started.pump.mark(mark);
        }
        let worker = |pid: u32| {
            tasks
                .iter()
                .any(|(task, bits)| *task == pid && bits & Task::CLIENT == 0)
        };
        let mut gaps = 0;
        let sink = &mut self.sink;
        self.started.pump.flush(|item| {
            if let Item::Mark(mark) = &item {
                let gap = Gap::from_mark(mark).ok().flatten();
                gaps += usize::from(gap.is_some_and(|gap| worker(gap.pid)));
            }
            sink.take(&item);
        });
        gaps += usize::from(self.sink.fold.incomplete());
        outcome.map(|()| gaps)
    }

    fn drive(&mut self, scene: &mut dyn Scene, interrupt: &Interrupt, label: &str) -> Result<()> {
        scene.start()?;
        loop {
            self.started.pump.drain();
            match scene.poll()? {
                Progress::Done => return Ok(()),
                Progress::Running { done, of } => {
                    self.progress(&format!("{label}: {done} of {of}"))
                }
            }
            if interrupt.requested() {
                self.ending.interrupted = true;
                return Ok(());
            }
            // The scene's own events wake nobody here: the ring is drained on a timer.
            rest(TICK);
        }
    }

    /// Folds what is old enough to be in order, after `seen` has seen it.
    pub fn take_ready(&mut self, now: u64, mut seen: impl FnMut(&Item)) {
        let sink = &mut self.sink;
        self.started.pump.release(now, |item| {
            seen(&item);
            sink.take(&item);
        });
    }

    /// Hands the fold what the kernel has counted of pages so far, if that was asked for.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn take_counts(&mut self) -> Result<()> {
        if self.started.shared.counts_pages() {
            let mark = Mark {
                ktime: monotonic_ns(),
                name: COUNTED.to_owned(),
                data: serde_json::to_value(self.started.shared.pages()?)?,
            };
            self.sink.take(&Item::Mark(mark));
        }
        Ok(())
    }

    /// One line on standard error, written over the last one; nothing off a terminal.
    pub fn progress(&self, text: &str) {
        if self.options.progress {
            let mut err = std::io::stderr().lock();
            let _shown = write!(err, "\r\x1b[K{text}").and_then(|()| err.flush());
        }
    }

    /// Cuts the window, reads what is left, counts losses, judges.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn finish(mut self) -> Result<Report> {
        self.started.shared.cut();
        self.started.pump.drain();
        let sink = &mut self.sink;
        self.started.pump.flush(|item| sink.take(&item));
        if self.context.mode == Mode::Watch {
            self.take_counts()?;
        }
        let duration_ns = self.begun.elapsed().as_nanos() as u64;
        let counters = Counters::read(
            self.started.attachment.maps.get("COUNTERS")?,
            self.kernel.possible_cpus as usize,
        )
        .context("could not read the counters")?;
        self.ending.duration_ns = duration_ns;
        self.account(counters);
        let stats = self.options.stats.then(|| {
            stats::report(
                &self.started.attachment,
                &self.started.parts,
                self.started.pump.records(),
                duration_ns,
            )
        });
        drop(self.meter);
        if let Some(recorder) = self.sink.recorder.take()
            && let Err(error) = recorder.finish(&self.ending, stats.as_ref())
        {
            self.sink.record_error = Some(format!("{error:#}"));
        }
        let outcome = self.sink.fold.finish(&self.ending);
        Ok(Report {
            trace: self.context.trace,
            mode: self.context.mode,
            kernel: KernelReport::of(self.kernel),
            options: self.context.options,
            findings: outcome.findings,
            ledger: outcome.ledger,
            ending: self.ending,
            hooks: self.started.attachment.reports,
            stats,
            record_error: self.sink.record_error,
        })
    }

    fn account(&mut self, counters: Counters) {
        let read = self.started.pump.records();
        let faults = self.started.pump.faults();
        let emitted: u64 = counters.emitted.values().sum();
        let mut lost: BTreeMap<String, u64> = counters.lost;
        let mut add = |name: &str, count: u64| {
            if count > 0 {
                *lost.entry(name.to_owned()).or_default() += count;
            }
        };
        add("sent but not read", emitted.saturating_sub(read));
        add("not decodable", faults.damaged);
        add("too late to be ordered", faults.late);
        let misses = stats::misses(&self.started.attachment);
        for (name, count) in misses.lost {
            add(&name, count);
        }
        self.ending.skipped = misses.harmless;
        self.ending.gaps = faults.gaps;
        self.ending.emitted = emitted;
        self.ending.lost = lost;
        self.ending.failed = counters.failed;
    }
}

/// Sleeps for one tick of the reader's timer.
pub(super) fn rest(tick: Duration) {
    let request = rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(tick.subsec_nanos()),
    };
    // An early return (a signal) is as good as a full tick.
    let _woken = rustix::thread::nanosleep(&request);
}
