//! Every way to name a target, with a small pre-forking server of our own.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::context::{Ctx, Outcome};
use crate::harness::dir::Dir;
use crate::harness::inventory::cgroup2;
use crate::harness::report::Report;
use crate::harness::server::{self, PORT, Server, all_asleep};
use crate::harness::watch::Watch;
use crate::harness::{client, procs, sandbox, wait};

const CONNECTIONS: u64 = 40;
const WORKERS: usize = 3;

/// Loads the server, ends the watch, compares the counts.
fn load(watch: Watch, workers: &[u32]) -> Report {
    let made = client::sequential(PORT, CONNECTIONS, || all_asleep(workers));
    wait::until("the workers to be done", || {
        all_asleep(workers).then_some(())
    });
    let report = watch.finish();
    report.assert_connections(PORT, made);
    report
}

/// One connection wakes every worker, or one.
fn assert_herd(report: &Report, herd: bool) {
    let woken = report.rows("listeners")[0].number("woken_mean");
    let wanted = if herd { WORKERS as f64 } else { 1.0 };
    assert!(
        (woken - wanted).abs() < 0.15 * wanted,
        "woke {woken}, not {wanted}"
    );
}

pub fn by_pid_children_are_followed(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    for exclusive in [false, true] {
        let server = Server::start(WORKERS, exclusive);
        let report = load(
            Watch::start(ctx, &["-p", &server.pid().to_string()]),
            &server.workers,
        );
        assert_herd(&report, !exclusive);
        for row in report.rows("registrations") {
            assert_eq!(
                row.text("events").contains("EPOLLEXCLUSIVE"),
                exclusive,
                "{row:?}"
            );
        }
    }
    Outcome::Pass
}

pub fn by_pids_of_workers_each_is_followed(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let server = Server::start(WORKERS, false);
    let pids: Vec<String> = server.workers.iter().map(u32::to_string).collect();
    assert_herd(
        &load(Watch::start(ctx, &["-p", &pids.join(",")]), &server.workers),
        true,
    );
    Outcome::Pass
}

pub fn workers_forked_after_the_attach_are_followed(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let server = Server::start(WORKERS, false);
    let watch = Watch::start(ctx, &["-p", &server.pid().to_string()]);
    // The master replaces a worker that ends.
    server
        .workers
        .iter()
        .for_each(|pid| assert!(procs::signal(*pid, Signal::KILL)));
    let reborn = wait::until("new workers", || {
        let pids = server::await_workers(server.pid(), WORKERS);
        pids.iter()
            .all(|pid| !server.workers.contains(pid))
            .then_some(pids)
    });
    let report = load(watch, &reborn);
    assert_herd(&report, true);
    for pid in &reborn {
        let seen = report
            .rows("registrations")
            .iter()
            .any(|row| row.count("pid") == u64::from(*pid));
        assert!(
            seen,
            "the registration of new worker {pid}: {:?}",
            report.rows("registrations")
        );
    }
    Outcome::Pass
}

/// A name of its own, so that `-n` does not mean this program.
fn named() -> (Dir, PathBuf) {
    let dir = Dir::new();
    let path = dir.join("herd-server");
    let program = std::env::current_exe().expect("our own program");
    std::os::unix::fs::symlink(program, &path).expect("a link to ourselves");
    (dir, path)
}

pub fn by_name_present_processes_are_followed(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let (_dir, program) = named();
    let server = Server::start_as(&program, WORKERS, false);
    assert_herd(
        &load(Watch::start(ctx, &["-n", "herd-server"]), &server.workers),
        true,
    );
    Outcome::Pass
}

pub fn by_name_future_processes_are_followed(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let (_dir, program) = named();
    let watch = Watch::start(ctx, &["-n", "herd-server"]);
    let server = Server::start_as(&program, WORKERS, false);
    assert_herd(&load(watch, &server.workers), true);
    Outcome::Pass
}

#[derive(Debug)]
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Cgroup {
        let root = cgroup2().expect("the version 2 hierarchy of cgroups, which must be mounted");
        let path = root.join(format!("probes-tests-{}", std::process::id()));
        std::fs::create_dir(&path).expect("a cgroup");
        Cgroup(path)
    }

    fn add(&self, pid: u32) {
        std::fs::write(self.0.join("cgroup.procs"), pid.to_string())
            .expect("a process in the cgroup");
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let empty = || std::fs::remove_dir(&self.0).ok();
        let _best_effort = wait::within(std::time::Duration::from_secs(20), empty);
    }
}

pub fn by_cgroup_its_processes_are_followed(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let cgroup = Cgroup::new();
    let server = Server::start(WORKERS, false);
    cgroup.add(server.pid());
    server.workers.iter().for_each(|pid| cgroup.add(*pid));
    let path = cgroup.path().display().to_string();
    assert_herd(
        &load(Watch::start(ctx, &["-c", &path]), &server.workers),
        true,
    );
    // The same by its name below the mount.
    let name = cgroup
        .path()
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    assert_herd(
        &load(Watch::start(ctx, &["-c", &name]), &server.workers),
        true,
    );
    Outcome::Pass
}

pub fn a_command_is_watched_from_its_first_instruction(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let watch = Watch::command(ctx, &[], &server::words(WORKERS, false));
    let master = wait::until("the command", || {
        procs::children(watch.pid()).first().map(|proc| proc.pid)
    });
    let workers = server::await_workers(master, WORKERS);
    let report = load(watch, &workers);
    assert_herd(&report, true);
    assert_eq!(report.rows("registrations").len(), WORKERS);
    wait::until("the command to end with the watch", || {
        workers
            .iter()
            .all(|pid| procs::read(*pid).is_none_or(|proc| proc.zombie))
            .then_some(())
    });
    Outcome::Pass
}
