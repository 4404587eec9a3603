//! apt-get for another Debian release: its own sources line, lists and cache, so that neither the
//! machine's lists nor its packages are touched, and no root is needed.

use super::sources;
use crate::{dirs, sh};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What apt knows of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub name: String,
    pub version: String,
    pub depends: String,
    pub file: String,
    pub sha256: String,
}

/// The apt state of one suite.
#[derive(Debug)]
pub struct Suite {
    name: String,
    dir: PathBuf,
}

impl Suite {
    pub fn open(name: &str) -> Result<Self> {
        if sh::find("apt-get").is_none() {
            bail!(
                "could not find apt-get to fetch Debian's kernels; try `--kernel PATH --modules DIR` with a kernel of yours"
            );
        }
        let dir = dirs::made(dirs::cache()?.join("apt").join(name))?;
        dirs::made(dir.join("lists/partial"))?;
        dirs::made(dir.join("archives/partial"))?;
        let line = sources::line(&sources::mirror()?, name);
        std::fs::write(dir.join("sources.list"), line)?;
        Ok(Self {
            name: name.to_owned(),
            dir,
        })
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let dir = self.dir.display();
        for option in [
            format!("Dir::Etc::sourcelist={dir}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".into(),
            "Dir::Etc::preferencesparts=/dev/null".into(),
            format!("Dir::State::Lists={dir}/lists"),
            "Dir::State::status=/dev/null".into(),
            format!("Dir::Cache={dir}"),
            "APT::Architecture=amd64".into(),
            "APT::Sandbox::User=".into(),
            "Acquire::Languages=none".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            "Acquire::Retries=3".into(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }

    pub fn update(&self) -> Result<()> {
        let _step = sh::step(format!("package lists of {}", self.name));
        sh::output(self.apt("apt-get").args(["update", "-qq"]))
            .with_context(|| format!("could not read the package lists of {}", self.name))?;
        Ok(())
    }

    pub fn show(&self, package: &str) -> Result<Shown> {
        let text = sh::output(
            self.apt("apt-cache")
                .args(["show", "--no-all-versions", package]),
        )
        .with_context(|| format!("could not find {package} in {}", self.name))?;
        parse(&text).with_context(|| format!("could not understand apt's words on {package}"))
    }

    /// Fetches one version into a folder; `None` when the suite does not have it any more.
    pub fn download(&self, package: &str, version: &str, into: &Path) -> Result<Option<PathBuf>> {
        let wanted = format!("{package}={version}");
        let known = sh::output(self.apt("apt-cache").args(["show", &wanted]));
        if !known.is_ok_and(|text| text.contains("\nFilename:")) {
            return Ok(None);
        }
        let _step = sh::step(format!("fetch {wanted}"));
        sh::output(
            self.apt("apt-get")
                .args(["download", "-qq", &wanted])
                .current_dir(into),
        )?;
        let entries = std::fs::read_dir(into)?.flatten().map(|entry| entry.path());
        let prefix = format!("{package}_");
        let file = entries.into_iter().find(|path| {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name.starts_with(&prefix))
        });
        Ok(Some(file.with_context(|| {
            format!("could not find what apt fetched for {wanted}")
        })?))
    }
}

fn parse(text: &str) -> Option<Shown> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().to_owned())
    };
    Some(Shown {
        name: field("Package:")?,
        version: field("Version:")?,
        depends: field("Depends:").unwrap_or_default(),
        file: field("Filename:")?,
        sha256: field("SHA256:")?,
    })
}

/// The names in a `Depends` field, without versions and alternatives.
pub fn names(depends: &str) -> impl Iterator<Item = &str> {
    depends
        .split(',')
        .filter_map(|one| one.split_whitespace().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_shows_is_read() {
        let text = "Package: linux-image-6.1.0-50-cloud-amd64\nVersion: 6.1.176-1\nDepends: kmod, linux-base (>= 4.3~)\nFilename: pool/main/l/x.deb\nSHA256: abc\n";
        let shown = parse(text).unwrap();
        assert_eq!(shown.version, "6.1.176-1");
        assert_eq!(
            names(&shown.depends).collect::<Vec<_>>(),
            ["kmod", "linux-base"]
        );
    }
}
