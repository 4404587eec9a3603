//! One herd scene as the tool holds it: start, watch for deaths and hangs, read the counts, clean up.
//!
//! The tool's only child is the master; workers and client are the master's, which does not reap them
//! before the end, so the pidfds opened here are theirs. If the master is killed they die with it.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Acquire;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use probes_common::Task;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, waitpid};

use super::board::{AT_GATE, Board, DONE, END, RUN};
use super::master;
use super::plan::{Plan, label};
use super::record::{self, Settled};
use crate::lab::account;
use crate::lab::child::{Child, REAP_BUDGET, ended, ended_within};
use crate::lab::sandbox::Sandbox;
use crate::lab::shared::{await_fact, now, open};
use crate::lab::{KernelView, Progress, Scene};
use crate::stream::Mark;

/// More than a client's own budget: it is to speak first.
const SILENCE_GRACE: Duration = Duration::from_secs(10);

/// For one worker to be asleep when its account is read.
const ACCOUNT_BUDGET: Duration = Duration::from_secs(5);

struct Member {
    name: String,
    pid: u32,
    pidfd: OwnedFd,
}

pub struct HerdScene {
    plan: Plan,
    netns: u32,
    board: Board,
    master: Child,
    /// Workers by index, then the client.
    members: Vec<Member>,
    started_at: u64,
    /// By worker, parked before the start and asleep in their wait after the last connection.
    accounts: (Vec<Settled>, Vec<Settled>),
    /// The client's last sign of life: its number and when it was seen.
    heard: (u64, Instant),
}

impl HerdScene {
    /// Forks the whole family and returns when all are parked. The calling thread must live as long as
    /// the scene: the kernel kills the family when it ends.
    ///
    /// # Errors
    /// A step of the set-up failed.
    pub fn build(plan: Plan, sandbox: &Sandbox, view: &dyn KernelView) -> Result<HerdScene> {
        let board = Board::new(plan.workers, plan.connections as usize)
            .context("could not map shared memory")?;
        // SAFETY: master, workers and client make system calls and write shared memory, nothing else.
        let master = unsafe { Child::fork(|| master::run(&plan, &board, view, sandbox.netns())) }
            .context("could not fork the herd's master")?;
        view.set_phase(0);
        let heard = (0, Instant::now());
        let mut scene = HerdScene {
            plan,
            netns: sandbox.inum(),
            board,
            master,
            members: Vec::new(),
            started_at: 0,
            accounts: (Vec::new(), Vec::new()),
            heard,
        };
        let settled = || {
            let head = scene.board.head();
            let parked = scene
                .board
                .workers()
                .iter()
                .map(|cell| &cell.state)
                .chain([&head.client, &head.master]);
            scene.board.failure().is_some()
                || scene.master.ended()
                || parked
                    .into_iter()
                    .all(|state| state.load(Acquire) == AT_GATE)
        };
        if !await_fact(plan.budget, settled) {
            bail!(
                "could not set up {}: its children did not park within {:?}",
                scene.label(),
                plan.budget
            );
        }
        scene.check_failure()?;
        scene.meet_members()?;
        scene.check_deaths()?;
        Ok(scene)
    }

