//! Runs every scene for real, without BPF: does the lab do and count what it says? Needs root.
//!
//! Whether a worker is asleep is read from /proc here, which is good enough to run the scenes in order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::*;
use crate::lab::Progress;
use crate::lab::child::Child;
use crate::lab::shared::{Shared, await_fact, pause};
use crate::trace::herd::marks::{ConnectMark, HerdMark, SceneEndMark, SceneMark};

const VARIANTS: [Variant; 13] = [
    Variant::Accept,
    Variant::PollAccept,
    Variant::SharedInstance,
    Variant::PerProcessInstance,
    Variant::EdgePerProcess,
    Variant::EdgeShared,
    Variant::Exclusive,
    Variant::OneshotPerProcess,
    Variant::OneshotShared,
    Variant::Reuseport,
    Variant::AcceptMutex,
    Variant::Poll,
    Variant::Select,
];

/// Asleep = state S in /proc/PID/stat. Allocates nothing: it is used in forked children.
pub(crate) struct ProcView {
    memory: Shared,
}

impl ProcView {
    pub(crate) fn new() -> Arc<ProcView> {
        Arc::new(ProcView {
            memory: Shared::new(4096).unwrap(),
        })
    }

    fn phase(&self) -> &AtomicU32 {
        &self.memory.cells(0, 1)[0]
    }

    fn highest_phase(&self) -> &AtomicU32 {
        &self.memory.cells(4, 1)[0]
    }
}

