//! [`Spread`]: a measured rate and its scatter.

use serde::{Deserialize, Serialize};

/// A measured rate (per second) or time, with its spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median of the repetitions: the value that is used.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
    /// Repetitions.
    pub n: usize,
}

impl Spread {
    /// Median, smallest and largest of values; `None` without a finite one.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (lower, upper) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
        let median = f64::midpoint(*lower, *upper);
        Some(Self { median, low: *values.first()?, high: *values.last()?, n: values.len() })
    }
}
