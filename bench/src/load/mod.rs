//! The workloads: each a process of its own on one CPU, which does as many operations as it is told and says
//! how much CPU time they took. Told and answered line by line on its standard input and output.

mod connects;
pub mod cpu;
mod disk;
mod messages;

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The processor that workloads run on; tools run on the first.
pub const CPU: usize = 1;
const PORTION: u64 = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// getppid(): one system call each
    Calls,
    /// One message through a pipe to another task of the same CPU: a wakeup and a switch each
    Messages,
    /// connect, accept, close, close on the loopback device of a network namespace of its own
    Connects,
    /// A 4 KiB read with O_DIRECT: one request of a disk each
    Reads,
    /// A page written at the end of a file that is cut to nothing in the end
    Pages,
}

impl Kind {
    /// One operation, for a table.
    pub fn unit(self) -> &'static str {
        match self {
            Kind::Calls => "system call",
            Kind::Messages => "message",
            Kind::Connects => "connection",
            Kind::Reads => "request",
            Kind::Pages => "page",
        }
    }

    /// Operations of one block.
    pub fn block(self) -> u64 {
        match self {
            Kind::Calls => 300_000,
            Kind::Messages => 20_000,
            Kind::Connects => 1_500,
            Kind::Reads => 2_000,
            Kind::Pages => 8_000,
        }
    }

    /// The tracepoints that it passes, where they are few; programs elsewhere do not concern it.
    pub fn passes(self) -> Option<&'static [&'static str]> {
        match self {
            Kind::Calls | Kind::Messages => Some(&[
                "sys_enter",
                "sys_exit",
                "sched_waking",
                "sched_wakeup",
                "sched_wakeup_new",
                "sched_switch",
            ]),
            Kind::Connects | Kind::Reads | Kind::Pages => None,
        }
    }

    fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// The other side: does the work of one kind until its standard input ends. `folder` is for its file.
///
/// # Errors
/// What the work ran into.
pub fn serve(kind: Kind, folder: &Path) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    cpu::pin(CPU).context("the workload needs a second CPU")?;
    let mut work: Box<dyn FnMut(u64) -> Result<()>> = match kind {
        Kind::Calls => Box::new(calls),
        Kind::Messages => messages::start()?,
        Kind::Connects => connects::start()?,
        Kind::Reads => disk::reads(folder)?,
        Kind::Pages => disk::pages(folder)?,
    };
    let mut out = io::stdout().lock();
    writeln!(out, "up")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (count, rate) = line.split_once(' ').unwrap_or((&line, "0"));
        let count: u64 = count.trim().parse().context("a number of operations")?;
        let rate: u64 = rate.parse().context("operations a second")?;
        let before = cpu::own()?;
        paced(count, rate, &mut work)?;
        writeln!(out, "{}", (cpu::own()? - before).as_nanos())?;
        out.flush()?;
    }
    Ok(())
}

/// So many a second, in small portions; 0 = as fast as can be. Waits without a system call.
fn paced(count: u64, rate: u64, work: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
    if rate == 0 {
        return work(count);
    }
    let (begun, mut done) = (Instant::now(), 0);
    while done < count {
        let portion = PORTION.min(count - done);
        work(portion)?;
        done += portion;
        let due = Duration::from_nanos(done * 1_000_000_000 / rate);
        while begun.elapsed() < due {
            std::hint::spin_loop();
        }
    }
    Ok(())
}

fn calls(count: u64) -> Result<()> {
    for _ in 0..count {
        // SAFETY: takes nothing, changes nothing.
        unsafe { libc::syscall(libc::SYS_getppid) };
    }
    Ok(())
}

/// A workload that waits to be told.
#[derive(Debug)]
pub struct Load {
    child: Child,
    tell: ChildStdin,
    answer: BufReader<ChildStdout>,
    pub kind: Kind,
}

impl Load {
    /// # Errors
    /// It cannot be started.
    pub fn start(kind: Kind, folder: &Path) -> Result<Load> {
        let own = std::env::current_exe().context("could not find this program")?;
        let mut command = Command::new(own);
        command
            .args(["load", &kind.name(), "--folder"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // SAFETY: system calls only; what allocates is this process's alone after the fork.
        unsafe { command.pre_exec(|| cpu::pin(CPU)) };
        let mut child = command.spawn().context("could not start a workload")?;
        let (Some(tell), Some(answer)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("a workload without pipes");
        };
        let mut load = Load {
            child,
            tell,
            answer: BufReader::new(answer),
            kind,
        };
        if load.line()? != "up" {
            bail!("the workload {} did not start", kind.name());
        }
        Ok(load)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answer.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// # Errors
    /// It ended.
    pub fn tell(&mut self, count: u64, rate: u64) -> Result<()> {
        writeln!(self.tell, "{count} {rate}").context("the workload is gone")
    }

    /// CPU time of the operations that were told last.
    ///
    /// # Errors
    /// It ended.
    pub fn took(&mut self) -> Result<Duration> {
        let line = self.line()?;
        let ns = line.parse().context("the workload ended in the middle")?;
        Ok(Duration::from_nanos(ns))
    }

    /// Does so many operations as fast as it can; ns of CPU time for each.
    ///
    /// # Errors
    /// It ended.
    pub fn each(&mut self, count: u64) -> Result<f64> {
        self.tell(count, 0)?;
        Ok(self.took()?.as_nanos() as f64 / count as f64)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
