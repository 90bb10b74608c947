//! Extrapolation beyond the measured range: positions of attention, sizes of models.

use std::collections::BTreeSet;

use super::prediction::Extrapolation;

/// Relative error per e-fold between the bytes per token of the target and of the nearest measured model: an assumption.
const PER_FOLD: f64 = 0.10;
/// Added to it where only one model was measured, so that rates and overheads cannot be separated: an assumption.
const ONE_MODEL: f64 = 0.10;
/// From this ratio of positions on, a fit can separate the work per position from the overhead of a call.
const WIDE: f64 = 4.0;

/// The positions that attention saw in the runs, mean over the queries of a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PositionRange {
    pub(super) least: f64,
    pub(super) most: f64,
}

impl PositionRange {
    /// Whether the range is wide enough to fit the cost of a position.
    pub(super) fn is_wide(&self) -> bool {
        self.most >= WIDE * self.least
    }

    /// Whether a number of positions is outside of the range by more than `factor`.
    pub(super) fn is_outside(&self, positions: f64, factor: f64) -> bool {
        positions > self.most * factor || positions < self.least / factor
    }

    /// A note: this number of positions was never measured, and how the time is extrapolated.
    pub(super) fn note(&self, pass: &str, positions: f64) -> String {
        let Self { least, most } = *self;
        let how = if positions < least || self.is_wide() {
            "attention follows its fitted cost"
        } else {
            "the additional attention is estimated with the rates of matrix products"
        };
        let range = if least < most { format!("{least:.0} to {most:.0}") } else { format!("{most:.0}") };
        format!("{pass} over {positions:.0} positions was never measured, only over {range}: {how}")
    }
}

/// Which models were measured.
#[derive(Debug, Clone, Default)]
pub(super) struct MeasuredSizes {
    bytes_per_token: Vec<f64>,
    one_model: bool,
}

impl MeasuredSizes {
    /// Of the observed cases: model, and bytes per output token.
    pub(super) fn of<'a>(cases: impl Iterator<Item = (&'a str, f64)>) -> Self {
        let (names, bytes_per_token): (BTreeSet<&str>, Vec<f64>) = cases.unzip();
        Self { bytes_per_token, one_model: names.len() == 1 }
    }

    /// What a model of other size than those measured adds to the error:
    ///
    /// ```text
    /// x = (0.10 + 0.10 where one model alone was measured) |ln r|,    r = bytes per token / those of the nearest measured model
    /// ```
    ///
    /// Unit: relative, one standard error. Bytes per token: weights and cache that one decode reads and writes. The two constants are
    /// assumptions.
    pub(super) fn of_bytes(&self, bytes_per_token: f64) -> Option<Extrapolation> {
        let ratios = self.bytes_per_token.iter().map(|known| bytes_per_token / known);
        let ratio = ratios.min_by(|a, b| a.ln().abs().total_cmp(&b.ln().abs()))?;
        let per_fold = PER_FOLD + if self.one_model { ONE_MODEL } else { 0.0 };
        Some(Extrapolation { ratio, one_model: self.one_model, error: per_fold * ratio.ln().abs() })
    }
}
