//! A guest as a value: kernel, image, job. Builds the image, boots it, and falls back from KVM to
//! emulation when it was left to us.

use super::end::End;
use super::qemu::{Machine, accelerators};
use super::watch::{self, Outcome, Said};
use crate::build::{self, Link, Profile};
use crate::cli::GuestArgs;
use crate::dirs;
use crate::image::{self, Contents};
use crate::job::{BUILTIN_SHELL, Job};
use crate::kernels::Kernel;
use anyhow::{Result, anyhow};
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Two cores: a third guest only makes the others late.
const AT_ONCE: usize = 2;

#[derive(Debug, Clone)]
pub struct Guest {
    pub kernel: Kernel,
    pub contents: Contents,
    pub job: Job,
    pub args: GuestArgs,
}

/// The static programs of this tree.
pub fn our_programs(packages: Vec<String>) -> Result<Contents> {
    let built = build::host(Profile::Release, Link::Static)?;
    Ok(Contents {
        init: built.init,
        programs: vec![
            ("probes".into(), built.probes),
            ("probes-tests".into(), built.tests),
        ],
        packages,
    })
}

impl Guest {
    /// Where its logs are.
    pub fn dir(&self) -> Result<std::path::PathBuf> {
        dirs::made(dirs::target().join("vm").join(&self.kernel.label))
    }

    pub fn run(&self, hear: &mut impl FnMut(Said<'_>)) -> Result<Outcome> {
        // Without a name: nothing is left behind, however we end.
        let initrd = tempfile::tempfile()?;
        image::write(&initrd, &self.kernel, &self.contents, &self.job)?;
        let shell = self
            .job
            .argv
            .first()
            .is_some_and(|word| word == BUILTIN_SHELL);
        let timeout = match shell {
            true if self.args.timeout.is_none() => Duration::from_secs(24 * 3600),
            _ => Duration::from_secs(self.job.timeout_s),
        };
        let tries = accelerators(self.args.accel);
        for (index, kvm) in tries.iter().enumerate() {
            let machine = Machine {
                kernel: &self.kernel.image,
                initrd: &initrd,
                kvm: *kvm,
                memory: self.args.memory,
                shell,
            };
            let outcome = watch::run(&machine, timeout, &self.dir()?, hear)?;
            let last = index + 1 == tries.len();
            if last || outcome.boot.is_some() {
                return Ok(outcome);
            }
            hear(Said::Note(format!(
                "KVM does not work here ({}); emulating",
                outcome.end
            )));
        }
        Err(anyhow!("could not start a guest: nothing to try"))
    }
}

/// Runs them two at a time; results in the guests' order. What they say comes one at a time.
pub fn run_all(
    guests: &[Guest],
    hear: impl FnMut(&Guest, Said<'_>) + Send,
) -> Vec<Result<Outcome>> {
    let next = AtomicUsize::new(0);
    let hear = Mutex::new(hear);
    let done: Vec<Mutex<Option<Result<Outcome>>>> =
        guests.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(guests.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((guest, slot)) = guests.get(index).zip(done.get(index)) else {
                        return;
                    };
                    let outcome = guest.run(&mut |said| {
                        if let Ok(mut hear) = hear.lock() {
                            hear(guest, said);
                        }
                    });
                    if let Ok(mut slot) = slot.lock() {
                        *slot = Some(outcome);
                    }
                }
            });
        }
    });
    done.into_iter()
        .map(|slot| slot.into_inner().ok().flatten())
        .map(|outcome| {
            outcome.unwrap_or_else(|| Err(anyhow!("could not run a guest: its thread died")))
        })
        .collect()
}

/// Prints what a guest says: as it is when it is alone, behind its label when it is not.
#[derive(Debug)]
pub struct Speaker<'a> {
    pub guest: &'a Guest,
    pub alone: bool,
}

impl Speaker<'_> {
    pub fn say(&self, said: Said<'_>) {
        let label = &self.guest.kernel.label;
        let mut out = std::io::stdout().lock();
        let _ = match said {
            Said::Note(note) => {
                eprintln!("[{label}] {note}");
                Ok(())
            }
            Said::Result(_) => Ok(()),
            Said::Output(bytes) if self.alone => out.write_all(bytes),
            Said::Output(bytes) => write!(out, "[{label}] {}", String::from_utf8_lossy(bytes)),
        };
        let _ = out.flush();
    }
}

/// What stands in the grid for a guest that did not end by itself.
#[must_use]
pub fn trouble(end: &End) -> Option<String> {
    match end {
        End::Exited(_) => None,
        other => Some(other.to_string()),
    }
}
