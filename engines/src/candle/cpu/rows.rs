//! Activations: rows of f32, and their quantised copy for products with quantised weights.

use super::activations::Activations;
use super::formats::Blocking;
use super::simd::Simd;

/// Activations `[rows, width]`, reserved once for the largest batch.
pub(crate) struct Rows {
    width: usize,
    rows: usize,
    /// `[capacity, width]`; pages become resident when rows are written.
    data: Vec<f32>,
    /// The rows as signed bytes, for products with quantised weights.
    quantised: Activations,
}

impl Rows {
    pub(super) fn new(capacity: usize, width: usize) -> Self {
        Self { width, rows: 0, data: vec![0.0; capacity * width], quantised: Activations::default() }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn count(&self) -> usize {
        self.rows
    }

    /// `[rows, width]`
    pub(super) fn read(&self) -> &[f32] {
        &self.data[..self.rows * self.width]
    }

    /// `[rows, width]`, mutable.
    pub(super) fn write(&mut self) -> &mut [f32] {
        self.quantised.invalidate();
        &mut self.data[..self.rows * self.width]
    }

    /// As [`Rows::write`], with another number of rows, whose content is unspecified.
    pub(super) fn resize(&mut self, rows: usize) -> &mut [f32] {
        self.rows = rows;
        self.write()
    }

    /// The rows as signed bytes. They are converted at the first call after a change, so that q, k and v share one conversion.
    pub(super) fn quantised<S: Simd>(&mut self, blocking: Blocking) -> &mut Activations {
        self.quantised.fill::<S>(&self.data[..self.rows * self.width], blocking);
        &mut self.quantised
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::Scalar;
    use super::*;

    #[test]
    fn a_change_invalidates_the_quantised_copy() {
        let mut rows = Rows::new(3, 256);
        rows.resize(2).fill(1.0);
        let scales = |rows: &mut Rows| {
            let quantised = rows.quantised::<Scalar>(Blocking::Small);
            [0, 1].map(|row| quantised.row(row, 256).with_minimum[1][0])
        };
        let one = scales(&mut rows)[0];
        assert!((one - 1.0 / 127.0).abs() < 1e-5);
        assert_eq!(rows.quantised::<Scalar>(Blocking::Super).row(1, 256).scales.len(), 1);
        rows.write()[256 + 40] = 2.0;
        let [first, second] = scales(&mut rows);
        assert!(first.to_bits() == one.to_bits() && (second - 2.0 * one).abs() < 1e-5);
    }
}
