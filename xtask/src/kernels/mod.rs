//! Kernels for the guests: pinned in a lock file, fetched with apt, checked by hash, kept in the
//! cache; or any bzImage of the user's.

pub mod apt;
pub mod fetch;
pub mod lock;
pub mod modules;
pub mod relock;
pub mod sources;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A kernel that can boot.
#[derive(Debug, Clone)]
pub struct Kernel {
    pub label: String,
    pub image: PathBuf,
    /// The folder with `kernel/` in it; none for a kernel with everything built in.
    pub modules: Option<PathBuf>,
}

impl Kernel {
    /// From an unpacked Debian package: the image in /boot, or beside the modules.
    fn in_tree(label: &str, dir: &Path) -> Result<Self> {
        let homes = ["lib/modules", "usr/lib/modules"].map(|home| dir.join(home));
        let modules = homes.iter().find_map(|home| first(home, ""));
        let image = first(&dir.join("boot"), "vmlinuz-").or_else(|| {
            let beside = modules.as_ref()?.join("vmlinuz");
            beside.is_file().then_some(beside)
        });
        Ok(Self {
            label: label.to_owned(),
            image: image
                .with_context(|| format!("could not find a kernel image in {}", dir.display()))?,
            modules,
        })
    }

    /// A kernel of the user's.
    pub fn of_path(image: &Path, modules: Option<&Path>) -> Result<Self> {
        let image = image
            .canonicalize()
            .with_context(|| format!("could not find the kernel image {}", image.display()))?;
        let label = image
            .file_name()
            .map_or("custom".into(), |name| name.to_string_lossy().into_owned());
        Ok(Self {
            label,
            image,
            modules: modules.map(Path::to_path_buf),
        })
    }
}

fn first(dir: &Path, prefix: &str) -> Option<PathBuf> {
    let mut entries: Vec<_> = std::fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    entries.into_iter().next()
}

#[must_use]
pub fn hex_sha256(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
