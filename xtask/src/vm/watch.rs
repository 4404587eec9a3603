//! One guest from start to end: reads its four ports, keeps the logs, and decides when it is over.
//! Nothing here sleeps: it waits for a line or for the deadline, whichever is first.

use super::end::{End, Signs};
use super::markers;
use super::qemu::{self, Machine, Port};
use crate::job::Control;
use anyhow::{Context as _, Result};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// A guest on a busy host of two cores may take this long to reach init.
const BOOT_BUDGET: Duration = Duration::from_secs(180);
/// With KVM a guest that is not up by then never will be.
const KVM_BOOT_BUDGET: Duration = Duration::from_secs(20);
/// What init may need after its last word to power off.
const GRACE: Duration = Duration::from_secs(20);
/// A dying kernel may still print where it was.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What a guest says while it runs.
#[derive(Debug)]
pub enum Said<'a> {
    /// A piece of the job's output, not always a whole line.
    Output(&'a [u8]),
    /// One line of the results port.
    Result(&'a str),
    /// Something for the person who waits.
    Note(String),
}

#[derive(Debug)]
pub struct Outcome {
    pub end: End,
    /// From QEMU's start to init's first word.
    pub boot: Option<Duration>,
    pub took: Duration,
}

#[derive(Debug)]
struct Watch<'a, F> {
    signs: Signs,
    since: Instant,
    deadline: Instant,
    budget: Duration,
    job_timeout: Duration,
    boot: Option<Duration>,
    kernel_log: File,
    output_log: File,
    hear: &'a mut F,
}

/// Boots the machine and follows it; logs go to the folder.
pub fn run<F: FnMut(Said<'_>)>(
    machine: &Machine<'_>,
    job_timeout: Duration,
    dir: &Path,
    hear: &mut F,
) -> Result<Outcome> {
    let since = Instant::now();
    let (child, ports) = qemu::start(machine)?;
    let mut child = Reaped(child);
    let lines = readers(ports);
    let budget = if machine.kvm {
        KVM_BOOT_BUDGET
    } else {
        BOOT_BUDGET
    };
    let log = |name: &str| {
        let path = dir.join(name);
        File::create(&path).with_context(|| format!("could not write {}", path.display()))
    };
    let mut watch = Watch {
        signs: Signs::default(),
        since,
        deadline: since + budget,
        budget,
        job_timeout,
        boot: None,
        kernel_log: log("console.log")?,
        output_log: log("output.log")?,
        hear,
    };
    watch.follow(&lines)?;
    watch.signs.qemu = child.end();
    Ok(Outcome {
        boot: watch.boot,
        took: since.elapsed(),
        end: watch.signs.end(),
    })
}

impl<F: FnMut(Said<'_>)> Watch<'_, F> {
    /// Until all ports are closed, which is when QEMU is gone, or the deadline.
    fn follow(&mut self, lines: &Receiver<(Port, Vec<u8>)>) -> Result<()> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok((port, bytes)) => self.take(port, &bytes)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {
                    self.signs.killed_after = Some(self.budget.as_secs());
                    return Ok(());
                }
            }
        }
    }

    fn take(&mut self, port: Port, bytes: &[u8]) -> Result<()> {
        let text = String::from_utf8_lossy(bytes);
        match port {
            Port::Kernel => {
                self.kernel_log.write_all(bytes)?;
                if let Some(words) = markers::fatal(&text)
                    && self.signs.fatal.is_none()
                {
                    self.signs.fatal = Some(words.to_owned());
                    self.deadline = self.deadline.min(Instant::now() + LAST_WORDS);
                }
            }
            Port::Console => {
                self.output_log.write_all(bytes)?;
                (self.hear)(Said::Output(bytes));
            }
            Port::Results => (self.hear)(Said::Result(text.trim_end())),
            Port::Control => self.control(text.trim_end()),
        }
        Ok(())
    }

    fn control(&mut self, line: &str) {
        match serde_json::from_str(line) {
            Ok(Control::Boot { kernel, uptime_ms }) => {
                let boot = self.since.elapsed();
                self.boot = Some(boot);
                self.signs.booted = true;
                self.budget = self.job_timeout + grace(self.job_timeout);
                self.deadline = Instant::now() + self.budget;
                (self.hear)(Said::Note(format!(
                    "Linux {kernel} is up after {:.1} s ({:.1} s by its own clock)",
                    boot.as_secs_f64(),
                    Duration::from_millis(uptime_ms).as_secs_f64(),
                )));
            }
            Ok(Control::Warning { message }) => (self.hear)(Said::Note(message)),
            Ok(Control::Timeout { seconds }) => self.signs.job_timeout = Some(seconds),
            Ok(Control::Exit { code }) => {
                self.signs.exit = Some(code);
                self.budget = GRACE;
                self.deadline = Instant::now() + GRACE;
            }
            Err(error) => (self.hear)(Said::Note(format!(
                "could not understand init: {error}: {line}"
            ))),
        }
    }
}

/// What init may need after the job's own deadline to tell us of it: more after a long job, for
/// then the host is busy.
fn grace(job_timeout: Duration) -> Duration {
    (job_timeout / 10).clamp(Duration::from_secs(8), Duration::from_secs(60))
}

/// One thread per port, until its other end closes.
fn readers(ports: Vec<(Port, UnixStream)>) -> Receiver<(Port, Vec<u8>)> {
    let (send, receive) = channel();
    for (port, stream) in ports {
        let send = send.clone();
        std::thread::spawn(move || read(port, stream, &send));
    }
    receive
}

fn read(port: Port, stream: UnixStream, send: &Sender<(Port, Vec<u8>)>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut piece = Vec::new();
        let got = reader.read_until(b'\n', &mut piece);
        if !matches!(got, Ok(1..)) || send.send((port, piece)).is_err() {
            return;
        }
    }
}

/// Ends QEMU by its id if it still runs, and says what it said.
struct Reaped(Child);

impl Reaped {
    fn end(&mut self) -> String {
        let _ = self.0.kill();
        let status = self.0.wait();
        let mut said = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        match (said.trim(), status) {
            ("", Ok(status)) => format!("QEMU: {status}"),
            (said, _) => format!("QEMU: {said}"),
        }
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
