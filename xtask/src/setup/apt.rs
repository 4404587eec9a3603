//! Debian's package tools: what is installed, what could be, and installing it without starting
//! any service on this machine.

use crate::sh;
use anyhow::Result;
use std::process::Command;

/// Installs and nothing more: a policy file keeps packages from starting their services, and is
/// taken away again whatever happens.
const INSTALL: &str = r#"
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends "$@" >/dev/null
"#;

#[must_use]
pub fn available() -> bool {
    sh::find("apt-get").is_some() && sh::find("dpkg-query").is_some()
}

#[must_use]
pub fn installed(package: &str) -> bool {
    let status = sh::output(Command::new("dpkg-query").args(["-W", "-f=${Status}", package]));
    status.is_ok_and(|status| status == "install ok installed")
}

/// The version that apt would install.
#[must_use]
pub fn candidate(package: &str) -> Option<String> {
    let text = sh::output(Command::new("apt-cache").args(["policy", package])).ok()?;
    let version = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

pub fn update() -> Result<()> {
    let _step = sh::step("apt-get update");
    sh::run(sh::as_root("apt-get").args(["update", "-qq"]))
}

pub fn install(packages: &[String]) -> Result<()> {
    let _step = sh::step(format!("apt-get install {}", packages.join(" ")));
    sh::run(sh::as_root("sh").args(["-c", INSTALL, "sh"]).args(packages))
}

/// Keeps a service that we installed from starting with the machine.
pub fn disable_service(name: &str) {
    let disabled = if sh::find("systemctl").is_some() {
        sh::succeeds(sh::as_root("systemctl").args(["disable", "--now", name]))
    } else {
        sh::succeeds(sh::as_root("update-rc.d").args([name, "disable"]))
    };
    if !disabled {
        eprintln!("    note: the service {name} may start with the machine; it is not needed");
    }
}