    fn meet_members(&mut self) -> Result<()> {
        let head = self.board.head();
        let workers = self.board.workers().iter().enumerate();
        let workers =
            workers.map(|(index, cell)| (format!("worker {index}"), cell.pid.load(Acquire)));
        let client = ("the client".to_owned(), head.client_pid.load(Acquire));
        for (name, pid) in workers.chain([client]) {
            let pidfd = Pid::from_raw(pid.cast_signed())
                .ok_or_else(|| anyhow!("could not learn the pid of {name}"))
                .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?))
                .with_context(|| {
                    format!("could not open a pidfd of {name} ({pid}); try fewer workers")
                })?;
            self.members.push(Member { name, pid, pidfd });
        }
        Ok(())
    }

    fn check_failure(&self) -> Result<()> {
        match self.board.failure() {
            Some(failure) => Err(anyhow!(
                "{}: {}",
                self.label(),
                failure.describe(&self.board, self.plan.budget)
            )),
            None => Ok(()),
        }
    }

    fn check_deaths(&self) -> Result<()> {
        if let Some(member) = self.members.iter().find(|member| ended(&member.pidfd)) {
            bail!(
                "{}: {} (pid {}) died in the middle of the scene; killed from outside?",
                self.label(),
                member.name,
                member.pid
            );
        }
        if self.master.ended() {
            bail!(
                "{}: the master (pid {}) died in the middle of the scene; killed from outside?",
                self.label(),
                self.master.pid()
            );
        }
        Ok(())
    }

    /// A stopped or starved client cannot report that its budget has run out.
    fn check_silence(&mut self) -> Result<()> {
        let steps = self.board.head().client_steps.load(Acquire);
        if steps != self.heard.0 {
            self.heard = (steps, Instant::now());
        }
        let silence = self.heard.1.elapsed();
        if silence > self.plan.budget + SILENCE_GRACE {
            bail!(
                "{}: the client has made no step for {} s; is it stopped?",
                self.label(),
                silence.as_secs()
            );
        }
        Ok(())
    }

    /// What the kernel has counted of each worker.
    fn accounts(&self) -> Vec<Settled> {
        let workers = self.members.iter().take(self.plan.workers);
        workers
            .map(|worker| account::settled(worker.pid, ACCOUNT_BUDGET))
            .collect()
    }

    fn complete(&self) -> bool {
        let head = self.board.head();
        let all = u64::from(self.plan.connections);
        head.client.load(Acquire) == DONE
            && head.made.load(Acquire) == all
            && head.accepted.load(Acquire) == all
            && self.board.failure().is_none()
            && self.check_deaths().is_ok()
    }
}

impl Scene for HerdScene {
    fn label(&self) -> String {
        label(self.plan.variant, self.plan.arrival)
    }

    fn netns(&self) -> u32 {
        self.netns
    }

    fn tasks(&self) -> Vec<(u32, u8)> {
        let bits = |index| {
            Task::WATCHED
                | if index < self.plan.workers {
                    Task::FOLLOW
                } else {
                    Task::CLIENT
                }
        };
        self.members
            .iter()
            .enumerate()
            .map(|(index, member)| (member.pid, bits(index)))
            .collect()
    }

    fn ports(&self) -> Vec<u16> {
        vec![self.plan.port]
    }

    fn start(&mut self) -> Result<()> {
        self.check_deaths()?;
        self.accounts.0 = self.accounts();
        self.started_at = now();
        self.heard = (0, Instant::now());
        open(&self.board.head().gate, RUN);
        Ok(())
    }

    fn poll(&mut self) -> Result<Progress> {
        self.check_failure()?;
        self.check_deaths()?;
        let head = self.board.head();
        if head.client.load(Acquire) == DONE {
            // Before the window is cut: a worker with a timer may still be about to wake.
            self.accounts.1 = self.accounts();
            return Ok(Progress::Done);
        }
        let done = head.accepted.load(Acquire);
        if self.started_at != 0 {
            self.check_silence()?;
        }
        Ok(Progress::Running {
            done,
            of: u64::from(self.plan.connections),
        })
    }

    fn marks(&mut self) -> Vec<Mark> {
        if self.started_at == 0 {
            return Vec::new();
        }
        let mut marks = vec![(
            self.started_at,
            record::scene(&self.plan, &self.board, &self.accounts.0),
        )];
        marks.extend(record::connects(&self.plan, &self.board));
        marks.extend(record::accounts(&self.plan, &self.accounts.1));
        marks.push((now(), record::end(&self.plan, &self.board, self.complete())));
        // `to_mark` fails for no value of these types.
        marks
            .iter()
            .filter_map(|(ktime, mark)| mark.to_mark(*ktime).ok())
            .collect()
    }
}

impl Drop for HerdScene {
    /// The master kills and reaps the others, then ends. If it cannot, it is killed and they die with it.
    fn drop(&mut self) {
        open(&self.board.head().gate, END);
        if self.master.wait(REAP_BUDGET).is_none() {
            self.master.signal(Signal::KILL);
            let _ = self.master.wait(REAP_BUDGET);
        }
        for member in &self.members {
            // Orphans only if the master was killed; ours to reap only if we are init (a test guest).
            let _ = ended_within(&member.pidfd, REAP_BUDGET);
            let _ = Pid::from_raw(member.pid.cast_signed())
                .map(|pid| waitpid(Some(pid), WaitOptions::NOHANG));
        }
    }
}
