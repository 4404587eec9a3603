//! Looks for real processes, namespaces and control groups. The parts with a sandbox need root.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::lab::Lab;
use crate::lab::child::Child;
use crate::lab::command::TracedCommand;
use crate::lab::herd::tests::ProcView;
use crate::lab::herd::{HerdLab, HerdOptions};
use crate::lab::shared::{Shared, await_fact, park};
use crate::trace::herd::marks::{Arrival, Variant};

const BUDGET: Duration = Duration::from_secs(60);

fn tasks_of(target: &Target) -> Vec<TaskMark> {
    discover(target, &mut |_| {}).unwrap()
}

#[test]
fn missing_process_is_the_users_mistake() {
    let error = discover(&Target::Pids(vec![u32::MAX - 1]), &mut |_| {}).unwrap_err();
    assert_eq!(error, TargetError::NoProcess(u32::MAX - 1));
    assert!(
        error.is_usage() && error.to_string().starts_with("no process 4294967294:"),
        "{error}"
    );
    let error = discover(&Target::Cgroup("/no/such/group".into()), &mut |_| {}).unwrap_err();
    assert!(
        error.is_usage() && error.to_string().contains("/no/such/group"),
        "{error}"
    );
}

#[test]
fn descendants_come_with_their_system_calls() {
    let words = [
        "sh",
        "-c",
        "exec 2>/dev/null; sleep 1000 & sh -c 'sleep 1000; true'; true",
    ]
    .map(OsString::from);
    let mut command = TracedCommand::park(&words, None).unwrap();
    command.release().unwrap();
    let target = Target::Pids(vec![command.pid()]);
    let sleepers = |tasks: &[TaskMark]| {
        // 35 nanosleep, 230 clock_nanosleep
        let asleep = |task: &&TaskMark| {
            task.comm == "sleep" && task.asleep && matches!(task.syscall, Some(35 | 230))
        };
        tasks.iter().filter(asleep).count()
    };
    assert!(
        await_fact(BUDGET, || sleepers(&tasks_of(&target)) == 2),
        "{:?}",
        tasks_of(&target)
    );
    let mut told = Vec::new();
    let tasks = discover(&target, &mut |task| told.push(task.clone())).unwrap();
    assert_eq!(tasks, told);
    assert_eq!(tasks.len(), 4);
    assert_eq!(processes(&tasks).len(), 4);
    let orphans: Vec<u32> = processes(&tasks)
        .into_iter()
        .filter(|&pid| pid != command.pid())
        .collect();
    command.end(Duration::from_secs(10));
    for pid in orphans {
        let _ = rustix::process::Pid::from_raw(pid.cast_signed())
            .map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
    }
}

#[test]
fn children_forked_between_scans_are_found() {
    let mut first = TracedCommand::park(
        &["sh", "-c", "exec 2>/dev/null; sleep 1000; true"].map(OsString::from),
        None,
    )
    .unwrap();
    let mut released = false;
    let pid = first.pid();
    // The first scan finds the parked child; then it execs and forks.
    let tasks = discover(&Target::Pids(vec![pid]), &mut |_| {
        if !released {
            released = true;
            first.release().unwrap();
            assert!(await_fact(BUDGET, || tasks_of(&Target::Pids(vec![pid]))
                .len()
                == 2));
        }
    })
    .unwrap();
    assert_eq!(tasks.len(), 2);
    for task in &tasks[1..] {
        let _ = rustix::process::Pid::from_raw(task.pid.cast_signed())
            .map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
    }
}

#[test]
fn processes_are_found_by_name() {
    let name = "watch-me-by-name";
    let shared = Shared::new(4096).unwrap();
    // SAFETY: the body makes system calls only.
    let child = unsafe {
        Child::fork(|| {
            crate::lab::child::set_name(c"watch-me-by-name");
            park(&shared.cells(0, 1)[0], 0).cast_signed()
        })
    }
    .unwrap();
    // Names longer than the kernel keeps match by what it keeps.
    assert!(await_fact(BUDGET, || tasks_of(&Target::Comm(
        name.to_owned()
    ))
    .iter()
    .any(|task| task.pid == child.pid())));
    assert!(tasks_of(&Target::Comm("nobody-is-called".to_owned())).is_empty());
}

