//! The real mkfs, told to leave nothing for later: no lazy initialisation in the background and no discard,
//! which would take the backing file's blocks away.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Fs;

const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"];
/// Below this mkfs.xfs wants to be told that it is meant.
const SMALL_XFS: u64 = 300 << 20;

/// What to install where the file system's mkfs is missing.
pub fn lacks(fs: Fs) -> Option<String> {
    let (program, package) = match fs {
        Fs::Raw => return None,
        Fs::Ext4 => ("mkfs.ext4", "e2fsprogs"),
        Fs::Xfs => ("mkfs.xfs", "xfsprogs"),
    };
    let lack = || format!("{program} is not there; try: apt-get install {package}");
    find(program).is_none().then(lack)
}

fn find(program: &str) -> Option<PathBuf> {
    let paths = FOLDERS.iter().map(|folder| Path::new(folder).join(program));
    paths.into_iter().find(|path| path.is_file())
}

pub fn make(fs: Fs, device: &Path, size: u64) -> Result<()> {
    match fs {
        Fs::Raw => Ok(()),
        Fs::Ext4 => {
            let lazy = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
            run("mkfs.ext4", &["-q", "-F", "-E", lazy], device)
        }
        Fs::Xfs if size < SMALL_XFS => {
            // Older ones know no such limit and no such option.
            run("mkfs.xfs", &["-q", "-f", "-K", "--unsupported"], device)
                .or_else(|_| run("mkfs.xfs", &["-q", "-f", "-K"], device))
        }
        Fs::Xfs => run("mkfs.xfs", &["-q", "-f", "-K"], device),
    }
}

fn run(program: &str, options: &[&str], device: &Path) -> Result<()> {
    let path = find(program).with_context(|| format!("{program} is gone"))?;
    let out = Command::new(path)
        .args(options)
        .arg(device)
        .output()
        .with_context(|| format!("could not start {program}"))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        let first = said.lines().find(|line| !line.trim().is_empty());
        bail!("{program} failed: {}", first.unwrap_or("no reason given"));
    }
    Ok(())
}
