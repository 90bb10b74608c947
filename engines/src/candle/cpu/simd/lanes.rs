//! Sixteen partial sums, and the one order in which they are added.
//!
//! A sum of floats depends on its order. If activations are rounded to 8 bits before the next product, a difference in the last
//! bit can become a whole rounding step. Every sum over a head or over positions therefore has one order, independent of threads
//! and tiles: element `i` belongs to lane `i % 16`, and the lanes are added as a tree, `i` and `i + 8` first, then `i + 4`,
//! `i + 2`, `i + 1`. It is the order of ggml's AVX-512 kernels, so that tokens can be compared with llama.cpp one by one. All
//! instruction sets add in the same order; without fused multiply-add the last bits can still differ.

/// Number of partial sums.
pub(in super::super) const LANES: usize = 16;

/// Sixteen f32.
pub(in super::super::super) trait Lanes: Copy {
    fn zero() -> Self;
    fn splat(number: f32) -> Self;
    fn load(elements: &[f32; LANES]) -> Self;
    /// Fewer than sixteen elements; the other lanes are zero.
    fn part(elements: &[f32]) -> Self;
    fn store(self, out: &mut [f32; LANES]);
    fn add(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    /// `self + a b`
    fn plus(self, a: Self, b: Self) -> Self;
    /// The sums of the lanes of each of sixteen.
    fn sums(all: [Self; LANES]) -> [f32; LANES];
    /// The sum of the lanes.
    fn sum(self) -> f32;

    /// `sum_i a_i b_i` in sixteen lanes, of two slices of the same length. Four registers of lanes alternate, so that an addition
    /// does not wait for the one before it; they are added as a tree, the first and the third first.
    #[inline(always)]
    fn products(a: &[f32], b: &[f32]) -> Self {
        let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
        let mut sums = [Self::zero(); 4];
        for (a, b) in a.iter().zip(b) {
            for part in 0..4 {
                sums[part] = sums[part].plus(Self::load(&a[part]), Self::load(&b[part]));
            }
        }
        for (sum, (a, b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
            *sum = sum.plus(Self::load(a), Self::load(b));
        }
        if !a_tail.is_empty() {
            let sum = &mut sums[a_rest.len()];
            *sum = sum.plus(Self::part(a_tail), Self::part(b_tail));
        }
        sums[0].add(sums[2]).add(sums[1].add(sums[3]))
    }
}