/// The state letter in /proc/PID/stat; None = no such process.
fn state(pid: u32) -> Option<u8> {
    let mut path = [0; 32];
    let mut end = path.len() - 6;
    path[end..end + 5].copy_from_slice(b"/stat");
    let mut rest = pid;
    while rest > 0 {
        end -= 1;
        path[end] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    path[end - 6..end].copy_from_slice(b"/proc/");
    let path = std::ffi::CStr::from_bytes_until_nul(&path[end - 6..]).ok()?;
    let file = rustix::fs::open(path, OFlags::RDONLY, Mode::empty()).ok()?;
    let mut text = [0; 256];
    let read = rustix::io::read(file, &mut text).ok()?;
    let close = text[..read].iter().rposition(|byte| *byte == b')')?;
    text.get(close + 2).copied()
}

impl KernelView for ProcView {
    fn asleep(&self, pid: u32) -> bool {
        state(pid) == Some(b'S')
    }

    fn set_phase(&self, phase: u32) {
        self.phase().store(phase, Ordering::Relaxed);
        self.highest_phase().fetch_max(phase, Ordering::Relaxed);
    }
}

fn options(scenes: Vec<(Variant, Arrival)>) -> HerdOptions {
    HerdOptions {
        scenes,
        workers: 4,
        connections: 7,
        burst: 3,
        accept_delay: Duration::from_millis(2),
    }
}

fn run_to_end(scene: &mut dyn Scene) -> Result<()> {
    let mut end = Ok(());
    let over = await_fact(Duration::from_secs(300), || match scene.poll() {
        Ok(Progress::Running { done, of }) => {
            assert!(done <= of);
            false
        }
        Ok(Progress::Done) => true,
        Err(error) => {
            end = Err(error);
            true
        }
    });
    assert!(over, "the scene neither ended nor failed");
    end
}

fn marks(scene: &mut dyn Scene) -> (SceneMark, Vec<ConnectMark>, SceneEndMark) {
    let (mut first, mut connects, mut last) = (None, Vec::new(), None);
    let marks = scene.marks();
    assert!(marks.is_sorted_by_key(|mark| mark.ktime));
    for mark in marks {
        match HerdMark::from_mark(&mark).unwrap().unwrap() {
            HerdMark::Scene(mark) => first = Some(mark),
            HerdMark::Connect(mark) => connects.push(mark),
            HerdMark::SceneEnd(mark) => last = Some(mark),
            HerdMark::Account(mark) => assert!(mark.account.voluntary > 0),
            other => panic!("{other:?}"),
        }
    }
    (first.unwrap(), connects, last.unwrap())
}

fn gone(pid: u32) -> bool {
    test_kill_process(Pid::from_raw(pid.cast_signed()).unwrap()) == Err(rustix::io::Errno::SRCH)
}

fn family(scene: &dyn Scene) -> Vec<u32> {
    scene.tasks().into_iter().map(|(pid, _)| pid).collect()
}

/// What must hold of any complete scene.
fn judge(scene: &SceneMark, connects: &[ConnectMark], end: &SceneEndMark) {
    assert!(end.complete);
    assert_eq!(end.made, 7);
    assert_eq!(connects.len(), 7);
    assert_eq!(scene.workers.len(), 4);
    assert_eq!(
        end.workers
            .iter()
            .map(|worker| worker.accepted)
            .sum::<u64>(),
        7
    );
    for worker in &end.workers {
        assert_eq!(worker.ports.len() as u64, worker.accepted);
        assert!(worker.accepted + worker.eagain == 0 || worker.returns > 0);
        assert!(worker.returns > 0 || scene.variant != Variant::AcceptMutex);
    }
    let made: BTreeSet<u16> = connects.iter().map(|connect| connect.client_port).collect();
    let taken: BTreeSet<u16> = end
        .workers
        .iter()
        .flat_map(|worker| worker.ports.clone())
        .collect();
    assert_eq!(made.len(), 7);
    assert_eq!(made, taken);
    for (connect, index) in connects.iter().zip(0..) {
        let of_its_burst = index - index % scene.burst;
        assert_eq!(
            (connect.index, connect.phase),
            (index, 1 + scene.scene * 7 + of_its_burst)
        );
    }
}

fn run_all(arrival: Arrival) {
    let scenes = VARIANTS
        .into_iter()
        .map(|variant| (variant, arrival))
        .filter(|&(v, a)| supports(v, a))
        .collect();
    let view = ProcView::new();
    let mut lab = HerdLab::new(options(scenes)).expect("these tests need root");
    let seen: Arc<dyn KernelView> = view.clone();
    while let Some(mut scene) = lab.next(&seen).unwrap() {
        assert_ne!(scene.netns(), 0);
        let label = scene.label();
        assert_eq!(scene.tasks().len(), 5);
        assert_eq!(
            scene.poll().unwrap(),
            Progress::Running { done: 0, of: 7 },
            "{label} ran before its start"
        );
        assert!(scene.marks().is_empty());
        scene.start().unwrap();
        run_to_end(scene.as_mut()).unwrap();
        let (first, connects, last) = marks(scene.as_mut());
        println!("{label}: {:?}", last.workers);
        judge(&first, &connects, &last);
        assert_eq!(
            view.highest_phase().load(Ordering::Relaxed),
            connects.last().unwrap().phase
        );
        assert_eq!(view.phase().load(Ordering::Relaxed), 0);
        // A scene ends with its workers still waiting.
        assert!(
            family(scene.as_ref())
                .iter()
                .all(|&pid| state(pid).is_some_and(|state| state != b'Z'))
        );
        let pids = family(scene.as_ref());
        drop(scene);
        assert!(
            pids.iter().all(|&pid| gone(pid)),
            "{label} left processes behind"
        );
    }
}

#[test]
fn every_variant_accepts_all_sequential_connections() {
    run_all(Arrival::Sequential);
}

#[test]
fn every_variant_accepts_all_bursts() {
    run_all(Arrival::Burst);
}

#[test]
fn every_variant_accepts_all_when_late() {
    run_all(Arrival::LateAccept);
}

#[test]
fn options_out_of_range_are_refused() {
    let refused = |change: fn(&mut HerdOptions)| {
        let mut options = options(vec![(Variant::Accept, Arrival::Sequential)]);
        change(&mut options);
        HerdLab::new(options).err().unwrap().to_string()
    };
    assert!(refused(|options| options.workers = 0).contains("0 workers"));
    assert!(refused(|options| options.connections = 40_000).contains("40000 connections"));
    assert!(refused(|options| options.burst = 0).contains("burst of 0"));
    assert!(
        refused(|options| options.scenes = vec![(Variant::Accept, Arrival::LateAccept)])
            .contains("no such scene")
    );
}

fn one_scene(
    variant: Variant,
    budget: Duration,
    view: &Arc<ProcView>,
) -> (HerdLab, Box<dyn Scene>) {
    let mut lab =
        HerdLab::new(options(vec![(variant, Arrival::Sequential)])).expect("these tests need root");
    lab.budget = budget;
    let view: Arc<dyn KernelView> = view.clone();
    let scene = lab.next(&view).unwrap().unwrap();
    (lab, scene)
}

#[test]
fn scene_that_is_never_started_leaves_nothing() {
    let view = ProcView::new();
    let (_lab, scene) = one_scene(Variant::SharedInstance, STEP_BUDGET, &view);
    let pids = family(scene.as_ref());
    drop(scene);
    assert!(pids.iter().all(|&pid| gone(pid)));
}

#[test]
fn killed_worker_is_named_and_the_scene_is_incomplete() {
    let view = ProcView::new();
    let (_lab, mut scene) = one_scene(Variant::PerProcessInstance, STEP_BUDGET, &view);
    let pids = family(scene.as_ref());
    scene.start().unwrap();
    run_to_end(scene.as_mut()).unwrap();
    kill_process(Pid::from_raw(pids[2].cast_signed()).unwrap(), Signal::KILL).unwrap();
    let mut error = None;
    await_fact(STEP_BUDGET, || {
        error = scene.poll().err();
        error.is_some()
    });
    let error = error.unwrap().to_string();
    assert!(
        error.contains("worker 2") && error.contains(&pids[2].to_string()),
        "{error}"
    );
    let (_, connects, end) = marks(scene.as_mut());
    assert!(!end.complete);
    assert_eq!(connects.len(), 7);
    drop(scene);
    assert!(pids.iter().all(|&pid| gone(pid)));
}

#[test]
fn stopped_worker_is_what_the_client_waits_for() {
    let view = ProcView::new();
    let (_lab, mut scene) = one_scene(Variant::Exclusive, Duration::from_millis(300), &view);
    let pids = family(scene.as_ref());
    kill_process(Pid::from_raw(pids[3].cast_signed()).unwrap(), Signal::STOP).unwrap();
    scene.start().unwrap();
    let error = run_to_end(scene.as_mut()).unwrap_err().to_string();
    assert!(
        error.contains("asleep") && error.contains("worker 3"),
        "{error}"
    );
    assert!(!marks(scene.as_mut()).2.complete);
    drop(scene);
    assert!(pids.iter().all(|&pid| gone(pid)));
}

#[test]
fn killed_master_takes_its_family_along() {
    let view = ProcView::new();
    let (_lab, mut scene) = one_scene(Variant::Accept, STEP_BUDGET, &view);
    let pids = family(scene.as_ref());
    scene.start().unwrap();
    run_to_end(scene.as_mut()).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", pids[0])).unwrap();
    let master = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .unwrap()
        .trim()
        .parse::<i32>()
        .unwrap();
    kill_process(Pid::from_raw(master).unwrap(), Signal::KILL).unwrap();
    assert!(await_fact(STEP_BUDGET, || pids
        .iter()
        .all(|&pid| matches!(state(pid), None | Some(b'Z')))));
    assert!(scene.poll().unwrap_err().to_string().contains("died"));
}

/// All network namespaces that a process or a descriptor holds.
fn held_namespaces() -> BTreeSet<u32> {
    let number = |path: std::path::PathBuf| {
        let link = std::fs::read_link(path).ok()?;
        link.to_str()?
            .strip_prefix("net:[")?
            .strip_suffix(']')?
            .parse::<u32>()
            .ok()
    };
    let entries =
        |path: std::path::PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut held = BTreeSet::new();
    for process in entries("/proc".into()) {
        held.extend(number(process.path().join("ns/net")));
        held.extend(entries(process.path().join("fd")).filter_map(|fd| number(fd.path())));
    }
    held
}

#[test]
fn namespace_is_gone_after_the_lab() {
    let view = ProcView::new();
    let (lab, mut scene) = one_scene(Variant::Reuseport, STEP_BUDGET, &view);
    scene.start().unwrap();
    run_to_end(scene.as_mut()).unwrap();
    let netns = scene.netns();
    assert!(held_namespaces().contains(&netns));
    drop(scene);
    drop(lab);
    // A test beside this one may just be forking and hold a copy for a moment.
    assert!(await_fact(STEP_BUDGET, || !held_namespaces().contains(&netns)));
}

#[test]
fn kill_of_the_tool_leaves_no_process_and_no_namespace() {
    let shared = Shared::new(4096).unwrap();
    let cells: &[AtomicU32] = shared.cells(0, 16);
    // SAFETY: allocates after fork, which glibc and musl allow in practice (they reset the allocator's
    // locks in the child); a tool that is one process to be killed cannot be had otherwise here.
    let tool = unsafe {
        Child::fork(|| {
            let view = ProcView::new();
            let (_lab, mut scene) = one_scene(Variant::EdgeShared, STEP_BUDGET, &view);
            scene.start().unwrap();
            for (cell, pid) in cells[2..].iter().zip(family(scene.as_ref())) {
                cell.store(pid, Ordering::Relaxed);
            }
            cells[1].store(scene.netns(), Ordering::Relaxed);
            cells[0].store(1, Ordering::Release);
            pause(Duration::from_secs(1000));
            0
        })
    }
    .unwrap();
    assert!(await_fact(STEP_BUDGET, || cells[0].load(Ordering::Acquire) == 1));
    let pids: Vec<u32> = cells[2..]
        .iter()
        .map(|cell| cell.load(Ordering::Relaxed))
        .filter(|&pid| pid != 0)
        .collect();
    assert_eq!(pids.len(), 5);
    assert!(pids.iter().all(|&pid| state(pid).is_some()));
    tool.signal(Signal::KILL);
    // Orphans are reaped by init, whenever it does that.
    assert!(await_fact(STEP_BUDGET, || pids
        .iter()
        .all(|&pid| matches!(state(pid), None | Some(b'Z')))));
    let netns = cells[1].load(Ordering::Relaxed);
    assert!(await_fact(STEP_BUDGET, || !held_namespaces().contains(&netns)));
}
