//! Labs that are scripts: each case runs once, on a thread of its own, in a network namespace of its own.
//!
//! A script makes sockets, loses packets by the surgeon's rules and says by marks what it did and what it saw
//! itself (error numbers, times, counters): the fold's independent witness. It never waits for time where a
//! fact can be awaited, and every socket call of it has a timeout, so that it ends when told to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use probes_common::Task;
use serde_json::{Value, json};

use super::netns::{Nstat, set_sysctl, sysctl};
use super::sandbox::{Sandbox, enter};
use super::shared::now;
use super::{KernelView, Lab, Progress, Scene};
use crate::stream::Mark;

/// Begins a case; its data is a [`CaseMark`].
pub const CASE: &str = "case";
/// Ends a case; its data is what the namespace counted meanwhile, by nstat name.
pub const CASE_END: &str = "case-end";

/// How long a script that was told to stop may take.
const STOP: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_micros(500);

type Script = Arc<dyn Fn(&mut Stage) -> Result<()> + Send + Sync>;

#[derive(Clone)]
pub struct Case {
    pub label: String,
    /// Set in the case's namespace before the script runs. A name that ends with `?` may be missing.
    pub sysctls: Vec<(String, String)>,
    /// For each wait; of the whole script only the sum of its waits.
    pub budget: Duration,
    /// Local ports to follow, for the instrument `sock`.
    pub ports: Vec<u16>,
    /// Is the script's thread, with the threads that it starts, to be watched?
    pub watched: bool,
    pub script: Script,
}

impl Case {
    pub fn new(
        label: impl Into<String>,
        budget: Duration,
        script: impl Fn(&mut Stage) -> Result<()> + Send + Sync + 'static,
    ) -> Case {
        Case {
            label: label.into(),
            sysctls: Vec::new(),
            budget,
            ports: Vec::new(),
            watched: false,
            script: Arc::new(script),
        }
    }

    #[must_use]
    pub fn port(mut self, port: u16) -> Case {
        self.ports.push(port);
        self
    }

    /// The script's own system calls and sleeps are evidence.
    #[must_use]
    pub fn watched(mut self) -> Case {
        self.watched = true;
        self
    }

    #[must_use]
    pub fn sysctl(mut self, name: &str, value: impl ToString) -> Case {
        self.sysctls.push((name.to_owned(), value.to_string()));
        self
    }
}

/// What the fold learns of a case at its begin.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CaseMark {
    pub label: String,
    /// Inode number of its network namespace.
    pub netns: u32,
    pub sysctls: BTreeMap<String, String>,
}

/// Runs cases one after the other.
pub struct ScriptLab {
    cases: Vec<Case>,
    next: usize,
    phases: Arc<AtomicU32>,
}

impl ScriptLab {
    pub fn new(cases: Vec<Case>) -> ScriptLab {
        ScriptLab {
            cases,
            next: 0,
            phases: Arc::new(AtomicU32::new(1)),
        }
    }

    /// Where the phases up to `last` belong to another lab of the run.
    #[must_use]
    pub fn after_phase(self, last: u32) -> ScriptLab {
        self.phases.store(last + 1, Ordering::Relaxed);
        self
    }
}

impl Lab for ScriptLab {
    fn scenes(&self) -> usize {
        self.cases.len()
    }

    fn next(&mut self, view: &Arc<dyn KernelView>) -> Result<Option<Box<dyn Scene>>> {
        let Some(case) = self.cases.get(self.next) else {
            return Ok(None);
        };
        self.next += 1;
        let sandbox = Sandbox::new()?;
        let scene = ScriptScene::new(case.clone(), sandbox, view.clone(), self.phases.clone())?;
        Ok(Some(Box::new(scene)))
    }

    fn again(&mut self) {
        self.next -= 1;
    }
}

/// What a script may do beside its own socket calls.
pub struct Stage {
    view: Arc<dyn KernelView>,
    phases: Arc<AtomicU32>,
    shared: Arc<Common>,
    budget: Duration,
}

#[derive(Default)]
struct Common {
    stop: AtomicBool,
    done: AtomicU64,
    of: AtomicU64,
    marks: Mutex<Vec<Mark>>,
}

impl Stage {
    /// Marks an action that is about to be done, under a phase number of its own, which every event from now
    /// on bears.
    pub fn act(&self, name: &str, data: Value) -> u32 {
        let phase = self.phases.fetch_add(1, Ordering::SeqCst);
        self.view.set_phase(phase);
        let mut data = data;
        if let Value::Object(map) = &mut data {
            map.insert("phase".to_owned(), json!(phase));
        }
        self.note(name, data);
        phase
    }

    /// Marks what was seen or done just now.
    pub fn note(&self, name: &str, data: Value) {
        let mark = Mark {
            ktime: now(),
            name: name.to_owned(),
            data,
        };
        self.shared
            .marks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(mark);
    }

    /// Tells the person at the terminal how far it is.
    pub fn progress(&self, done: u64, of: u64) {
        self.shared.of.store(of, Ordering::Relaxed);
        self.shared.done.store(done, Ordering::Relaxed);
    }

    /// Waits until `fact` gives a value.
    ///
    /// # Errors
    /// The budget is spent, the run is interrupted, or `fact` fails.
    pub fn wait<T>(&self, what: &str, fact: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        self.wait_within(self.budget, what, fact)
    }

