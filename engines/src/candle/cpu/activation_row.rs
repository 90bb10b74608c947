//! One row of activations, as products with quantised weights read it.

use super::simd::Part;

/// One row of activations. The fields of the other blocking are empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) parts: &'a [Part],
    pub(super) with_minimum: &'a [[f32; 2]],
    pub(super) with_eight: &'a [[f32; 2]],
    pub(super) scales: &'a [f32],
    pub(super) sums: &'a [[i16; 16]],
}
