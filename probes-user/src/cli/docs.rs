//! `probes docs --write|--check`: tables in the documentation that are made from the registry.
//!
//! A generated part stands between `<!-- probes:NAME -->` and `<!-- /probes -->`; the rest is left alone.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::ArgMatches;

use super::output::print;
use crate::exit::{Exit, usage};
use crate::instrument::INSTRUMENTS;
use crate::trace::TRACES;

/// # Errors
/// A page that is missing, unreadable, without its markers, or (with --check) out of date.
pub fn run(args: &ArgMatches) -> Result<Exit> {
    let root = args.get_one::<String>("root").map_or(".", String::as_str);
    let (write, check) = (args.get_flag("write"), args.get_flag("check"));
    if write == check {
        return usage("docs takes --write or --check");
    }
    let mut stale = Vec::new();
    for page in pages() {
        let path = Path::new(root).join(&page);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "could not read {}: every trace and instrument has a page",
                path.display()
            )
        })?;
        let fresh =
            regenerate(&text).with_context(|| format!("could not generate {}", path.display()))?;
        if fresh != text {
            if write {
                std::fs::write(&path, fresh)
                    .with_context(|| format!("could not write {}", path.display()))?;
            }
            stale.push(page);
        }
    }
    if check && !stale.is_empty() {
        bail!("out of date: {}; run `cargo xtask docs`", stale.join(", "));
    }
    let said = if stale.is_empty() {
        "documentation is up to date".to_owned()
    } else {
        format!("wrote {}", stale.join(", "))
    };
    print(format!("{said}\n").as_bytes())?;
    Ok(Exit::Settled)
}

fn pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned()];
    pages.extend(
        TRACES
            .iter()
            .map(|trace| format!("docs/traces/{}.md", trace.name())),
    );
    pages.extend(
        INSTRUMENTS
            .iter()
            .map(|instrument| format!("docs/instruments/{}.md", instrument.name)),
    );
    pages
}

/// The page with every generated part made anew.
fn regenerate(text: &str) -> Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("<!-- probes:") {
        let head_end = start + rest[start..].find("-->").context("an unclosed marker")? + 3;
        let name = rest[start + "<!-- probes:".len()..head_end - 3].trim();
        let end = head_end
            + rest[head_end..]
                .find("<!-- /probes -->")
                .context("a marker without its end")?;
        let _written = write!(out, "{}\n{}", &rest[..head_end], part(name)?);
        rest = &rest[end..];
    }
    out.push_str(rest);
    Ok(out)
}

fn part(name: &str) -> Result<String> {
    let mut words = name.split_whitespace();
    Ok(match (words.next(), words.next()) {
        (Some("traces"), None) => traces(),
        (Some("claims"), Some(trace)) => claims(trace)?,
        (Some("hooks"), Some(instrument)) => hooks(instrument)?,
        (Some("uses"), Some(trace)) => uses(trace)?,
        _ => bail!("no generated part {name:?}"),
    })
}

fn traces() -> String {
    let mut out = "| trace | question | claims |\n|---|---|---|\n".to_owned();
    for trace in TRACES {
        let name = trace.name();
        let _written = writeln!(
            out,
            "| [{name}](docs/traces/{name}.md) | {} | {} |",
            trace.summary(),
            trace.claims().len()
        );
    }
    out
}

fn claims(trace: &str) -> Result<String> {
    let trace = crate::trace::find(trace).with_context(|| format!("no trace {trace}"))?;
    let mut out = "| claim | statement | holds if | refuted if |\n|---|---|---|---|\n".to_owned();
    for claim in trace.claims() {
        let _written = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            claim.id, claim.statement, claim.holds_if, claim.refuted_if
        );
    }
    Ok(out)
}

fn hooks(name: &str) -> Result<String> {
    let instrument = INSTRUMENTS
        .iter()
        .find(|i| i.name == name)
        .with_context(|| format!("no instrument {name}"))?;
    let mut out = "| hook | ladder | lost without it |\n|---|---|---|\n".to_owned();
    for hook in instrument.hooks {
        let ladder: Vec<&str> = hook.ladder.iter().map(|rung| rung.name()).collect();
        let _written = writeln!(
            out,
            "| `{}` | {} | {} |",
            hook.program,
            ladder.join(" → "),
            hook.lost_without
        );
    }
    Ok(out)
}

fn uses(trace: &str) -> Result<String> {
    let trace = crate::trace::find(trace).with_context(|| format!("no trace {trace}"))?;
    let mut names: Vec<&str> = trace
        .hooks()
        .iter()
        .filter_map(|program| crate::instrument::hook::hook(program))
        .map(|(instrument, _)| instrument.name)
        .collect();
    names.dedup();
    names.sort_unstable();
    names.dedup();
    let links: Vec<String> = names
        .iter()
        .map(|name| format!("[{name}](../instruments/{name}.md)"))
        .collect();
    let needs: Vec<String> = crate::session::start::needs(trace)
        .iter()
        .map(|hook| format!("`{hook}`"))
        .collect();
    Ok(format!(
        "Instruments: {}. No verdict without: {}.\n",
        links.join(", "),
        needs.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_parts_replace_only_what_is_between_their_markers() {
        let page = "head\n<!-- probes:hooks sched -->\nold\n<!-- /probes -->\ntail\n";
        let fresh = regenerate(page).unwrap();
        assert!(
            fresh.starts_with("head\n<!-- probes:hooks sched -->\n| hook |"),
            "{fresh}"
        );
        assert!(fresh.contains("`sched_waking`") && !fresh.contains("\nold\n"));
        assert!(fresh.ends_with("<!-- /probes -->\ntail\n"));
        assert_eq!(regenerate(&fresh).unwrap(), fresh);
    }

    #[test]
    fn unknown_parts_are_errors() {
        assert!(regenerate("<!-- probes:nothing -->\n<!-- /probes -->").is_err());
        assert!(regenerate("<!-- probes:hooks sched -->\n").is_err());
    }
}
