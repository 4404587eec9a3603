//! The ledger: tables of numbers, rendered as text and as JSON from the same cells.

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Key in JSON (snake_case, unit in the name).
    pub key: String,
    /// Heading in text.
    pub title: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Key in JSON.
    pub id: String,
    pub title: String,
    pub columns: Vec<Column>,
    /// One value per column; null = not known (printed as `-`).
    pub rows: Vec<Vec<Value>>,
    /// Shown only with `-v` in text; always in JSON.
    pub detail: bool,
}

/// All tables of a report, plus free lines (swim lanes, remarks) for text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    pub tables: Vec<Table>,
    /// Remarks for the reader: one sentence each.
    pub remarks: Vec<String>,
    /// A drawn timeline, line by line (`--timeline`).
    pub timeline: Vec<String>,
}

impl Table {
    /// Columns as (key, title).
    pub fn new(id: &str, title: &str, columns: &[(&str, &str)]) -> Table {
        let columns = columns
            .iter()
            .map(|(key, title)| Column {
                key: (*key).to_owned(),
                title: (*title).to_owned(),
            })
            .collect();
        Table {
            id: id.to_owned(),
            title: title.to_owned(),
            columns,
            rows: Vec::new(),
            detail: false,
        }
    }

    /// The same, shown in text with `-v` only.
    #[must_use]
    pub fn detailed(mut self) -> Table {
        self.detail = true;
        self
    }
}
