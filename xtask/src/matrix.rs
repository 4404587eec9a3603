//! `cargo xtask matrix`: `probes check` on the host and in every guest, claim by kernel. The tests run the check on
//! each kernel anyway and hand its document over, so that `test` and `ci` show the matrix at no extra time.
//! `probes matrix` compares and writes; here the documents are only gathered.

use crate::build::{self, Link, Profile, Programs};
use crate::cli::{self, MatrixArgs};
use crate::job::{Job, RESULTS_PORT};
use crate::kernels::lock::Lock;
use crate::kernels::{Kernel, fetch};
use crate::report::run::Column;
use crate::vm::guest::{self, Guest};
use crate::vm::watch::Said;
use crate::{dirs, image, setup, sh, vm};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The page that is made of the matrix.
const PAGE: &str = "docs/kernels.md";
/// The kind under which the tests hand a check over.
const CHECK: &str = "check";
const HOST: &str = "host";
/// MiB that labs of files and disks move: the same everywhere, or their counts could not be compared.
const SIZE: &str = "4";
/// For a whole check in an emulated guest.
const TIMEOUT_S: u64 = 1500;

pub fn main(args: &MatrixArgs) -> Result<u8> {
    if args.write && (!args.only.is_empty() || !args.kernel.is_empty()) {
        bail!(
            "could not write {PAGE}: it has every claim on every kernel; leave out --only and --kernel"
        );
    }
    setup::ensure(setup::Need::Tests)?;
    let programs = build::host(Profile::Release, Link::Static)?;
    let dir = fresh_dir()?;
    let mut files = in_guests(args, &dir)?;
    if args.kernel.is_empty() || args.kernel.iter().any(|label| label == HOST) {
        let _step = sh::step("the check on this host's kernel");
        let file = dir.join(HOST).with_extension("json");
        let mut check = sh::as_root(&programs.probes);
        check.args(words(args, &file));
        let code = sh::exit_code(&mut check)?;
        if !file.is_file() {
            bail!("the check on this host's kernel said nothing (exit code {code})");
        }
        files.push(file);
    }
    if let Some(path) = &args.json {
        probes(&programs, &["--json", "--output"], Some(path), &files)?;
    }
    let code = probes(&programs, &[], None, &files)?;
    if args.write && code != cli::OK {
        bail!("could not write {PAGE}: it says what is known, and something differs from that");
    }
    if args.write {
        let page = dirs::root().join(PAGE);
        probes(&programs, &["--markdown", "--output"], Some(&page), &files)?;
    }
    Ok(code)
}

/// Of what the tests handed over, held against the page. None of them ran the check: nothing to say.
pub fn of_tests(columns: &[Column]) -> Result<u8> {
    let dir = fresh_dir()?;
    let mut files = Vec::new();
    for column in columns {
        if let Some(document) = column.documents.get(CHECK) {
            let file = dir.join(format!("{}.json", column.label));
            std::fs::write(&file, document.to_string())
                .with_context(|| format!("could not write {}", file.display()))?;
            files.push(file);
        }
    }
    if files.is_empty() {
        return Ok(cli::OK);
    }
    let programs = build::host(Profile::Release, Link::Static)?;
    println!();
    // A kernel of the user's has no column on the page.
    let pinned = Lock::read()?.kernels;
    let ours = columns
        .iter()
        .all(|column| column.label == HOST || pinned.iter().any(|pin| pin.label == column.label));
    let code = if ours {
        probes(&programs, &["--against"], Some(Path::new(PAGE)), &files)?
    } else {
        probes(&programs, &[], None, &files)?
    };
    if code != cli::OK {
        eprintln!("the matrix differs: if that is right, try `cargo xtask matrix --write`");
    }
    Ok(if code == cli::OK {
        cli::OK
    } else {
        cli::TEST_FAILED
    })
}

