//! Which Debian mirror this machine uses, read from its own apt sources: one-line `.list` files
//! and deb822 `.sources` files. Only the suite is changed for another release's kernel.

use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

pub const MIRROR_ENV: &str = "PROBES_DEBIAN_MIRROR";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Suites of the main archive; derived ones (`-security`, `-updates`) live elsewhere or hold less.
const SUITES: &[&str] = &[
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

/// One archive as a sources file names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    pub uri: String,
    pub suites: Vec<String>,
    pub components: Vec<String>,
}

impl Source {
    fn is_debian(&self) -> bool {
        self.suites.iter().any(|suite| SUITES.contains(&&**suite))
            && self.components.iter().any(|component| component == "main")
    }
}

/// The mirror, or how to name one.
pub fn mirror() -> Result<String> {
    if let Ok(uri) = std::env::var(MIRROR_ENV)
        && !uri.is_empty()
    {
        return Ok(uri);
    }
    files()
        .iter()
        .filter_map(|path| Some(parse(path, &std::fs::read_to_string(path).ok()?)))
        .flatten()
        .find(Source::is_debian)
        .map(|source| source.uri)
        .with_context(|| {
            format!("could not find a Debian mirror in this machine's apt sources; try setting {MIRROR_ENV}, or `--kernel PATH --modules DIR` with a kernel of yours")
        })
}

/// A one-line sources entry for another suite of it.
#[must_use]
pub fn line(mirror: &str, suite: &str) -> String {
    let signed = if Path::new(KEYRING).is_file() {
        format!(" signed-by={KEYRING}")
    } else {
        String::new()
    };
    format!("deb [arch=amd64{signed}] {mirror} {suite} main\n")
}

fn files() -> Vec<PathBuf> {
    let parts = std::fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten();
    let mut parts: Vec<PathBuf> = parts.flatten().map(|entry| entry.path()).collect();
    parts.retain(|path| matches!(extension(path), "list" | "sources"));
    parts.sort();
    parts.insert(0, "/etc/apt/sources.list".into());
    parts
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|ext| ext.to_str()).unwrap_or("")
}

fn parse(path: &Path, text: &str) -> Vec<Source> {
    match extension(path) {
        "sources" => deb822(text),
        _ => text.lines().filter_map(one_line).collect(),
    }
}

/// `deb [options] URI SUITE COMPONENT...`
fn one_line(line: &str) -> Option<Source> {
    let rest = line.split('#').next()?.trim().strip_prefix("deb ")?.trim();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source {
        uri: words.next()?,
        suites: vec![words.next()?],
        components: words.collect(),
    })
}

/// Stanzas of `Field: value`, with continuation lines; disabled ones and sources are left out.
fn deb822(text: &str) -> Vec<Source> {
    let mut stanzas: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(fields) = stanzas.last_mut() else {
            break;
        };
        if line.trim().is_empty() {
            stanzas.push(Vec::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    stanzas.iter().filter_map(|fields| stanza(fields)).collect()
}

fn stanza(fields: &[(String, String)]) -> Option<Source> {
    let words = |name: &str| -> Vec<String> {
        let value = fields.iter().find(|(field, _)| field == name);
        let value = value.map_or("", |(_, value)| value);
        value.split_whitespace().map(str::to_owned).collect()
    };
    let off = words("enabled").iter().any(|value| value == "no");
    if off || !words("types").iter().any(|kind| kind == "deb") {
        return None;
    }
    Some(Source {
        uri: words("uris").first()?.clone(),
        suites: words("suites"),
        components: words("components"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_one_line_entry_with_options_is_read() {
        let text = "# deb http://old.example/debian bookworm main\n\
            deb [signed-by=/k arch=amd64] http://mirror.example/debian bookworm main contrib # x\n\
            deb-src http://mirror.example/debian bookworm main\n";
        let found = parse(Path::new("sources.list"), text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].uri, "http://mirror.example/debian");
        assert_eq!(found[0].components, ["main", "contrib"]);
        assert!(found[0].is_debian());
    }

    #[test]
    fn deb822_stanzas_are_read_with_continuations() {
        let text = "Types: deb\n# a note\nURIs: http://mirror.example/debian\nSuites: trixie\n trixie-updates\nComponents: main\n\n\
            Types: deb-src\nURIs: http://src.example\nSuites: trixie\nComponents: main\n\n\
            Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: trixie\nComponents: main\n";
        let found = parse(Path::new("debian.sources"), text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].suites, ["trixie", "trixie-updates"]);
    }

    #[test]
    fn security_and_foreign_archives_are_not_the_mirror() {
        let security = one_line("deb http://m.example/security bookworm-security main").unwrap();
        let foreign = one_line("deb http://m.example/sdk cloud-sdk-bookworm main").unwrap();
        assert!(!security.is_debian() && !foreign.is_debian());
    }
}
