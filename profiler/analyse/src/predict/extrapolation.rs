//! How far an estimate reaches beyond what was measured: positions that attention sees, sizes of models.

use std::collections::BTreeSet;

use super::prediction::Extrapolation;

/// Relative error per e-fold between the bytes per token of the target and of the nearest measured model: a judgement.
const PER_FOLD: f64 = 0.10;
/// Added to that where one model alone was measured, so that nothing tells a rate from an overhead: a judgement.
const ONE_MODEL: f64 = 0.10;
/// Positions that lie so far apart let a cost tell the work per position from the overhead of a call.
const WIDE: f64 = 4.0;

/// The positions that attention saw in the runs, mean over the queries of a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PositionRange {
    pub(super) least: f64,
    pub(super) most: f64,
}

impl PositionRange {
    /// Whether the runs tell what a position costs.
    pub(super) fn is_wide(&self) -> bool {
        self.most >= WIDE * self.least
    }

    /// Whether so many positions lie outside of the range by more than `factor`.
    pub(super) fn is_outside(&self, positions: f64, factor: f64) -> bool {
        positions > self.most * factor || positions < self.least / factor
    }

    /// In a note: that so many positions were never measured, and what stands in.
    pub(super) fn note(&self, pass: &str, positions: f64) -> String {
        let Self { least, most } = *self;
        let how = if positions < least {
            "attention is scaled down by its cost"
        } else if self.is_wide() {
            "attention beyond follows its own cost"
        } else {
            "attention beyond is taken at the rates that products reached"
        };
        format!("{pass} over {positions:.0} positions was never measured, only over {least:.0} to {most:.0}: {how}")
    }
}

/// Which models were measured.
#[derive(Debug, Clone, Default)]
pub(super) struct MeasuredSizes {
    bytes_per_token: Vec<f64>,
    one_model: bool,
}

impl MeasuredSizes {
    /// Of the cases that taught something: model, and bytes per output token.
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
    /// Unit: relative, one standard error. Bytes per token: weights and cache that one decode reads and writes. The two figures are
    /// judgements.
    pub(super) fn of_bytes(&self, bytes_per_token: f64) -> Option<Extrapolation> {
        let ratios = self.bytes_per_token.iter().map(|known| bytes_per_token / known);
        let ratio = ratios.min_by(|a, b| a.ln().abs().total_cmp(&b.ln().abs()))?;
        let per_fold = PER_FOLD + if self.one_model { ONE_MODEL } else { 0.0 };
        Some(Extrapolation { ratio, one_model: self.one_model, error: per_fold * ratio.ln().abs() })
    }
}
