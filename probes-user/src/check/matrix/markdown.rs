//! The matrix as a page: results first, which a later run is held against, then differences, numbers, circumstances.

use std::fmt::Write as _;

use super::against::{END, HEAD};
use super::explain::{self, Fact};
use super::text::{known, labels, told, why};
use super::{Cell, Difference, Matrix, Row};

const INTRO: &str = "# Kernels

What `probes check` finds on each kernel of the project, side by side. `cargo xtask matrix --write` makes this
page; `cargo xtask test` measures again and fails where a result is another one than here. Numbers vary.

`holds` and `refuted` are both settled ([principles](principles.md)). The last column says where kernels differ:
by result, by the reason for one result (what is known of them differs), or by the deciding number.
";

pub fn markdown(matrix: &Matrix) -> String {
    let mut page = format!("{INTRO}\n{HEAD}\n");
    table(&mut page, matrix, Some("differs"), |row| {
        let mut cells: Vec<String> = of(row, |cell| cell.result.clone());
        cells.push(
            row.difference
                .as_ref()
                .map_or("", |its| its.by.word())
                .to_owned(),
        );
        cells
    });
    let _written = writeln!(page, "{END}\n\n## Where they differ\n");
    for row in &matrix.rows {
        if let Some(difference) = &row.difference {
            differs(&mut page, matrix, row, difference);
        }
    }
    page.push_str("## Deciding numbers\n\n");
    table(&mut page, matrix, None, |row| of(row, Cell::amount));
    page.push_str(
        "\n## What these kernels have\n\nSettings as a fresh network namespace has them, functions, and how hooks \
         attached; only what is not the same on all.\n\n",
    );
    facts(&mut page, matrix, &explain::all(&matrix.columns));
    let releases: Vec<String> = matrix
        .columns
        .iter()
        .map(|column| format!("{} is `{}`", column.label, column.check.kernel))
        .collect();
    let _written = writeln!(page, "\n{}.", releases.join(", "));
    page
}

fn of(row: &Row, say: impl Fn(&Cell) -> String) -> Vec<String> {
    row.cells
        .iter()
        .map(|cell| cell.as_ref().map_or_else(|| "-".to_owned(), &say))
        .collect()
}

fn table(
    page: &mut String,
    matrix: &Matrix,
    last: Option<&str>,
    cells: impl Fn(&Row) -> Vec<String>,
) {
    let mut heading: Vec<String> = matrix.columns.iter().map(|its| its.label.clone()).collect();
    heading.extend(last.map(str::to_owned));
    line(page, "claim", &heading);
    line(page, "---", &vec!["---".to_owned(); heading.len()]);
    for row in &matrix.rows {
        line(page, &format!("`{}`", row.id), &cells(row));
    }
}

fn line(page: &mut String, first: &str, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    let _written = writeln!(page, "| {first} | {} |", cells.join(" | "));
}

fn differs(page: &mut String, matrix: &Matrix, row: &Row, difference: &Difference) {
    let _written = writeln!(page, "### `{}`, by {}\n", row.id, difference.by.word());
    for (group, cell) in told(row, difference) {
        let on = labels(matrix, group);
        let _written = writeln!(page, "- **{on}**: {}, {}", cell.result, cell.because);
    }
    page.push('\n');
    for (group, source) in known(row, difference) {
        let on = labels(matrix, &group);
        let _written = writeln!(page, "Known of {on}: {source}.\n");
    }
    let _written = writeln!(page, "{}.\n", capital(&why(matrix, difference)));
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

fn facts(page: &mut String, matrix: &Matrix, facts: &[Fact]) {
    let heading: Vec<String> = matrix.columns.iter().map(|its| its.label.clone()).collect();
    line(page, "what", &heading);
    line(page, "---", &vec!["---".to_owned(); heading.len()]);
    for fact in facts {
        let names: Vec<String> = fact.names.iter().map(|name| format!("`{name}`")).collect();
        let values: Vec<String> = fact
            .values
            .iter()
            .map(|value| value.clone().unwrap_or_else(|| "-".to_owned()))
            .collect();
        line(
            page,
            &format!("{} {}", fact.kind, names.join(", ")),
            &values,
        );
    }
}
