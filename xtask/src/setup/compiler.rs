//! Which compiler can build for the BPF target: it needs the sources of `core` beside it, and the
//! right to use unstable flags. First a rustup nightly with rust-src (the usual machine of a
//! developer), else a distribution's rustc with its sources package.

use super::apt;
use crate::sh;
use anyhow::Result;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const SYSTEM_RUSTC: &str = "/usr/bin/rustc";
/// Older ones cannot build what aya-ebpf needs.
const OLDEST_SYSTEM_RUSTC: u32 = 90;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    Nightly { toolchain: String },
    System { release: String, llvm: u32 },
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nightly { toolchain } => write!(f, "rustup's {toolchain}"),
            Self::System { release, llvm } => {
                write!(f, "{SYSTEM_RUSTC} {release} (LLVM {llvm})")
            }
        }
    }
}

impl Compiler {
    pub fn find() -> Result<Option<Self>> {
        Ok(match nightly()? {
            Some(found) => Some(found),
            None => system(Path::new(SYSTEM_RUSTC)),
        })
    }

    /// A cargo that uses it.
    #[must_use]
    pub fn cargo(&self) -> Command {
        match self {
            Self::Nightly { toolchain } => {
                let mut cargo = Command::new("rustup");
                cargo
                    .args(["run", toolchain, "cargo"])
                    .env_remove("CARGO")
                    .env_remove("RUSTC");
                cargo
            }
            Self::System { .. } => {
                let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
                let mut cargo = Command::new(cargo);
                cargo
                    .env("RUSTC", SYSTEM_RUSTC)
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env_remove("RUSTC_WRAPPER");
                cargo
            }
        }
    }
}

/// The first nightly of rustup that has the standard library's sources.
fn nightly() -> Result<Option<Compiler>> {
    if sh::find("rustup").is_none() {
        return Ok(None);
    }
    let list = sh::output(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    for name in nightlies(&list) {
        let sysroot =
            sh::output(Command::new("rustup").args(["run", name, "rustc", "--print", "sysroot"]));
        if sysroot.is_ok_and(|root| has_sources(Path::new(root.trim()))) {
            return Ok(Some(Compiler::Nightly {
                toolchain: name.to_owned(),
            }));
        }
    }
    Ok(None)
}

fn nightlies(list: &str) -> impl Iterator<Item = &str> {
    list.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"))
}

fn has_sources(sysroot: &Path) -> bool {
    sysroot
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .is_file()
}

/// The distribution's compiler, if it is young enough and has its sources.
fn system(rustc: &Path) -> Option<Compiler> {
    let found = system_version(rustc)?;
    let sysroot = sh::output(Command::new(rustc).args(["--print", "sysroot"])).ok()?;
    has_sources(Path::new(sysroot.trim())).then_some(found)
}

/// Its version alone: says which LLVM and which linker it wants.
#[must_use]
pub fn system_version(rustc: &Path) -> Option<Compiler> {
    if !rustc.is_file() {
        return None;
    }
    parse_version(&sh::output(Command::new(rustc).arg("-vV")).ok()?)
}

fn parse_version(text: &str) -> Option<Compiler> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let release = field("release: ")?;
    let minor: u32 = release.split('.').nth(1)?.parse().ok()?;
    let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
    (minor >= OLDEST_SYSTEM_RUSTC).then(|| Compiler::System {
        release: release.to_owned(),
        llvm,
    })
}

/// PATH for building with bpf-linker: where cargo installs comes first.
pub fn linker_path() -> Result<std::ffi::OsString> {
    sh::path_with(&sh::cargo_bin().into_iter().collect::<Vec<_>>())
}

/// Where a distribution keeps one LLVM's own tools.
#[must_use]
pub fn llvm_bin(llvm: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/llvm-{llvm}/bin"))
}

/// The packages with a compiler and its sources: the first pair that this machine's lists have.
#[must_use]
pub fn candidate() -> Option<[&'static str; 2]> {
    [["rustc-web", "rust-web-src"], ["rustc", "rust-src"]]
        .into_iter()
        .find(|pair| {
            pair.iter().all(|package| {
                apt::candidate(package).is_some_and(|version| young_enough(&version))
            })
        })
}

fn young_enough(version: &str) -> bool {
    let minor = version.split('.').nth(1).and_then(|part| part.parse().ok());
    minor.is_some_and(|minor: u32| minor >= OLDEST_SYSTEM_RUSTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nightlies_are_taken_from_the_list() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default)\nnightly-2026-05-01-x86_64-unknown-linux-gnu\n1.95.0-x86_64\n";
        assert_eq!(
            nightlies(list).collect::<Vec<_>>(),
            ["nightly-2026-05-01-x86_64-unknown-linux-gnu"]
        );
    }

    #[test]
    fn the_llvm_major_is_read_from_the_compiler() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25)\nhost: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        let found = parse_version(text).unwrap();
        assert_eq!(
            found,
            Compiler::System {
                release: "1.96.0".into(),
                llvm: 22
            }
        );
    }

    #[test]
    fn an_old_compiler_is_not_taken() {
        assert_eq!(
            parse_version("release: 1.63.0\nLLVM version: 14.0.6\n"),
            None
        );
        assert!(!young_enough("1.63.0+dfsg1-2"));
        assert!(young_enough("1.96.0+dfsg1-1~deb12u2"));
    }
}
