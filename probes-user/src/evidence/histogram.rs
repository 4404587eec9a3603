//! Log-linear histogram: 8 steps per power of two, so a quantile is off by at most 1/8 of its value.

/// Steps per power of two, as a power of two.
const STEP_BITS: u32 = 3;
const STEPS: u64 = 1 << STEP_BITS;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: std::collections::BTreeMap<u32, u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    pub fn add(&mut self, value: u64) {
        *self.buckets.entry(bucket(value)).or_default() += 1;
        self.count += 1;
        self.max = self.max.max(value);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn max(&self) -> Option<u64> {
        (self.count > 0).then_some(self.max)
    }

    /// The value below which `share` (0 to 1) of all lie; None when empty.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank among counts far below 2^52"
    )]
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return Some(lower_bound(*bucket).min(self.max));
            }
        }
        self.max()
    }
}

fn bucket(value: u64) -> u32 {
    if value < STEPS {
        return u32::try_from(value).unwrap_or(0);
    }
    let shift = value.ilog2() - STEP_BITS;
    let step = u32::try_from(value >> shift).unwrap_or(0) - STEPS as u32;
    (shift + 1) * STEPS as u32 + step
}

fn lower_bound(bucket: u32) -> u64 {
    if u64::from(bucket) < STEPS {
        return u64::from(bucket);
    }
    let shift = bucket / STEPS as u32 - 1;
    (STEPS + u64::from(bucket) % STEPS) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_an_eighth() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|value| histogram.add(value));
        for (share, exact) in [(0.5, 500), (0.9, 900), (0.99, 990)] {
            let found = histogram.quantile(share).unwrap();
            assert!(found <= exact && found * 9 >= exact * 8, "{share}: {found}");
        }
        assert_eq!(histogram.max(), Some(1000));
    }

    #[test]
    fn any_value_has_a_bucket_that_starts_at_or_below_it() {
        for value in [0, 1, 7, 8, 9, 15, 16, 1023, u64::MAX / 2, u64::MAX] {
            let low = lower_bound(bucket(value));
            assert!(low <= value && value - low <= value / 8, "{value} {low}");
        }
    }

    #[test]
    fn an_empty_one_knows_nothing() {
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(Histogram::default().max(), None);
    }
}
