//! `probes matrix`: documents of `probes check --json`, from as many kernels, as one report.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use super::output::print;
use crate::check::matrix::{Check, Matrix, against, document, markdown, text};
use crate::check::render;
use crate::exit::{Exit, usage};
use crate::trace::TRACES;

#[derive(Debug, Clone, Args)]
pub struct MatrixArgs {
    /// Documents of `probes check --json`, a column each
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// One JSON document (schema probes.matrix/1)
    #[arg(short, long, conflicts_with = "markdown")]
    pub json: bool,
    /// As a page
    #[arg(short, long)]
    pub markdown: bool,
    /// Write it to a file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Fail where the results of such a page are others
    #[arg(long, value_name = "PAGE")]
    pub against: Option<PathBuf>,
}

pub const EXAMPLES: &str = "Examples:
  sudo probes check --json -o old.json           on the one kernel
  sudo probes check --json -o new.json           on the other
  probes matrix old.json new.json                where they differ, and what separates them

Exit codes: 0 as expected; 1 a claim differs from what is known, or from the page; 3 a lab could not run; 4 not
settled.";

/// The name of the file of the kernel that runs here, which a page need not have.
const HERE: &str = "host";

/// # Errors
/// A file that is no such document; one that cannot be written.
pub fn run(args: &MatrixArgs) -> Result<Exit> {
    let mut checks = Vec::new();
    for path in &args.files {
        let name = path.file_stem().unwrap_or(path.as_os_str());
        checks.push((name.to_string_lossy().into_owned(), read(path)?));
    }
    let matrix = Matrix::of(checks);
    let said = match (args.json, args.markdown) {
        (true, _) => format!("{:#}\n", document::document(&matrix)),
        (_, true) => markdown::markdown(&matrix),
        _ => text::text(&matrix),
    };
    match &args.output {
        Some(path) => std::fs::write(path, said)
            .with_context(|| format!("could not write {}", path.display()))?,
        None => print(said.as_bytes())?,
    }
    let Some(page) = &args.against else {
        return Ok(matrix.exit());
    };
    Ok(match held_against(&matrix, page)? {
        true => matrix.exit(),
        false => Exit::Differs,
    })
}

fn held_against(matrix: &Matrix, page: &Path) -> Result<bool> {
    let name = page.display();
    let text = std::fs::read_to_string(page).with_context(|| format!("could not read {name}"))?;
    let claims: Vec<&str> = TRACES
        .iter()
        .flat_map(|its| its.claims())
        .map(|its| its.id)
        .collect();
    let differences = against::differences(matrix, &text, &claims, HERE);
    for difference in &differences {
        eprintln!("{name} is out of date: {difference}");
    }
    Ok(differences.is_empty())
}

fn read(path: &Path) -> Result<Check> {
    let text = std::fs::read_to_string(path).map_err(anyhow::Error::from);
    let schema = |check: &Check| check.schema == render::SCHEMA;
    match text.and_then(|text| Ok(serde_json::from_str::<Check>(&text)?)) {
        Ok(check) if schema(&check) => Ok(check),
        Ok(check) => usage(format!(
            "{} is a document of {}, not of {}",
            path.display(),
            check.schema,
            render::SCHEMA
        )),
        Err(error) => usage(format!(
            "could not read {} as a document of `probes check --json`: {error:#}",
            path.display()
        )),
    }
}
