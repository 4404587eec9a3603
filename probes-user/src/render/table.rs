//! A ledger table as text: numbers to the right, words to the left, never wider than the page.

use serde_json::Value;

use super::text::WIDTH;
use crate::evidence::Table;

/// Rows shown before the rest is elided.
const ROWS: usize = 40;
/// A column of words is not cut below this.
const MIN_WORDS: usize = 6;
/// Between columns, where there is room.
const GAP: usize = 2;

/// Title, heading, rows; nothing when the table is empty.
pub fn lines(table: &Table, all_rows: bool) -> Vec<String> {
    if table.rows.is_empty() {
        return Vec::new();
    }
    let shown = if all_rows {
        table.rows.len()
    } else {
        table.rows.len().min(ROWS)
    };
    let cells: Vec<Vec<String>> = table.rows[..shown]
        .iter()
        .map(|row| row.iter().map(cell).collect())
        .collect();
    let numeric: Vec<bool> = (0..table.columns.len())
        .map(|column| {
            table
                .rows
                .iter()
                .all(|row| !matches!(row.get(column), Some(Value::String(_))))
        })
        .collect();
    let (widths, gap) = widths(table, &cells, &numeric);
    let heading: Vec<String> = table
        .columns
        .iter()
        .map(|column| column.title.clone())
        .collect();
    let mut lines = vec![table.title.clone(), line(&heading, &widths, &numeric, gap)];
    lines.extend(cells.iter().map(|row| line(row, &widths, &numeric, gap)));
    if shown < table.rows.len() {
        lines.push(format!("… {} more rows (-v)", table.rows.len() - shown));
    }
    lines
}

/// Widths of the columns and of the gap between them.
fn widths(table: &Table, cells: &[Vec<String>], numeric: &[bool]) -> (Vec<usize>, usize) {
    let mut widths: Vec<usize> = table
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let longest = cells
                .iter()
                .filter_map(|row| row.get(at))
                .map(|cell| cell.chars().count())
                .max();
            column.title.chars().count().max(longest.unwrap_or(0))
        })
        .collect();
    let between = widths.len().saturating_sub(1);
    let gap = if widths.iter().sum::<usize>() + GAP * between > WIDTH {
        1
    } else {
        GAP
    };
    // The widest column of words gives way first.
    while widths.iter().sum::<usize>() + gap * between > WIDTH {
        let widest = (0..widths.len())
            .filter(|at| !numeric[*at] && widths[*at] > MIN_WORDS)
            .max_by_key(|at| widths[*at]);
        match widest {
            Some(at) => widths[at] -= 1,
            None => break,
        }
    }
    (widths, gap)
}

fn line(cells: &[String], widths: &[usize], numeric: &[bool], gap: usize) -> String {
    let mut line = String::new();
    for (at, width) in widths.iter().enumerate() {
        let text = squeeze(cells.get(at).map_or("", String::as_str), *width);
        let pad = " ".repeat(width - text.chars().count());
        if at > 0 {
            line.push_str(&" ".repeat(gap));
        }
        if numeric[at] {
            line.push_str(&pad);
            line.push_str(&text);
        } else {
            line.push_str(&text);
            line.push_str(&pad);
        }
    }
    elide(line.trim_end(), WIDTH)
}

/// Cuts to `width` characters, the last of them `…`.
pub fn elide(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        cut.push('…');
    }
    cut
}

/// Cuts to `width` characters in the middle: both ends of a scene's name tell something.
fn squeeze(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width || width < 3 {
        return elide(text, width);
    }
    let tail = (width - 1) / 2;
    let head = width - 1 - tail;
    text.chars()
        .take(head)
        .chain(['…'])
        .chain(text.chars().skip(length - tail))
        .collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::String(text) => text.replace(|c: char| c.is_control(), "?"),
        Value::Number(number) if number.is_f64() => decimal(number.as_f64().unwrap_or(0.0)),
        other => other.to_string(),
    }
}

/// Three figures are enough for a person; whole numbers lose their zeros.
fn decimal(value: f64) -> String {
    let text = match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    match text.strip_suffix(".00").or_else(|| text.strip_suffix(".0")) {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table() -> Table {
        let mut table = Table::new(
            "t",
            "Title",
            &[("name", "name"), ("n", "n"), ("mean", "mean")],
        );
        table.rows = vec![
            vec![json!("long".repeat(40)), json!(7), json!(3.25)],
            vec![json!("b"), json!(12345), json!(null)],
        ];
        table
    }

    #[test]
    fn numbers_stand_to_the_right_and_words_give_way() {
        let lines = lines(&table(), false);
        assert!(
            lines.iter().all(|line| line.chars().count() <= WIDTH),
            "{lines:?}"
        );
        assert!(lines[2].ends_with("3.25") && lines[2].contains('…'));
        assert!(lines[3].ends_with("12345    -"), "{lines:?}");
    }

    #[test]
    fn an_empty_table_says_nothing() {
        assert!(lines(&Table::new("t", "Title", &[("a", "a")]), false).is_empty());
    }

    #[test]
    fn long_tables_are_elided_unless_all_is_asked_for() {
        let mut long = table();
        long.rows = vec![long.rows[1].clone(); 100];
        assert_eq!(lines(&long, false).len(), 2 + ROWS + 1);
        assert_eq!(lines(&long, true).len(), 102);
    }

    #[test]
    fn a_hundred_columns_are_cut_at_the_page() {
        let columns: Vec<(&str, &str)> = vec![("column", "column"); 40];
        let mut wide = Table::new("t", "Title", &columns);
        wide.rows = vec![vec![json!(1); 40]];
        assert!(
            lines(&wide, false)
                .iter()
                .all(|line| line.chars().count() <= WIDTH)
        );
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(cell(&json!("a\x1b[31mb")), "a?[31mb");
    }
}
