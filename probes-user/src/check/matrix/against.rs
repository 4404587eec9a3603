//! A matrix held against the results that a page has written down: claim by kernel, the numbers left out.

use std::collections::BTreeMap;

use super::Matrix;

pub const HEAD: &str = "<!-- probes:results -->";
pub const END: &str = "<!-- /probes -->";

/// Results by claim and column label.
type Written = BTreeMap<String, BTreeMap<String, String>>;

/// What this matrix and the page do not agree in, a sentence each. A column from a file of this name in `free` may
/// be missing from the page; a claim of the page that is not in `claims` is out of date.
pub fn differences(matrix: &Matrix, page: &str, claims: &[&str], free: &str) -> Vec<String> {
    let Some((labels, written)) = read(page) else {
        return vec![format!("it has no table between {HEAD} and {END}")];
    };
    let mut said = Vec::new();
    for column in &matrix.columns {
        if !labels.contains(&column.label) && column.name != free {
            said.push(format!("it has no column {}", column.label));
        }
    }
    for row in &matrix.rows {
        let Some(known) = written.get(&row.id) else {
            said.push(format!("it has no row {}", row.id));
            continue;
        };
        for (column, cell) in matrix.columns.iter().zip(&row.cells) {
            let (Some(cell), Some(known)) = (cell, known.get(&column.label)) else {
                continue;
            };
            if *known != cell.result {
                let (id, label, found) = (&row.id, &column.label, &cell.result);
                said.push(format!("{id} on {label}: it says {known}, found {found}"));
            }
        }
    }
    let stale = written.keys().filter(|id| !claims.contains(&id.as_str()));
    said.extend(stale.map(|id| format!("there is no claim {id} any more")));
    said
}

fn read(page: &str) -> Option<(Vec<String>, Written)> {
    let table = page.split_once(HEAD)?.1.split_once(END)?.0;
    let mut lines = table.lines().filter(|line| line.starts_with('|'));
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_matches('|');
        inner
            .split('|')
            .map(|cell| cell.trim().trim_matches('`').to_owned())
            .collect()
    };
    let labels = cells(lines.next()?);
    let rows = lines.skip(1).filter_map(|line| {
        let mut row = cells(line).into_iter();
        let id = row.next()?;
        Some((id, labels.iter().skip(1).cloned().zip(row).collect()))
    });
    Some((labels.clone(), rows.collect()))
}
