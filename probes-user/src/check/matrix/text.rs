//! The matrix for a person at a terminal: a line for each claim, then what is red, then what differs and why.

use std::fmt::Write as _;

use super::{Cell, Column, Difference, Matrix, Row};
use crate::render::table::elide;
use crate::render::text::{WIDTH, wrap};

/// Of columns with so many kernels a block; more would not fit the page.
const ABREAST: usize = 5;
const CLAIM: usize = 33;
const RESULT: usize = 9;
const CELL: usize = 10;

pub fn text(matrix: &Matrix) -> String {
    let mut text = String::new();
    let columns: Vec<usize> = (0..matrix.columns.len()).collect();
    for block in columns.chunks(ABREAST) {
        table(&mut text, matrix, block);
    }
    text.push_str("(* differs between kernels, see below; ! not what is known of that kernel)\n");
    for (column, cell) in matrix.red() {
        red(&mut text, column, cell);
    }
    let differing = || {
        matrix
            .rows
            .iter()
            .filter_map(|row| Some((row, row.difference.as_ref()?)))
    };
    for (row, difference) in differing() {
        differs(&mut text, matrix, row, difference);
    }
    let _written = writeln!(
        text,
        "\n{} claims on {} kernels: {} differ between kernels, {} cells are not as known",
        matrix.rows.len(),
        matrix.columns.len(),
        differing().count(),
        matrix.red().count()
    );
    text
}

fn table(text: &mut String, matrix: &Matrix, block: &[usize]) {
    let heading: String = block
        .iter()
        .map(|at| format!(" {:>CELL$}", elide(&matrix.columns[*at].label, CELL)))
        .collect();
    let _written = writeln!(text, "  {:CLAIM$} {:RESULT$}{heading}", "claim", "result");
    for rows in matrix.rows.chunk_by(|a, b| a.trace == b.trace) {
        let _written = writeln!(text, "{}", rows[0].trace);
        for row in rows {
            let mark = if row.difference.is_some() { '*' } else { ' ' };
            let slug = row
                .id
                .rsplit_once('/')
                .map_or(row.id.as_str(), |(_, slug)| slug);
            let alike = alike(row);
            let cells: String = block
                .iter()
                .map(|at| format!(" {:>CELL$}", cell(row.cells[*at].as_ref(), alike.is_none())))
                .collect();
            let result = alike.unwrap_or("differs");
            let line = format!(
                "{mark} {:CLAIM$} {result:RESULT$}{cells}",
                elide(slug, CLAIM)
            );
            let _written = writeln!(text, "{}", line.trim_end());
        }
    }
    text.push('\n');
}

/// The one result of all columns.
fn alike(row: &Row) -> Option<&str> {
    let mut results = row.cells.iter().flatten().map(|cell| cell.result.as_str());
    let first = results.next()?;
    results.all(|result| result == first).then_some(first)
}

/// The deciding number; the result itself where columns do not share it.
fn cell(cell: Option<&Cell>, own_result: bool) -> String {
    let Some(cell) = cell else {
        return "-".to_owned();
    };
    let said = if own_result {
        cell.result.clone()
    } else {
        cell.amount()
    };
    let mark = if cell.red() { "!" } else { "" };
    elide(&format!("{mark}{said}"), CELL)
}

fn red(text: &mut String, column: &Column, cell: &Cell) {
    let word = if cell.known == "differs" {
        "DIFFERS"
    } else {
        "NOT SETTLED"
    };
    let _written = writeln!(text, "\n{word} {} on {}", cell.id, column.label);
    lines(text, &format!("{}: {}", cell.result, cell.because));
    if let Some(expected) = &cell.expected {
        lines(
            text,
            &format!("expected {}: {}", expected.result, expected.source),
        );
    }
}

fn differs(text: &mut String, matrix: &Matrix, row: &Row, difference: &Difference) {
    let _written = writeln!(text, "\n{} differs by {}", row.id, difference.by.word());
    for group in &difference.groups {
        let Some(cell) = group.first().and_then(|at| row.cells[*at].as_ref()) else {
            continue;
        };
        lines(
            text,
            &format!(
                "{}: {}, {}",
                labels(matrix, group),
                cell.result,
                cell.because
            ),
        );
        if let Some(expected) = &cell.expected {
            lines(text, &format!("  known: {}", expected.source));
        }
    }
    lines(text, &why(matrix, difference));
}

/// `setting x: none on 5.10, 6.1; 4 on 6.12`, each fact; or that there is none.
pub fn why(matrix: &Matrix, difference: &Difference) -> String {
    let said: Vec<String> = difference
        .facts
        .iter()
        .map(|fact| {
            let mut values: Vec<(&str, Vec<usize>)> = Vec::new();
            for (at, value) in fact.values.iter().enumerate() {
                let Some(value) = value.as_deref() else {
                    continue;
                };
                match values.iter_mut().find(|(other, _)| *other == value) {
                    Some((_, on)) => on.push(at),
                    None => values.push((value, vec![at])),
                }
            }
            let each: Vec<String> = values
                .iter()
                .map(|(value, on)| format!("{value} on {}", labels(matrix, on)))
                .collect();
            format!("{}: {}", fact.name(), each.join("; "))
        })
        .collect();
    if said.is_empty() {
        return "no setting, function or hook that was looked at separates them".to_owned();
    }
    format!("what separates them: {}", said.join(". "))
}

pub fn labels(matrix: &Matrix, columns: &[usize]) -> String {
    let labels: Vec<&str> = columns
        .iter()
        .map(|at| matrix.columns[*at].label.as_str())
        .collect();
    labels.join(", ")
}

fn lines(text: &mut String, sentence: &str) {
    for line in wrap(sentence, WIDTH - 4) {
        let _written = writeln!(text, "    {line}");
    }
}
