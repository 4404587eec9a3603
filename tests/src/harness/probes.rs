//! Running the program under test: arguments in, exit code, both streams and the report out.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Signal;

use super::procs::{self, Guard};
use super::report::Report;
use super::wait;
use crate::context::Ctx;

/// The name under which the workers of a herd lab run.
pub const LAB_WORKER: &str = "herd-worker";
/// nobody, as in Debian's passwd.
const NOBODY: u32 = 65534;
/// As many as `probes check` has for a lab.
const TRIES: usize = 3;

#[derive(Debug)]
pub struct Probes {
    command: Command,
    words: Vec<String>,
}

/// One that is running; killed with its family when dropped.
#[derive(Debug)]
pub struct Running {
    guard: Guard,
    words: String,
    stdout: File,
    stderr: File,
}

#[derive(Debug)]
pub struct Run {
    words: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ctx {
    pub fn probes<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Probes {
        Probes::at(&self.probes, words)
    }

    /// The report of a lab; one that lacked evidence is run again and says why, as `probes check` does it.
    pub fn settle<'a>(&self, words: impl IntoIterator<Item = &'a str> + Clone) -> Report {
        for _ in 1..TRIES {
            let report = self.probes(words.clone()).report();
            let open = report.left_open();
            if open.is_empty() {
                return report;
            }
            println!("run again: {open:?}");
        }
        self.probes(words).report()
    }
}

impl Probes {
    pub fn at<'a>(program: &Path, words: impl IntoIterator<Item = &'a str>) -> Probes {
        let mut probes = Probes {
            command: Command::new(program),
            words: Vec::new(),
        };
        probes
            .command
            .env_remove("PROBES_RESULTS")
            .stdin(Stdio::null());
        for word in words {
            probes = probes.arg(word);
        }
        probes
    }

    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Probes {
        self.words
            .push(word.as_ref().to_string_lossy().into_owned());
        self.command.arg(word);
        self
    }

    /// Without root's rights, as user nobody.
    pub fn by_nobody(mut self) -> Probes {
        self.command.uid(NOBODY).gid(NOBODY).current_dir("/");
        self
    }

    pub fn stdout_to(mut self, file: File) -> Probes {
        self.command.stdout(file);
        self.words.push("> FILE".to_owned());
        self
    }

    pub fn start(mut self) -> Running {
        let (stdout, stderr) = (stream("stdout"), stream("stderr"));
        if self.words.last().is_none_or(|word| word != "> FILE") {
            self.command.stdout(handle(&stdout));
        }
        self.command.stderr(handle(&stderr));
        let words = format!("probes {}", self.words.join(" "));
        let child = self
            .command
            .spawn()
            .unwrap_or_else(|error| panic!("could not start {words}: {error}"));
        Running {
            guard: Guard::new("probes", child),
            words,
            stdout,
            stderr,
        }
    }

    pub fn run(self) -> Run {
        self.start().wait()
    }

    /// A whole report is on standard output.
    pub fn report(self) -> Report {
        self.arg("--json").run().report()
    }
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.guard.pid()
    }

    pub fn signal(&self, signal: Signal) {
        assert!(
            procs::signal(self.pid(), signal),
            "{} was gone before the signal",
            self.words
        );
    }

    /// What it has said so far.
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// A worker of its lab that is past its start and serves connections.
    pub fn await_worker_at_work(&mut self) -> u32 {
        wait::until("a worker of the lab to be at work", || {
            assert!(!self.ended(), "{} has ended: {}", self.words, self.stderr());
            let family = procs::descendants(self.pid());
            let workers = family.into_iter().filter(|proc| proc.comm == LAB_WORKER);
            workers
                .map(|proc| proc.pid)
                .find(|pid| procs::switches(*pid) > 20)
        })
    }

    pub fn ended(&mut self) -> bool {
        self.guard.await_end(std::time::Duration::ZERO).is_some()
    }

    /// # Panics
    /// It has not ended within the budget.
    pub fn wait(mut self) -> Run {
        let Some(status) = self.guard.await_end(wait::PROGRAM) else {
            panic!(
                "{} did not end in {} s; it said: {}",
                self.words,
                wait::PROGRAM.as_secs(),
                self.stderr()
            );
        };
        let run = Run {
            words: self.words.clone(),
            status,
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
        };
        println!("$ {} → {}", run.words, run.status);
        run
    }
}

impl Run {
    /// The exit code; 128 and more when a signal ended it, as shells say.
    pub fn code(&self) -> i32 {
        let by_signal = || self.status.signal().map_or(-1, |signal| 128 + signal);
        self.status.code().unwrap_or_else(by_signal)
    }

    /// # Panics
    /// It ended with another code.
    pub fn expect(self, code: i32) -> Run {
        assert_eq!(
            self.code(),
            code,
            "exit code of {}\nstandard error: {}\nstandard output: {}",
            self.words,
            self.stderr,
            self.stdout.chars().take(4000).collect::<String>()
        );
        self
    }

    /// Standard error is one message: no panic, no backtrace, and it says `what`.
    pub fn says(self, what: &[&str]) -> Run {
        assert!(
            !self.stderr.contains("panicked"),
            "{}: {}",
            self.words,
            self.stderr
        );
        let lower = self.stderr.to_lowercase();
        for part in what {
            assert!(
                lower.contains(&part.to_lowercase()),
                "{} should say {part:?}: {}",
                self.words,
                self.stderr
            );
        }
        self
    }

    pub fn report(self) -> Report {
        match serde_json::from_str(&self.stdout) {
            Ok(document) => Report {
                document,
                code: self.code(),
            },
            Err(error) => panic!(
                "{} gave no report ({error}), code {}\nstandard error: {}\nstandard output: {}",
                self.words,
                self.code(),
                self.stderr,
                self.stdout.chars().take(2000).collect::<String>()
            ),
        }
    }
}

fn stream(name: &str) -> File {
    File::from(memfd_create(name, MemfdFlags::CLOEXEC).expect("a file in memory"))
}

fn handle(file: &File) -> File {
    file.try_clone()
        .expect("another handle of a file in memory")
}

/// Through a handle of its own, so that the writer's position stays.
fn text(file: &File) -> String {
    use std::os::fd::AsRawFd as _;
    let mut bytes = Vec::new();
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let mut own = File::open(path).expect("a file in memory, opened again");
    own.rewind()
        .and_then(|()| own.read_to_end(&mut bytes))
        .expect("reading a file in memory");
    String::from_utf8_lossy(&bytes).into_owned()
}
