//! One missing thing, its remedy, and how it is installed. Looking never changes anything.

use super::compiler::{self, Compiler};
use super::{Need, apt, packages};
use crate::sh;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

const LINKER: &str = "bpf-linker";
const LINKER_VERSION: &str = "0.13.0";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// Debian packages, and the program or file that shows them.
    Packages { what: String, packages: Vec<String> },
    /// bpf-linker, against an LLVM of the distribution or rustup's own.
    Linker { llvm: Option<u32> },
    /// A nightly with its sources, through rustup.
    Nightly,
    /// Nothing that we can install here.
    ByHand { what: String, remedy: String },
}

impl Missing {
    #[must_use]
    pub fn what(&self) -> &str {
        match self {
            Self::Packages { what, .. } | Self::ByHand { what, .. } => what,
            Self::Linker { .. } => LINKER,
            Self::Nightly => "eBPF compiler",
        }
    }

    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Packages { packages, .. } => format!("apt-get install {}", packages.join(" ")),
            Self::Linker { .. } => sh::shown(&self.linker_install()),
            Self::Nightly => sh::shown(&nightly_install()),
            Self::ByHand { remedy, .. } => remedy.clone(),
        }
    }

    fn linker_install(&self) -> Command {
        let mut cargo = Command::new("cargo");
        cargo.args(["install", LINKER]);
        if let Self::Linker { llvm: Some(llvm) } = self {
            cargo
                .args(["--version", LINKER_VERSION, "--locked"])
                .arg("--no-default-features")
                .args(["--features", &format!("llvm-{llvm}")]);
        }
        cargo
    }
}

fn nightly_install() -> Command {
    let mut rustup = Command::new("rustup");
    rustup.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
    rustup.args(["--component", "rust-src"]);
    rustup
}

/// What this machine lacks.
pub fn look(need: Need) -> Result<Vec<Missing>> {
    let mut missing = Vec::new();
    match Compiler::find()? {
        Some(found) => missing.extend(linker(&found)),
        None => missing.extend(no_compiler()),
    }
    if need == Need::Tests {
        missing.extend(tests());
    }
    Ok(missing)
}

fn linker(compiler: &Compiler) -> Vec<Missing> {
    if sh::find(LINKER).is_some() {
        return Vec::new();
    }
    match compiler {
        Compiler::Nightly { .. } => vec![Missing::Linker { llvm: None }],
        Compiler::System { llvm, .. } => {
            let mut missing = Vec::new();
            let config = compiler::llvm_bin(*llvm).join("llvm-config");
            if !config.is_file() {
                missing.push(Missing::Packages {
                    what: format!("LLVM {llvm}"),
                    packages: [format!("llvm-{llvm}-dev"), "zlib1g-dev".into()].into(),
                });
            }
            missing.push(Missing::Linker { llvm: Some(*llvm) });
            missing
        }
    }
}

fn no_compiler() -> Vec<Missing> {
    if apt::available() {
        let pair = compiler::candidate().unwrap_or(["rustc-web", "rust-web-src"]);
        return vec![Missing::Packages {
            what: "eBPF compiler".into(),
            packages: pair.map(str::to_owned).into(),
        }];
    }
    if sh::find("rustup").is_some() {
        return vec![Missing::Nightly];
    }
    vec![Missing::ByHand {
        what: "eBPF compiler".into(),
        remedy: "install rustup, then: rustup toolchain install nightly --component rust-src && \
                 cargo install bpf-linker (Fedora: dnf install rustup; Arch: pacman -S rustup)"
            .into(),
    }]
}

fn tests() -> Vec<Missing> {
    let tools = packages::GUEST_TOOLS
        .iter()
        .filter(|(program, _)| sh::find(program).is_none());
    let servers = packages::SERVERS
        .iter()
        .filter(|(file, _)| !Path::new(file).exists());
    tools
        .chain(servers)
        .map(|(what, package)| package_or_hand(what, package))
        .collect()
}

fn package_or_hand(what: &str, package: &str) -> Missing {
    let name = what.trim_end_matches("/__init__.py");
    let what = name.rsplit('/').next().unwrap_or(name).to_owned();
    if apt::available() {
        return Missing::Packages {
            what,
            packages: vec![package.to_owned()],
        };
    }
    let remedy = if sh::find("pacman").is_some() {
        packages::ARCH.to_owned()
    } else if sh::find("dnf").is_some() {
        packages::FEDORA.to_owned()
    } else {
        format!("install what your distribution calls {package}")
    };
    Missing::ByHand { what, remedy }
}

/// Installs packages in one go, then what cargo and rustup install.
pub fn install(missing: &[Missing]) -> Result<()> {
    let wanted: Vec<String> = missing
        .iter()
        .filter_map(|item| match item {
            Missing::Packages { packages, .. } => Some(packages.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    if !wanted.is_empty() {
        apt::install(&wanted)?;
        for (package, service) in packages::SERVICES {
            if wanted.iter().any(|name| name == package) {
                apt::disable_service(service);
            }
        }
    }
    for item in missing {
        match item {
            Missing::Packages { .. } => {}
            Missing::Nightly => {
                let _step = sh::step(item.remedy());
                sh::run(&mut nightly_install())?;
            }
            Missing::Linker { llvm } => install_linker(item, *llvm)?,
            Missing::ByHand { what, remedy } => {
                bail!("could not install {what} on this machine; try: {remedy}")
            }
        }
    }
    Ok(())
}

fn install_linker(item: &Missing, llvm: Option<u32>) -> Result<()> {
    let _step = sh::step(item.remedy());
    let mut cargo = item.linker_install();
    crate::build::clean_env(&mut cargo);
    let first: Vec<_> = llvm.map(compiler::llvm_bin).into_iter().collect();
    // Its own folder: the workspace's configuration and target folder are not its business.
    cargo
        .env("PATH", sh::path_with(&first)?)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTC")
        .current_dir("/");
    sh::run(&mut cargo)?;
    if sh::find(LINKER).is_none() {
        bail!("could not find {LINKER} after installing it; try adding cargo's bin folder to PATH");
    }
    Ok(())
}
