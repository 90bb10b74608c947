//! Matrix products of f32 with the `gemm` crate, which candle uses too: one thread, strided views, no copy of the operands.
#![allow(unsafe_code, reason = "gemm's interface is pointers")]

use super::pool::Parts;

/// A matrix inside a slice.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// `[rows, columns]`, row-major.
    pub(super) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert!(data.len() >= rows * columns, "a view of {rows} x {columns} over {} elements", data.len());
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The transpose, without moving elements.
    pub(super) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// The destination of a product: columns `column..` of a matrix whose rows are `stride` apart.
pub(super) struct Target<'a, 'b> {
    pub(super) parts: &'a Parts<'b, f32>,
    pub(super) column: usize,
    pub(super) stride: usize,
}

/// `out = lhs rhs`, `[lhs.rows, rhs.columns]`, into some columns of a larger matrix.
///
/// # Safety
/// No other code accesses these columns during the call.
pub(super) unsafe fn multiply_into(lhs: View<'_>, rhs: View<'_>, target: &Target<'_, '_>) {
    let (m, n, k) = (lhs.rows, rhs.columns, lhs.columns);
    assert!(k == rhs.rows, "{m} x {k} times {} x {n}", rhs.rows);
    if m == 0 || n == 0 {
        return;
    }
    let span = target.column..target.column + (m - 1) * target.stride + n;
    let out = target.parts.pointer(span);
    let stride = |stride: usize| stride.cast_signed();
    // SAFETY: every index of gemm is inside its slice: the views are checked in `View::new`, the target in `pointer`. No other
    // code accesses its columns, f32 has no invalid bit patterns, and `out` does not alias the operands.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            stride(target.stride),
            false,
            lhs.data.as_ptr(),
            stride(lhs.column_stride),
            stride(lhs.row_stride),
            rhs.data.as_ptr(),
            stride(rhs.column_stride),
            stride(rhs.row_stride),
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use super::*;

    #[test]
    fn products_of_views() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // 2 x 3
        let b = [1.0, 0.0, 2.0, 0.0, 1.0, 1.0]; // 2 x 3, used transposed: 3 x 2
        let mut out = [10.0; 4];
        let parts = Parts::new(&mut out);
        let target = Target { parts: &parts, column: 0, stride: 2 };
        // SAFETY: no other thread has access to the buffer.
        unsafe { multiply_into(View::new(&a, 2, 3), View::new(&b, 2, 3).transposed(), &target) };
        assert_eq!(out, [7.0, 5.0, 16.0, 11.0]);
    }

    #[test]
    fn columns_of_a_larger_matrix() {
        let mut out = [9.0; 6]; // 2 x 3
        let parts = Parts::new(&mut out);
        let two = View::new(&[1.0, 2.0], 2, 1);
        // SAFETY: no other thread has access to the buffer.
        unsafe { multiply_into(two, View::new(&[5.0], 1, 1), &Target { parts: &parts, column: 1, stride: 3 }) };
        assert_eq!(out, [9.0, 5.0, 9.0, 9.0, 10.0, 9.0]);
    }
}