fn fresh_dir() -> Result<PathBuf> {
    let dir = dirs::target().join("matrix");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)
            .with_context(|| format!("could not empty {}", dir.display()))?;
    }
    dirs::made(dir)
}

/// `probes matrix` with these words, one of which may take a path.
fn probes(
    programs: &Programs,
    words: &[&str],
    path: Option<&Path>,
    files: &[PathBuf],
) -> Result<u8> {
    let mut command = Command::new(&programs.probes);
    command
        .arg("matrix")
        .args(words)
        .args(path)
        .args(files)
        .current_dir(dirs::root());
    sh::exit_code(&mut command)
}

fn words(args: &MatrixArgs, output: &Path) -> Vec<String> {
    let mut words: Vec<String> = ["check", "--json", "--size", SIZE]
        .map(str::to_owned)
        .into();
    if !args.only.is_empty() {
        words.extend(["--only".to_owned(), args.only.join(",")]);
    }
    words.extend(["--output".to_owned(), output.to_string_lossy().into_owned()]);
    words
}

/// The files of those guests that gave a document; one that gave none is an error after all have run.
fn in_guests(args: &MatrixArgs, dir: &Path) -> Result<Vec<PathBuf>> {
    let kernels = kernels(args)?;
    if kernels.is_empty() {
        return Ok(Vec::new());
    }
    let contents = guest::our_programs(image::default_packages())?;
    let results = PathBuf::from(format!("/dev/virtio-ports/{RESULTS_PORT}"));
    let mut argv = vec!["probes".to_owned()];
    argv.extend(words(args, &results));
    let guests: Vec<Guest> = kernels
        .into_iter()
        .map(|kernel| Guest {
            job: Job {
                argv: argv.clone(),
                env: BTreeMap::new(),
                timeout_s: args.guest.timeout_or(TIMEOUT_S).as_secs(),
            },
            kernel,
            contents: contents.clone(),
            args: args.guest.clone(),
        })
        .collect();
    let _step = sh::step("the check in guest kernels");
    let mut documents: BTreeMap<String, String> = BTreeMap::new();
    let ends = guest::run_all(&guests, |guest, said| {
        let label = &guest.kernel.label;
        match said {
            Said::Result(line) => {
                let document = documents.entry(label.clone()).or_default();
                document.push_str(line);
                document.push('\n');
            }
            Said::Note(note) => eprintln!("[{label}] {note}"),
            Said::Output(bytes) => eprint!("[{label}] {}", String::from_utf8_lossy(bytes)),
        }
    });
    let mut files = Vec::new();
    for (guest, end) in guests.iter().zip(ends) {
        let label = &guest.kernel.label;
        let end = end?.end;
        let document = documents
            .get(label)
            .with_context(|| format!("the check on {label} said nothing: {end}"))?;
        let file = dir.join(format!("{label}.json"));
        std::fs::write(&file, document)
            .with_context(|| format!("could not write {}", file.display()))?;
        files.push(file);
    }
    Ok(files)
}

/// The pinned ones that are asked for, and one of the user's.
fn kernels(args: &MatrixArgs) -> Result<Vec<Kernel>> {
    let (paths, mut labels): (Vec<String>, Vec<String>) = args
        .kernel
        .iter()
        .cloned()
        .partition(|name| name.contains('/'));
    let host = labels.iter().any(|label| label == HOST);
    labels.retain(|label| label != HOST);
    let mut kernels = Vec::new();
    // Without a word all; with the host's or a path's alone none of the pinned.
    if !labels.is_empty() || (paths.is_empty() && !host) {
        for pin in Lock::read()?.select(&labels)? {
            kernels.push(fetch::kernel(&pin)?.with_context(|| vm::gone(&pin.label))?);
        }
    }
    if paths.len() > 1 {
        bail!("could not take two kernels of yours: --modules belongs to one");
    }
    for path in paths {
        kernels.push(Kernel::of_path(Path::new(&path), args.modules.as_deref())?);
    }
    Ok(kernels)
}
