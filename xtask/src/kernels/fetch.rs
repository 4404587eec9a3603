//! From a pin to files: the packages by hash from the cache or the mirror, unpacked once.

use super::{Kernel, apt::Suite, hex_sha256, lock::Package, lock::Pin};
use crate::{dirs, sh};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A pin's kernel, or nothing when the mirror has replaced it.
pub fn kernel(pin: &Pin) -> Result<Option<Kernel>> {
    let home = dirs::made(dirs::cache()?.join("kernels"))?;
    let dir = home.join(pin.key());
    if !dir.is_dir() {
        let mut files = Vec::new();
        for package in &pin.packages {
            match package_file(pin, package)? {
                Some(file) => files.push(file),
                None => return Ok(None),
            }
        }
        unpack(pin, &files, &home, &dir)?;
    }
    Kernel::in_tree(&pin.label, &dir).map(Some)
}

/// The package from the cache or the mirror, its hash checked.
fn package_file(pin: &Pin, package: &Package) -> Result<Option<PathBuf>> {
    let home = dirs::made(dirs::cache()?.join("debs"))?;
    let kept = home.join(format!("{}.deb", package.sha256));
    if kept.is_file() {
        return Ok(Some(kept));
    }
    let suite = Suite::open(&pin.suite)?;
    let temp = tempfile::tempdir_in(&home)?;
    let mut found = suite.download(&package.name, &package.version, temp.path())?;
    if found.is_none() {
        suite.update()?;
        found = suite.download(&package.name, &package.version, temp.path())?;
    }
    let Some(file) = found else {
        return Ok(None);
    };
    let hash = hex_sha256(&std::fs::read(&file)?);
    if hash != package.sha256 {
        bail!(
            "could not use {} {}: its SHA-256 is {hash}, the lock file says {}; try `cargo xtask vm --relock` if the archive was rebuilt",
            package.name,
            package.version,
            package.sha256
        );
    }
    std::fs::rename(&file, &kept)?;
    Ok(Some(kept))
}

/// Into a folder beside the final one, which then appears at once and whole.
fn unpack(pin: &Pin, files: &[PathBuf], home: &Path, dir: &Path) -> Result<()> {
    let _step = sh::step(format!("unpack kernel {}", pin.label));
    let temp = tempfile::tempdir_in(home)?;
    for file in files {
        sh::output(
            Command::new("dpkg-deb")
                .arg("-x")
                .args([file.as_path(), temp.path()]),
        )?;
    }
    let _ = std::fs::remove_dir_all(temp.path().join("usr/share"));
    let whole = temp.keep();
    match std::fs::rename(&whole, dir) {
        Ok(()) => Ok(()),
        // Another run was faster.
        Err(_) if dir.is_dir() => Ok(std::fs::remove_dir_all(&whole)?),
        Err(error) => Err(error).with_context(|| format!("could not make {}", dir.display())),
    }
}