    /// The same with a budget of its own.
    ///
    /// # Errors
    /// As [`Stage::wait`].
    pub fn wait_within<T>(
        &self,
        budget: Duration,
        what: &str,
        mut fact: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let end = Instant::now() + budget;
        loop {
            if let Some(value) = fact().with_context(|| format!("while waiting until {what}"))? {
                return Ok(value);
            }
            self.check()?;
            if Instant::now() >= end {
                bail!("waited {budget:?} in vain until {what}");
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// For what only time tells: that something does not happen, or a timer of the kernel's.
    ///
    /// # Errors
    /// The run is interrupted.
    pub fn linger(&self, duration: Duration) -> Result<()> {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            self.check()?;
            std::thread::sleep(Duration::from_millis(2).min(duration));
        }
        Ok(())
    }

    /// # Errors
    /// The run is interrupted.
    pub fn check(&self) -> Result<()> {
        if self.shared.stop.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }

    pub fn budget(&self) -> Duration {
        self.budget
    }

    /// The surgeon.
    pub fn view(&self) -> &dyn KernelView {
        self.view.as_ref()
    }
}

struct ScriptScene {
    label: String,
    netns: u32,
    ports: Vec<u16>,
    watched: Option<u32>,
    gate: Option<Sender<()>>,
    ended: Receiver<Result<()>>,
    shared: Arc<Common>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptScene {
    /// The script's thread stands inside its namespace, sysctls set, when this returns.
    fn new(
        case: Case,
        sandbox: Sandbox,
        view: Arc<dyn KernelView>,
        phases: Arc<AtomicU32>,
    ) -> Result<ScriptScene> {
        let shared = Arc::new(Common::default());
        let mut stage = Stage {
            view,
            phases,
            shared: shared.clone(),
            budget: case.budget,
        };
        let (label, netns, ports) = (case.label.clone(), sandbox.inum(), case.ports.clone());
        let watched = case.watched;
        let (gate, opened) = channel();
        let (ready, is_ready) = channel();
        let (end, ended) = channel();
        let thread = std::thread::Builder::new()
            .name("script".to_owned())
            .spawn(move || {
                let prepared = prepare(&case, &sandbox);
                let fit = prepared.is_ok();
                let tid = rustix::thread::gettid().as_raw_nonzero().get();
                let _told = ready.send(prepared.map(|()| tid.cast_unsigned()));
                // A closed gate is a scene that is dropped before its start.
                if !fit || opened.recv().is_err() {
                    return;
                }
                let _told = end.send(perform(&case, netns, &mut stage));
            })
            .context("could not start a thread")?;
        let tid: u32 = is_ready
            .recv()
            .map_err(|_| anyhow!("the script's thread panicked"))??;
        Ok(ScriptScene {
            label,
            netns,
            ports,
            watched: watched.then_some(tid),
            gate: Some(gate),
            ended,
            shared,
            thread: Some(thread),
        })
    }
}

fn prepare(case: &Case, sandbox: &Sandbox) -> Result<()> {
    enter(sandbox.netns()).context("could not enter the sandbox")?;
    for (name, value) in &case.sysctls {
        match name.strip_suffix('?') {
            Some(name) if sysctl(name).is_err() => {}
            Some(name) => set_sysctl(name, value)?,
            None => set_sysctl(name, value)?,
        }
    }
    Ok(())
}

fn perform(case: &Case, netns: u32, stage: &mut Stage) -> Result<()> {
    let names = case
        .sysctls
        .iter()
        .map(|(name, _)| name.trim_end_matches('?'));
    let sysctls = names
        .filter_map(|name| Some((name.to_owned(), sysctl(name).ok()?)))
        .collect();
    let mark = CaseMark {
        label: case.label.clone(),
        netns,
        sysctls,
    };
    let before = Nstat::read()?;
    stage.act(CASE, serde_json::to_value(mark)?);
    let outcome = (case.script)(stage);
    // A script that failed has its counters too.
    stage.note(CASE_END, json!(Nstat::read()?.since(&before)));
    outcome
}

impl Scene for ScriptScene {
    fn label(&self) -> String {
        self.label.clone()
    }

    fn netns(&self) -> u32 {
        self.netns
    }

    fn ports(&self) -> Vec<u16> {
        self.ports.clone()
    }

    fn tasks(&self) -> Vec<(u32, u8)> {
        let task = self.watched.map(|tid| (tid, Task::WATCHED | Task::FOLLOW));
        task.into_iter().collect()
    }

    fn start(&mut self) -> Result<()> {
        let gate = self.gate.take().ok_or_else(|| anyhow!("started twice"))?;
        gate.send(())
            .map_err(|_| anyhow!("the script's thread is gone"))
    }

    fn poll(&mut self) -> Result<Progress> {
        match self.ended.try_recv() {
            Ok(Ok(())) => Ok(Progress::Done),
            Ok(Err(error)) => Err(error),
            Err(TryRecvError::Empty) => Ok(Progress::Running {
                done: self.shared.done.load(Ordering::Relaxed),
                of: self.shared.of.load(Ordering::Relaxed),
            }),
            Err(TryRecvError::Disconnected) => Err(anyhow!("the script panicked")),
        }
    }

    fn marks(&mut self) -> Vec<Mark> {
        std::mem::take(
            &mut *self
                .shared
                .marks
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

impl Drop for ScriptScene {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.gate = None;
        let ended = match self.ended.recv_timeout(STOP) {
            Ok(_) | Err(RecvTimeoutError::Disconnected) => true,
            Err(RecvTimeoutError::Timeout) => false,
        };
        // One that hangs in a system call ends with the process.
        if ended && let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}
