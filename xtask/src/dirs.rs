//! Where things are: the workspace, its target folder, and the cache that fresh clones share.

use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// The workspace's root, from where this crate was compiled.
#[must_use]
pub fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

#[must_use]
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => {
            std::path::absolute(PathBuf::from(&dir)).unwrap_or_else(|_| dir.into())
        }
        _ => root().join("target"),
    }
}

/// Where the eBPF objects are after a build: one ELF per instrument.
#[must_use]
pub fn ebpf_objects() -> PathBuf {
    target().join("ebpf/bpfel-unknown-none/release")
}

/// Kernels and images by hash: a fresh clone finds what another one fetched.
pub fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => std::env::home_dir()
            .context("could not find a cache folder: no home folder; try setting XDG_CACHE_HOME")?
            .join(".cache"),
    };
    made(base.join("probes"))
}

/// The path, after making sure that the folder is there.
pub fn made(dir: PathBuf) -> Result<PathBuf> {
    std::fs::create_dir_all(&dir)
        .with_context(|| format!("could not make the folder {}", dir.display()))?;
    Ok(dir)
}