#[test]
fn group_members_are_those_of_all_groups_below() {
    let root = std::env::temp_dir().join(format!("probes-cgroup-{}", std::process::id()));
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    std::fs::write(root.join("a/cgroup.procs"), "10\n11\n").unwrap();
    std::fs::write(root.join("a/b/cgroup.procs"), "0\n12\n").unwrap();
    assert_eq!(
        cgroup::members(&root.join("a")),
        BTreeSet::from([10, 11, 12])
    );
    let mounts = [PathBuf::from("/no/such/mount"), root.clone()];
    assert_eq!(
        cgroup::resolve("a/b".as_ref(), &mounts),
        Some(root.join("a/b"))
    );
    assert_eq!(
        cgroup::resolve("/a".as_ref(), &mounts),
        Some(root.join("a"))
    );
    assert_eq!(cgroup::resolve(&root.join("a"), &[]), Some(root.join("a")));
    assert_eq!(cgroup::resolve("c".as_ref(), &mounts), None);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn own_control_group_is_found_as_the_kernel_writes_it() {
    let mounts = procfs::cgroup_mounts();
    assert!(
        !mounts.is_empty(),
        "this test needs a mounted cgroup hierarchy"
    );
    assert!(cgroup::resolve("/".as_ref(), &mounts).is_some());
}

/// What the watcher finds of one herd scene.
fn listening(variant: Variant) -> (Listening, u32) {
    let scenes = vec![(variant, Arrival::Sequential)];
    let options = HerdOptions {
        scenes,
        workers: 3,
        connections: 1,
        burst: 1,
        accept_delay: Duration::ZERO,
    };
    let mut lab = HerdLab::new(options).expect("this test needs root");
    let view: Arc<dyn crate::lab::KernelView> = ProcView::new();
    let mut scene = lab.next(&view).unwrap().unwrap();
    scene.start().unwrap();
    assert!(await_fact(BUDGET, || scene.poll().unwrap()
        == crate::lab::Progress::Done));
    let pids: Vec<u32> = scene.tasks().into_iter().map(|(pid, _)| pid).collect();
    let tasks = tasks_of(&Target::Pids(pids));
    assert_eq!(tasks.len(), 4);
    (Listening::of(&processes(&tasks)), scene.netns())
}

#[test]
fn inherited_listener_is_one_socket_with_many_descriptors() {
    let (found, netns) = listening(Variant::Exclusive);
    assert_eq!(found.netns, BTreeSet::from([netns]));
    assert_eq!(found.listeners.len(), 1);
    assert_eq!(
        (found.listeners[0].port, found.listeners[0].sockets),
        (20_000, 3)
    );
    assert_eq!(found.listeners[0].address, "127.0.0.1");
    // EPOLLIN | EPOLLEXCLUSIVE
    assert!(
        found
            .registrations
            .iter()
            .all(|registration| registration.events == 1 | 1 << 28)
    );
    assert_eq!(found.registrations.len(), 3);
}

#[test]
fn reuseport_is_many_sockets_on_one_port() {
    let (found, _) = listening(Variant::Reuseport);
    assert_eq!(
        found
            .listeners
            .iter()
            .map(|listener| (listener.port, listener.sockets))
            .collect::<Vec<_>>(),
        [(20_000, 1); 3]
    );
    assert_eq!(found.registrations.len(), 3);
}

#[test]
fn instance_made_before_fork_shows_in_every_worker() {
    let (found, _) = listening(Variant::EdgeShared);
    assert_eq!(found.registrations.len(), 3);
    // EPOLLIN | EPOLLET
    assert!(
        found
            .registrations
            .iter()
            .all(|registration| registration.events == 1 | 1 << 31)
    );
}
