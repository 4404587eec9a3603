//! `cargo xtask vm`: any command of ours in a guest kernel. Guests run two at a time at most; each
//! keeps its kernel's console and its job's output under `target/vm/<kernel>`.

pub mod end;
pub mod guest;
mod markers;
mod qemu;
pub mod watch;

use crate::cli::{self, VmArgs};
use crate::job::{self, Job};
use crate::kernels::lock::Lock;
use crate::kernels::{Kernel, fetch, relock};
use crate::{image, setup, sh, test};
use anyhow::{Context as _, Result, bail};
use guest::{Guest, Speaker};
use std::collections::BTreeMap;
use std::path::Path;

/// Enough for any one trace in an emulated guest.
const COMMAND_TIMEOUT_S: u64 = 300;

pub fn main(args: &VmArgs) -> Result<u8> {
    if args.relock {
        relock::relock()?;
        return Ok(cli::OK);
    }
    setup::ensure(setup::Need::Tests)?;
    if args.command.is_empty() && !args.shell {
        return test::guests_only(args);
    }
    let kernels = kernels(args)?;
    if args.shell && kernels.len() != 1 {
        bail!("could not open a shell: it needs one kernel; try `--kernel 6.12 --shell`");
    }
    let (contents, argv) = contents(args)?;
    let job = Job {
        argv,
        env: BTreeMap::new(),
        timeout_s: args.guest.timeout_or(COMMAND_TIMEOUT_S).as_secs(),
    };
    let guests: Vec<Guest> = kernels
        .into_iter()
        .map(|kernel| Guest {
            kernel,
            contents: contents.clone(),
            job: job.clone(),
            args: args.guest.clone(),
        })
        .collect();
    let alone = guests.len() == 1;
    let ends = guest::run_all(&guests, |guest, said| {
        Speaker { guest, alone }.say(said);
    });
    let mut worst = cli::OK;
    for (guest, outcome) in guests.iter().zip(ends) {
        let outcome = outcome?;
        eprintln!(
            "[{}] {} after {:.1} s",
            guest.kernel.label,
            outcome.end,
            outcome.took.as_secs_f64()
        );
        worst = worst.max(outcome.end.code());
    }
    Ok(worst)
}

/// The pinned kernels with these labels, or the one of the user's.
pub fn kernels(args: &VmArgs) -> Result<Vec<Kernel>> {
    if let [path] = &*args.kernel
        && path.contains('/')
    {
        return Ok(vec![Kernel::of_path(
            Path::new(path),
            args.modules.as_deref(),
        )?]);
    }
    let mut kernels = Vec::new();
    for pin in Lock::read()?.select(&args.kernel)? {
        kernels.push(fetch::kernel(&pin)?.with_context(|| gone(&pin.label))?);
    }
    Ok(kernels)
}

/// What to say when a suite has moved on.
#[must_use]
pub fn gone(label: &str) -> String {
    format!(
        "could not fetch kernel {label}: the mirror has replaced the pinned version; try `cargo xtask vm --relock`, which pins what it has now"
    )
}

/// The image for a command: our programs only when it is one of ours.
fn contents(args: &VmArgs) -> Result<(image::Contents, Vec<String>)> {
    let mut argv = args.command.clone();
    if args.shell {
        argv = vec![job::BUILTIN_SHELL.into()];
    }
    let first = argv.first().cloned().unwrap_or_default();
    let mut packages = args.package.clone();
    if !args.bare {
        packages.extend(image::default_packages());
    }
    if first.starts_with('@') && !args.shell {
        let init = crate::build::init()?.init;
        return Ok((
            image::Contents {
                init,
                programs: Vec::new(),
                packages,
            },
            argv,
        ));
    }
    if first.contains('/') && Path::new(&first).is_file() {
        let init = crate::build::init()?.init;
        let name = Path::new(&first).file_name().context("a file has a name")?;
        let name = name.to_string_lossy().into_owned();
        argv[0].clone_from(&name);
        let programs = vec![(name, first.into())];
        return Ok((
            image::Contents {
                init,
                programs,
                packages,
            },
            argv,
        ));
    }
    let mut contents = guest::our_programs(packages)?;
    if args.shell {
        let busybox = sh::find("busybox").context(
            "could not find BusyBox for a shell in the guest; try `apt-get install busybox-static`",
        )?;
        contents.programs.push(("busybox".into(), busybox));
    }
    Ok((contents, argv))
}
