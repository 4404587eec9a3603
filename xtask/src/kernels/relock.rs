//! `cargo xtask vm --relock`: pins the kernels that the mirror has now. Only on request: a kernel
//! that changes under a test's feet is not a pinned kernel.

use super::apt::{self, Shown, Suite};
use super::lock::{Lock, Package, Pin};
use anyhow::{Context as _, Result};

/// The package of each suite that depends on its newest small kernel.
const META: &str = "linux-image-cloud-amd64";

pub fn relock() -> Result<()> {
    let mut lock = Lock::read()?;
    for pin in &mut lock.kernels {
        let now = newest(pin)?;
        for (package, old) in now.packages.iter().zip(&pin.packages) {
            let word = if package.sha256 == old.sha256 {
                "stays"
            } else {
                "was"
            };
            println!(
                "{:<6} {} {} ({word} {})",
                now.label, package.name, package.version, old.version
            );
        }
        *pin = now;
    }
    lock.write()?;
    println!("wrote {}", Lock::path().display());
    Ok(())
}

fn newest(pin: &Pin) -> Result<Pin> {
    let suite = Suite::open(&pin.suite)?;
    suite.update()?;
    let meta = suite.show(META)?;
    let image = apt::names(&meta.depends)
        .find(|name| name.starts_with("linux-image-"))
        .with_context(|| {
            format!(
                "could not find the kernel that {META} of {} means",
                pin.suite
            )
        })?;
    let image = suite.show(image)?;
    let parts: Vec<&str> = apt::names(&image.depends)
        .filter(|name| name.starts_with("linux-binary-") || name.starts_with("linux-modules-"))
        .collect();
    let packages = if parts.is_empty() {
        vec![pinned(image.clone())]
    } else {
        let shown = parts.iter().map(|name| suite.show(name));
        shown
            .map(|shown| shown.map(pinned))
            .collect::<Result<_>>()?
    };
    Ok(Pin {
        label: series(&image.version),
        suite: pin.suite.clone(),
        rolling: pin.rolling,
        packages,
    })
}

fn pinned(shown: Shown) -> Package {
    Package {
        name: shown.name,
        version: shown.version,
        file: shown.file,
        sha256: shown.sha256,
    }
}

/// 6.12 of 6.12.117-1.
fn series(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_the_series_of_the_version() {
        assert_eq!(series("6.12.117-1"), "6.12");
        assert_eq!(series("7.2.13-1"), "7.2");
    }
}
