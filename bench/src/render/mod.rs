//! Numbers as text: the page for docs/benchmarks.md, and the same tables as they come.

mod goals;
pub mod page;
mod tables;

use crate::statistics::Spread;

/// Three digits that count.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    if digits == 0 || !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The median and the quartiles.
pub fn spread(spread: Option<Spread>) -> String {
    spread.map_or_else(
        || "-".to_owned(),
        |its| {
            format!(
                "{} [{}, {}]",
                number(its.median),
                number(its.low),
                number(its.high)
            )
        },
    )
}

/// A table of Markdown that is also readable as it is.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(head.to_vec());
    let dashes = head.iter().enumerate();
    text += &line(
        dashes
            .map(|(at, _)| if at == 0 { "---" } else { "--:" })
            .collect(),
    );
    for row in rows {
        text += &line(row.iter().map(String::as_str).collect());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        let shown = [1234.56, 99.96, 12.34, 1.204, 0.5, 0.0, -3.456].map(number);
        assert_eq!(shown, ["1235", "100", "12.3", "1.2", "0.5", "0", "-3.46"]);
    }

    #[test]
    fn a_spread_is_a_median_with_its_quartiles() {
        assert_eq!(spread(Spread::of(&[1.0, 2.0, 3.0])), "2 [1.5, 2.5]");
        assert_eq!(spread(None), "-");
    }

    #[test]
    fn a_table_has_as_many_cells_in_each_line() {
        let text = table(&["a", "b"], &[vec!["1".to_owned(), "2".to_owned()]]);
        assert_eq!(text, "| a | b |\n| --- | --: |\n| 1 | 2 |\n");
    }
}
