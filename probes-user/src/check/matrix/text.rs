//! The matrix for a person at a terminal: a line for each claim, then what is red, then what differs and why.

use std::fmt::Write as _;

use super::{Cell, Difference, Matrix, Row, groups};
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
    for row in &matrix.rows {
        red(&mut text, matrix, row);
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
    let said = format!("{mark}{said}");
    if said.chars().count() <= CELL || own_result || cell.several() {
        return elide(&said, CELL);
    }
    // Rather without its unit than without its last figures.
    let figures = said.split_once(' ').map(|(figures, _)| figures);
    elide(figures.unwrap_or(&said), CELL)
}

/// What is red in a row; columns that say the same are told once.
fn red(text: &mut String, matrix: &Matrix, row: &Row) {
    let said = |cell: &Cell| {
        (
            cell.known.clone(),
            cell.result.clone(),
            cell.because.clone(),
        )
    };
    for group in groups(&row.cells, said) {
        let Some(cell) = row.cells[group[0]].as_ref().filter(|cell| cell.red()) else {
            continue;
        };
        let word = if cell.known == "differs" {
            "DIFFERS"
        } else {
            "NOT SETTLED"
        };
        let on = labels(matrix, &group);
        let _written = writeln!(text, "\n{word} {} on {on}", cell.id);
        lines(text, &format!("{}: {}", cell.result, cell.because));
        if let Some(its) = &cell.expected {
            lines(text, &format!("expected {}: {}", its.result, its.source));
        }
    }
}

fn differs(text: &mut String, matrix: &Matrix, row: &Row, difference: &Difference) {
    let _written = writeln!(text, "\n{} differs by {}", row.id, difference.by.word());
    for (group, cell) in told(row, difference) {
        let on = labels(matrix, group);
        lines(text, &format!("{on}: {}, {}", cell.result, cell.because));
    }
    for (group, source) in known(row, difference) {
        lines(
            text,
            &format!("known of {}: {source}", labels(matrix, &group)),
        );
    }
    lines(text, &why(matrix, difference));
}

/// The first cell of each group speaks for it.
pub fn told<'a>(row: &'a Row, difference: &'a Difference) -> Vec<(&'a [usize], &'a Cell)> {
    let first = |group: &'a Vec<usize>| {
        let cell = row.cells[*group.first()?].as_ref()?;
        Some((group.as_slice(), cell))
    };
    difference.groups.iter().filter_map(first).collect()
}

/// What is known of the groups, each source once.
pub fn known<'a>(row: &'a Row, difference: &Difference) -> Vec<(Vec<usize>, &'a str)> {
    let mut known: Vec<(Vec<usize>, &str)> = Vec::new();
    for at in difference.groups.iter().flatten() {
        let expected = row.cells[*at]
            .as_ref()
            .and_then(|cell| cell.expected.as_ref());
        let Some(source) = expected.map(|its| its.source.as_str()) else {
            continue;
        };
        match known.iter_mut().find(|(_, other)| *other == source) {
            Some((on, _)) => on.push(*at),
            None => known.push((vec![*at], source)),
        }
    }
    for (on, _) in &mut known {
        on.sort_unstable();
    }
    known
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
