//! Small statistics: ratios that are null without a denominator, and the Gini coefficient.

use serde_json::Value;

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Inequality of shares: 0 = all equal, (n-1)/n = one has everything. None without shares or sum.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub fn gini(shares: &[u64]) -> Option<f64> {
    let sum: u64 = shares.iter().sum();
    if sum == 0 {
        return None;
    }
    let mut sorted = shares.to_vec();
    sorted.sort_unstable();
    let n = sorted.len() as f64;
    let weighted: f64 = sorted
        .iter()
        .enumerate()
        .map(|(i, share)| (i as f64 + 1.0) * *share as f64)
        .sum();
    Some((2.0 * weighted / (n * sum as f64) - (n + 1.0) / n).max(0.0))
}

/// Pearson's statistic of counts that should all be equal; None without counts or sum.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub fn chi_square(counts: &[u64]) -> Option<f64> {
    let expected = ratio(counts.iter().sum(), counts.len() as u64).filter(|mean| *mean > 0.0)?;
    let parts = counts
        .iter()
        .map(|count| (*count as f64 - expected).powi(2) / expected);
    Some(parts.sum())
}

/// Three digits after the point, as a cell or a number of a finding; null = not known.
pub fn rounded(value: Option<f64>) -> Value {
    value.map_or(Value::Null, |value| {
        Value::from((value * 1000.0).round() / 1000.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gini_of_known_shares() {
        let close = |shares: &[u64], exact: f64| (gini(shares).unwrap() - exact).abs() < 1e-9;
        assert!(close(&[5, 5, 5, 5], 0.0));
        assert!(close(&[20, 0, 0, 0], 0.75));
        assert!(close(&[1, 2, 3, 4], 0.25));
        assert!(close(&[7], 0.0));
        assert_eq!(gini(&[]), None);
        assert_eq!(gini(&[0, 0]), None);
    }

    #[test]
    fn chi_square_of_known_counts() {
        let close = |counts: &[u64], exact: f64| (chi_square(counts).unwrap() - exact).abs() < 1e-9;
        assert!(close(&[25, 25, 25, 25], 0.0));
        assert!(close(&[30, 20, 25, 25], 2.0));
        assert!(close(&[100, 0, 0, 0], 300.0));
        assert_eq!(chi_square(&[]), None);
        assert_eq!(chi_square(&[0, 0]), None);
    }

    #[test]
    fn a_ratio_without_a_whole_is_not_known() {
        assert_eq!(ratio(1, 0), None);
        assert_eq!(rounded(ratio(1, 3)), serde_json::json!(0.333));
        assert_eq!(rounded(None), Value::Null);
    }
}
