//! Another program that is measured: started on a terminal of its own, known to be attached by its own first
//! line (or by the file that ours makes), ended by Ctrl-C's signal.
//!
//! On a terminal every program writes line by line, so that the first line comes when it is written. What is
//! written later is read and thrown away. All run on the CPU that the workload does not use.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::load::cpu::pin;

const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_micros(500);
const KEPT: usize = 8 << 10;

/// How it says that it is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// It prints this.
    Line(&'static str),
    /// It makes a file, whose name is its last argument.
    File,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    pub program: PathBuf,
    pub args: Vec<String>,
    pub ready: Ready,
    /// The distribution's package.
    pub package: &'static str,
    /// bpftrace wants to be told; room that is not used would cost it its start.
    pub many_keys: bool,
}

#[derive(Debug)]
pub struct Running {
    child: Child,
    output: Receiver<Vec<u8>>,
    text: Vec<u8>,
    file: Option<PathBuf>,
    /// From exec to attached.
    pub attached_after: Duration,
}

/// What a whole run of a tool took.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub cpu: Duration,
    pub peak_kib: u64,
}

/// The program by name, where a superuser finds it.
pub fn find(name: &std::path::Path) -> Option<PathBuf> {
    if name.is_absolute() {
        return name.is_file().then(|| name.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

impl Tool {
    /// Ok(Err) = it cannot be measured here, with the reason for a person.
    ///
    /// # Errors
    /// No terminal, no process.
    pub fn start(&self) -> Result<Result<Running, String>> {
        let Some(program) = find(&self.program) else {
            return Ok(Err(format!(
                "not installed: apt-get install {}",
                self.package
            )));
        };
        let (master, slave) = terminal().context("could not make a terminal")?;
        let mut command = Command::new(program);
        command.args(&self.args);
        let mut file = None;
        if self.ready == Ready::File {
            let path = std::env::temp_dir().join(format!("probes-bench-{}", std::process::id()));
            let _absent = std::fs::remove_file(&path);
            command.arg(&path);
            file = Some(path);
        }
        command
            .stdin(Stdio::null())
            .stdout(slave.try_clone()?)
            .stderr(slave);
        if self.many_keys {
            command.env("BPFTRACE_MAP_KEYS_MAX", "2000000");
        }
        // SAFETY: two system calls, nothing allocated.
        unsafe {
            command.pre_exec(|| {
                rustix::process::set_parent_process_death_signal(Some(
                    rustix::process::Signal::KILL,
                ))?;
                pin(0)
            });
        }
        let begun = Instant::now();
        let child = command.spawn().context("could not start a tool")?;
        drop(command);
        let mut running = Running {
            child,
            output: drained(master),
            text: Vec::new(),
            file,
            attached_after: Duration::ZERO,
        };
        Ok(match running.wait(&self.ready, begun)? {
            true => Ok(running),
            false => {
                let words = running.words();
                running.stop()?;
                Err(format!("does not start here: {words}"))
            }
        })
    }
}

/// The first line that tells what went wrong, else the first that says something.
fn reason(text: &str) -> String {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling = |line: &&str| {
        let words = ["rror", "nable to", "ailed", "not permitted"];
        words.iter().any(|word| line.contains(word))
    };
    let line = lines().find(telling).or_else(|| lines().next());
    let line = line.unwrap_or("it said nothing").replace('|', "/");
    line.chars().take(120).collect()
}

impl Running {
    fn wait(&mut self, ready: &Ready, begun: Instant) -> Result<bool> {
        while begun.elapsed() < PATIENCE {
            match self.output.recv_timeout(LOOK) {
                Ok(bytes) if self.text.len() < KEPT => self.text.extend(bytes),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
            }
            self.attached_after = begun.elapsed();
            let said = match (ready, &self.file) {
                (Ready::Line(line), _) => String::from_utf8_lossy(&self.text).contains(line),
                (Ready::File, file) => file.as_ref().is_some_and(|file| file.exists()),
            };
            if said {
                return Ok(true);
            }
            if self.child.try_wait()?.is_some() {
                return Ok(false);
            }
        }
        Ok(false)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn words(&self) -> String {
        reason(&String::from_utf8_lossy(&self.text))
    }

    /// CPU time of all its threads so far.
    pub fn cpu(&self) -> Duration {
        crate::load::cpu::of_process(self.pid()).unwrap_or_default()
    }

    fn peak_kib(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let text = text.unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
        number.unwrap_or(0)
    }

    /// Ends it; what the whole run took.
    ///
    /// # Errors
    /// It could not be waited for.
    pub fn stop(mut self) -> Result<Cost> {
        let peak_kib = self.peak_kib();
        let before = children_cpu();
        let begun = Instant::now();
        if self.child.try_wait()?.is_none() {
            // SAFETY: our own child, not yet waited for.
            unsafe { libc::kill(self.child.id() as i32, libc::SIGINT) };
        }
        while self.child.try_wait()?.is_none() {
            if begun.elapsed() > PATIENCE {
                self.child.kill()?;
            }
            let _more = self.output.recv_timeout(LOOK);
        }
        if let Some(file) = &self.file {
            let _absent = std::fs::remove_file(file);
        }
        Ok(Cost {
            cpu: children_cpu().saturating_sub(before),
            peak_kib,
        })
    }
}

/// Of all children that have ended and were waited for.
fn children_cpu() -> Duration {
    // SAFETY: plain data, filled in by the kernel.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec as u64) + Duration::from_micros(t.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

fn terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let (mut master, mut slave) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: two places for descriptors; no name, no settings.
    let failed = unsafe {
        libc::openpty(
            &raw mut master,
            &raw mut slave,
            null,
            null.cast(),
            null.cast(),
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, nobody else's.
    let pair = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    for fd in [&pair.0, &pair.1] {
        // SAFETY: a flag of our own descriptor.
        unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(pair)
}

/// Reads what the tool writes; the first of it is handed on.
fn drained(master: OwnedFd) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let _elsewhere = pin(0);
        let (mut master, mut room, mut kept) = (File::from(master), [0; 64 << 10], 0);
        // At the end, when nobody has the other side, EIO.
        while let Ok(got) = master.read(&mut room) {
            if got == 0 {
                break;
            }
            if kept < KEPT {
                kept += got;
                let _gone = send.send(room[..got].to_vec());
            }
        }
    });
    receive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_line_that_tells_one() {
        let text = "sh: 1: modprobe: not found\r\n\r\nUnable to find kernel headers. Try\r\nFailed";
        assert_eq!(reason(text), "Unable to find kernel headers. Try");
        assert_eq!(reason("\nhello | you\n"), "hello / you");
        assert_eq!(reason(""), "it said nothing");
    }

    #[test]
    fn a_tool_that_is_not_there_says_what_to_install() {
        let tool = Tool {
            program: "no-such-program".into(),
            args: Vec::new(),
            ready: Ready::File,
            package: "some-tools",
            many_keys: false,
        };
        let why = tool.start().unwrap().unwrap_err();
        assert_eq!(why, "not installed: apt-get install some-tools");
    }
}
