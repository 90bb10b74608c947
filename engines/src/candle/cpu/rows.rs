//! Activations: rows of f32, and their quantised copy for products with quantised weights.
#![allow(unsafe_code, reason = "one scratch buffer holds blocks of the type that the weights need")]

use std::any::TypeId;

use candle_core::quantized::k_quants::{BlockQ8_0, BlockQ8_1, BlockQ8K};

use super::pool::each_part;

/// Blocks that are plain numbers: all bit patterns are valid.
///
/// # Safety
/// No invalid bit patterns, no padding that is read, no more than 8 bytes of alignment.
pub(super) unsafe trait Plain: Send + Sync + 'static {}

// SAFETY: candle's blocks are made of f32, f16 and bytes.
unsafe impl Plain for BlockQ8_0 {}
// SAFETY: as above.
unsafe impl Plain for BlockQ8_1 {}
// SAFETY: as above.
unsafe impl Plain for BlockQ8K {}

/// Activations `[rows, width]`, reserved once for the largest batch.
pub(crate) struct Rows {
    width: usize,
    rows: usize,
    /// `[capacity, width]`; pages become resident when rows are written.
    data: Vec<f32>,
    /// The rows in the type for products with quantised weights.
    packed: Vec<u64>,
    /// The block type of `packed`; `None` if the rows were written since.
    packed_as: Option<TypeId>,
}

impl Rows {
    pub(super) fn new(capacity: usize, width: usize) -> Self {
        Self { width, rows: 0, data: vec![0.0; capacity * width], packed: Vec::new(), packed_as: None }
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
        self.packed_as = None;
        &mut self.data[..self.rows * self.width]
    }

    /// As [`Rows::write`], with another number of rows, whose content is unspecified.
    pub(super) fn resize(&mut self, rows: usize) -> &mut [f32] {
        self.rows = rows;
        self.write()
    }

    /// The rows in blocks of `T` with `block` elements each. `convert` makes them at the first call after a change, so that q, k and v
    /// share one conversion.
    pub(super) fn packed<T: Plain>(&mut self, block: usize, convert: impl Fn(&[f32], &mut [T]) + Sync) -> &[T] {
        let per_row = self.width / block;
        let blocks = self.rows * per_row;
        let words = (blocks * size_of::<T>()).div_ceil(size_of::<u64>());
        if self.packed.len() < words {
            self.packed.resize(words, 0);
        }
        debug_assert!(align_of::<T>() <= align_of::<u64>(), "blocks are aligned like their widest number");
        // SAFETY: the buffer is long enough and aligned for the widest block; blocks are plain numbers, so that the bytes of an
        // earlier conversion are valid.
        let out = unsafe { std::slice::from_raw_parts_mut(self.packed.as_mut_ptr().cast::<T>(), blocks) };
        if self.packed_as != Some(TypeId::of::<T>()) {
            let (data, width) = (&self.data, self.width);
            each_part(out, per_row, self.rows * width * 4, |row, out| convert(&data[row * width..][..width], out));
            self.packed_as = Some(TypeId::of::<T>());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::quantized::GgmlType;

    fn q8_0(rows: &mut Rows) -> &[BlockQ8_0] {
        rows.packed(32, BlockQ8_0::from_float)
    }

    #[test]
    fn a_change_invalidates_the_packed_copy() {
        let mut rows = Rows::new(3, 256);
        let read = |blocks: &[BlockQ8_0]| {
            let mut out = vec![0.0; blocks.len() * 32];
            BlockQ8_0::to_float(blocks, &mut out);
            out
        };
        rows.resize(2).fill(1.0);
        assert!(read(q8_0(&mut rows)).iter().all(|x| (x - 1.0).abs() < 1e-2));
        assert_eq!(rows.packed(256, BlockQ8K::from_float).len(), 2);
        rows.write()[300] = 2.0;
        let again = read(q8_0(&mut rows));
        assert!((again[300] - 2.0).abs() < 2e-2 && (again[0] - 1.0).abs() < 1e-2 && again.len() == 512);
    }
}
