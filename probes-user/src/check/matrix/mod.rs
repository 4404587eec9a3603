//! `probes matrix`: the checks of several kernels beside each other, claim by kernel, and where they differ.
//!
//! Columns differ in a claim by its result, by what is known of it (two rows of expectations for one result), or by
//! a deciding number that is an exact count. What could fool it: documents of labs that moved different amounts, so
//! counts are compared only where all were given the same size.

pub mod against;
pub mod document;
pub mod explain;
pub mod markdown;
pub mod text;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::exit::Exit;
use explain::Fact;

/// What is read of a document of [`super::render::SCHEMA`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Check {
    pub schema: String,
    pub kernel: String,
    #[serde(default)]
    pub size_mib: Option<u32>,
    pub claims: Vec<Cell>,
    pub traces: Vec<Around>,
    pub duration_ns: u64,
    pub interrupted: bool,
}

/// One claim on one kernel.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Cell {
    pub id: String,
    pub trace: String,
    pub result: String,
    pub known: String,
    pub because: String,
    pub number: Option<Number>,
    pub expected: Option<Expected>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Number {
    pub key: String,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Expected {
    pub result: String,
    pub source: String,
}

/// What a trace's lab ran under and watched with.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Around {
    pub trace: String,
    pub settings: BTreeMap<String, Option<String>>,
    pub functions: BTreeMap<String, Option<bool>>,
    pub hooks: Vec<Hook>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Hook {
    pub hook: String,
    pub attached_as: Option<String>,
}

impl Cell {
    /// Another result than what is known, or none.
    pub fn red(&self) -> bool {
        self.known == "differs" || self.known == "not-settled"
    }

    /// The deciding number with its unit, without its name.
    pub fn amount(&self) -> String {
        let number = self.number.as_ref();
        number.map_or_else(String::new, |its| {
            super::render::amount(&its.key, &its.value)
        })
    }

    /// Is the deciding number a row of several?
    pub fn several(&self) -> bool {
        let value = self.number.as_ref().map(|its| &its.value);
        matches!(value, Some(Value::String(_) | Value::Array(_)))
    }

    /// The deciding number if it is a count, which two kernels alike would share to the last figure.
    fn exact(&self) -> Option<&Value> {
        let number = self.number.as_ref()?;
        let plain = |value: &Value| value.is_u64() || value.is_i64() || value.is_boolean();
        let exact = match &number.value {
            Value::Array(items) => items.iter().all(|item| plain(item) || item.is_string()),
            value => plain(value),
        };
        let time = ["_ns", "_us", "_ms", "_s"]
            .iter()
            .any(|unit| number.key.ends_with(unit));
        (exact && !time).then_some(&number.value)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// `6.1`, or `6.1 (host)` where another column bears that name already.
    pub label: String,
    /// Where it comes from: the name of its file.
    pub name: String,
    pub check: Check,
}

/// In what the columns of a row differ, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differ {
    Results,
    /// The same result, for reasons that are known to differ.
    Known,
    Number,
}

impl Differ {
    pub const fn word(self) -> &'static str {
        match self {
            Differ::Results => "result",
            Differ::Known => "reason",
            Differ::Number => "number",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    pub by: Differ,
    /// Columns that are alike, by number, in order.
    pub groups: Vec<Vec<usize>>,
    /// What no column of one group shares with one of another.
    pub facts: Vec<Fact>,
}

/// One claim on every kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub id: String,
    pub trace: String,
    /// None = that check was not asked for it.
    pub cells: Vec<Option<Cell>>,
    pub difference: Option<Difference>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
}

impl Matrix {
    /// Of checks with the names of their files, older kernels first.
    pub fn of(checks: Vec<(String, Check)>) -> Matrix {
        let mut columns: Vec<Column> = Vec::new();
        for (name, check) in checks {
            let version = short(&check.kernel);
            let taken = columns.iter().any(|column| column.label == version);
            let label = if taken {
                format!("{version} ({name})")
            } else {
                version
            };
            columns.push(Column { label, name, check });
        }
        columns.sort_by_key(|column| version(&column.check.kernel));
        let mut rows: Vec<Row> = Vec::new();
        for cell in columns.iter().flat_map(|column| &column.check.claims) {
            if !rows.iter().any(|row| row.id == cell.id) {
                rows.push(row(&columns, cell));
            }
        }
        Matrix { columns, rows }
    }

    /// Red cells with their columns.
    pub fn red(&self) -> impl Iterator<Item = (&Column, &Cell)> {
        self.rows.iter().flat_map(|row| {
            let cells = self.columns.iter().zip(&row.cells);
            cells
                .filter_map(|(column, cell)| Some((column, cell.as_ref().filter(|its| its.red())?)))
        })
    }

    pub fn exit(&self) -> Exit {
        let any = |is: &dyn Fn(&Cell) -> bool| self.red().any(|(_, cell)| is(cell));
        if any(&|cell| cell.known == "differs") {
            Exit::Differs
        } else if any(&|cell| cell.result == "not-run") {
            Exit::CannotRun
        } else if any(&|_| true) {
            Exit::Inconclusive
        } else {
            Exit::Settled
        }
    }
}

fn row(columns: &[Column], like: &Cell) -> Row {
    let cells: Vec<Option<Cell>> = columns
        .iter()
        .map(|column| {
            column
                .check
                .claims
                .iter()
                .find(|cell| cell.id == like.id)
                .cloned()
        })
        .collect();
    let same_size = columns
        .windows(2)
        .all(|two| two[0].check.size_mib == two[1].check.size_mib);
    Row {
        id: like.id.clone(),
        trace: like.trace.clone(),
        difference: difference(columns, &like.trace, &cells, same_size),
        cells,
    }
}

fn difference(
    columns: &[Column],
    trace: &str,
    cells: &[Option<Cell>],
    same_size: bool,
) -> Option<Difference> {
    let source = |cell: &Cell| cell.expected.as_ref().map(|its| its.source.clone());
    let exact = |cell: &Cell| cell.exact().filter(|_| same_size).map(Value::to_string);
    let by_result = groups(cells, |cell| cell.result.clone());
    let by_source = groups(cells, source);
    let by_number = groups(cells, exact);
    let (by, groups) = [
        (Differ::Results, by_result),
        (Differ::Known, by_source),
        (Differ::Number, by_number),
    ]
    .into_iter()
    .find(|(_, groups)| groups.len() > 1)?;
    let facts = explain::facts(columns, trace, &groups);
    Some(Difference { by, groups, facts })
}

/// Columns whose cells are alike by `key`.
fn groups<K: PartialEq>(cells: &[Option<Cell>], key: impl Fn(&Cell) -> K) -> Vec<Vec<usize>> {
    let mut groups: Vec<(K, Vec<usize>)> = Vec::new();
    for (at, cell) in cells.iter().enumerate() {
        let Some(key) = cell.as_ref().map(&key) else {
            continue;
        };
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, group)) => group.push(at),
            None => groups.push((key, vec![at])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// `6.12.117+deb13-cloud-amd64` → `6.12`
fn short(release: &str) -> String {
    match version(release) {
        (0, 0) => release.to_owned(),
        (major, minor) => format!("{major}.{minor}"),
    }
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests;
