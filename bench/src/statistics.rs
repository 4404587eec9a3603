//! Medians and quartiles of samples, and ratios taken round by round.

/// Quartiles of some samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
    pub samples: usize,
}

impl Spread {
    /// None without samples.
    pub fn of(samples: &[f64]) -> Option<Spread> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Spread {
            median: quantile(&sorted, 0.5)?,
            low: quantile(&sorted, 0.25)?,
            high: quantile(&sorted, 0.75)?,
            samples: sorted.len(),
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a few samples"
)]
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)? as f64;
    let place = last * share;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (place - place.floor()))
}

/// The ratio of each round; a round that lacks one of the two, or a base that is not above zero, gives none.
pub fn ratios(of: &[Option<f64>], to: &[Option<f64>]) -> Vec<f64> {
    let pairs = of.iter().zip(to);
    let known = pairs.filter_map(|(of, to)| Some((of.as_ref()?, to.as_ref()?)));
    known
        .filter(|(_, to)| **to > 0.0)
        .map(|(of, to)| of / to)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_samples() {
        let spread = Spread::of(&[4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!((spread.low, spread.median, spread.high), (1.75, 2.5, 3.25));
        assert_eq!(Spread::of(&[7.0]).unwrap().high, 7.0);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn one_wild_sample_does_not_move_the_median() {
        assert_eq!(
            Spread::of(&[1.0, 1.0, 1.0, 900.0, 1.0]).unwrap().median,
            1.0
        );
    }

    #[test]
    fn a_round_without_a_base_gives_no_ratio() {
        let of = [Some(4.0), None, Some(9.0), Some(1.0)];
        let to = [Some(2.0), Some(1.0), Some(3.0), Some(-1.0)];
        assert_eq!(ratios(&of, &to), [2.0, 3.0]);
    }
}
