//! Sixteen partial sums, and the one order in which they are added.
//!
//! A sum of floats depends on its order. If activations are rounded to 8 bits before the next product, a difference in the last
//! bit can become a whole rounding step. Every sum over a head or over positions therefore has one order, independent of threads
//! and tiles: element `i` belongs to lane `i % 16`, and the lanes are added as a tree, `i` and `i + 8` first, then `i + 4`,
//! `i + 2`, `i + 1`. It is the order of ggml's AVX-512 kernels, so that tokens can be compared with llama.cpp one by one. Builds
//! for other processors add in the same order; without fused multiply-add ([`fused`]) their last bits can still differ.
#![allow(unsafe_code, reason = "vector instructions of the processor")]

#[cfg(all(target_arch = "x86_64", target_feature = "avx512f"))]
pub(super) use self::wide::Lanes;

#[cfg(not(all(target_arch = "x86_64", target_feature = "avx512f")))]
pub(super) use self::plain::Lanes;

/// Number of partial sums.
pub(super) const LANES: usize = 16;

/// `a b + c`, rounded once if the processor has an instruction for it, else twice: in software it takes a hundred times as long.
#[inline(always)]
pub(super) fn fused(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { a.mul_add(b, c) } else { a * b + c }
}

impl Lanes {
    /// `sum_i a_i b_i` in sixteen lanes, of two slices of the same length. Four registers of lanes alternate, so that an addition
    /// does not wait for the one before it; they are added as a tree, the first and the third first.
    #[inline(always)]
    pub(super) fn products(a: &[f32], b: &[f32]) -> Self {
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

#[cfg(all(target_arch = "x86_64", target_feature = "avx512f"))]
mod wide {
    use std::arch::x86_64::{
        __m512, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_maskz_loadu_ps, _mm512_setzero_ps,
        _mm512_shuffle_f32x4, _mm512_shuffle_ps, _mm512_storeu_ps,
    };

    use super::LANES;

    /// Sixteen lanes in one register.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Lanes(__m512);

    impl Lanes {
        #[inline(always)]
        pub(in super::super) fn zero() -> Self {
            // SAFETY: this module exists only in builds for processors with AVX-512.
            Self(unsafe { _mm512_setzero_ps() })
        }

        #[inline(always)]
        pub(in super::super) fn load(elements: &[f32; LANES]) -> Self {
            // SAFETY: 64 readable bytes; the load needs no alignment.
            Self(unsafe { _mm512_loadu_ps(elements.as_ptr()) })
        }

        /// Fewer than sixteen elements; the other lanes are zero.
        #[inline(always)]
        pub(in super::super) fn part(elements: &[f32]) -> Self {
            debug_assert!(elements.len() < LANES, "{} elements are no part", elements.len());
            let mask = (1u16 << (elements.len() % LANES)) - 1;
            // SAFETY: the mask has a bit for each element; what it leaves out is not read.
            Self(unsafe { _mm512_maskz_loadu_ps(mask, elements.as_ptr()) })
        }

        #[inline(always)]
        pub(super) fn add(self, other: Self) -> Self {
            // SAFETY: this module exists only in builds for processors with AVX-512; no operand is memory.
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }

        /// `self + a b`
        #[inline(always)]
        pub(in super::super) fn plus(self, a: Self, b: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
        }

        /// The sum of the lanes.
        #[inline(always)]
        pub(in super::super) fn sum(self) -> f32 {
            Self::sums(|_| self)[0]
        }

        /// The sums of `of(0)` to `of(15)`: each step halves the lanes of two registers and packs them into one, so that sixteen
        /// sums take fifteen additions and not four each. Without a loop everything stays in registers.
        #[inline(always)]
        pub(in super::super) fn sums(of: impl Fn(usize) -> Self) -> [f32; LANES] {
            // The packing permutes its operands; this order of the arguments undoes the permutation.
            let quarters_0 = quarter(halve(of(0), of(4)), halve(of(8), of(12)));
            let quarters_1 = quarter(halve(of(1), of(5)), halve(of(9), of(13)));
            let quarters_2 = quarter(halve(of(2), of(6)), halve(of(10), of(14)));
            let quarters_3 = quarter(halve(of(3), of(7)), halve(of(11), of(15)));
            let pairs_0 = pack::<0b01_00_01_00, 0b11_10_11_10>(quarters_0, quarters_1);
            let pairs_1 = pack::<0b01_00_01_00, 0b11_10_11_10>(quarters_2, quarters_3);
            let sums = pack::<0b10_00_10_00, 0b11_01_11_01>(pairs_0, pairs_1);
            let mut out = [0.0; LANES];
            // SAFETY: 64 writable bytes; the store needs no alignment.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sums) };
            out
        }
    }

    /// Lanes `i` and `i + 8` of each, eight and eight.
    #[inline(always)]
    fn halve(a: Lanes, b: Lanes) -> __m512 {
        pack_fours::<0b01_00_01_00, 0b11_10_11_10>(a.0, b.0)
    }

    /// Lanes `i` and `i + 4` of each eight, four by four.
    #[inline(always)]
    fn quarter(a: __m512, b: __m512) -> __m512 {
        pack_fours::<0b10_00_10_00, 0b11_01_11_01>(a, b)
    }

    /// Sum of the groups of four lanes of `a` and `b` that `FIRST` selects and those that `SECOND` selects.
    #[inline(always)]
    fn pack_fours<const FIRST: i32, const SECOND: i32>(a: __m512, b: __m512) -> __m512 {
        #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]
        // SAFETY: this module exists only in builds for processors with AVX-512; no operand is memory.
        unsafe {
            _mm512_add_ps(_mm512_shuffle_f32x4::<FIRST>(a, b), _mm512_shuffle_f32x4::<SECOND>(a, b))
        }
    }

    /// As [`pack_fours`], for the lanes within each group of four.
    #[inline(always)]
    fn pack<const FIRST: i32, const SECOND: i32>(a: __m512, b: __m512) -> __m512 {
        #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]
        // SAFETY: as above.
        unsafe {
            _mm512_add_ps(_mm512_shuffle_ps::<FIRST>(a, b), _mm512_shuffle_ps::<SECOND>(a, b))
        }
    }
}

#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "avx512f"))))]
mod plain {
    use super::{LANES, fused};

    /// Sixteen lanes in an array, which the compiler vectorises.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Lanes([f32; LANES]);

    impl Lanes {
        #[inline(always)]
        pub(in super::super) fn zero() -> Self {
            Self([0.0; LANES])
        }

        #[inline(always)]
        pub(in super::super) fn load(elements: &[f32; LANES]) -> Self {
            Self(*elements)
        }

        /// Fewer than sixteen elements; the other lanes are zero.
        #[inline(always)]
        pub(in super::super) fn part(elements: &[f32]) -> Self {
            let mut all = [0.0; LANES];
            all[..elements.len()].copy_from_slice(elements);
            Self(all)
        }

        #[inline(always)]
        pub(super) fn add(self, other: Self) -> Self {
            Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
        }

        /// `self + a b`
        #[inline(always)]
        pub(in super::super) fn plus(self, a: Self, b: Self) -> Self {
            Self(std::array::from_fn(|lane| fused(a.0[lane], b.0[lane], self.0[lane])))
        }

        /// The sum of the lanes.
        #[inline(always)]
        pub(in super::super) fn sum(self) -> f32 {
            let mut lanes = self.0;
            for width in [8, 4, 2, 1] {
                for lane in 0..width {
                    lanes[lane] += lanes[lane + width];
                }
            }
            lanes[0]
        }

        /// The sums of `of(0)` to `of(15)`.
        #[inline(always)]
        pub(in super::super) fn sums(of: impl Fn(usize) -> Self) -> [f32; LANES] {
            std::array::from_fn(|i| of(i).sum())
        }
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "these tests check the order of a sum to the last bit")]
mod tests {
    use super::plain::Lanes as PlainLanes;
    use super::*;

    fn noise(length: usize, seed: f32) -> Vec<f32> {
        (0..length).map(|i| ((i as f32 + 1.0) * 0.618 + seed).sin() * 10f32.powi(i as i32 % 7 - 3)).collect()
    }

    #[test]
    fn the_order_of_a_sum_is_the_documented_one_to_the_last_bit() {
        for length in [1, 15, 16, 17, 48, 64, 80, 128, 200, 333] {
            let (a, b) = (noise(length, 0.3), noise(length, 1.7));
            let mut sums = [[0f32; LANES]; 4];
            for (i, (a, b)) in a.iter().zip(&b).enumerate() {
                let lane = &mut sums[i / LANES % 4][i % LANES];
                *lane = fused(*a, *b, *lane);
            }
            let mut lanes: [f32; LANES] =
                std::array::from_fn(|i| (sums[0][i] + sums[2][i]) + (sums[1][i] + sums[3][i]));
            for width in [8, 4, 2, 1] {
                for lane in 0..width {
                    lanes[lane] += lanes[lane + width];
                }
            }
            assert_eq!(Lanes::products(&a, &b).sum(), lanes[0], "{length} elements");
        }
    }

    #[test]
    fn sixteen_sums_are_those_of_each() {
        let rows: Vec<f32> = noise(256, 0.9);
        let rows: &[[f32; LANES]] = rows.as_chunks().0;
        let one_by_one: [f32; LANES] = std::array::from_fn(|i| PlainLanes::load(&rows[i]).sum());
        assert_eq!(Lanes::sums(|i| Lanes::load(&rows[i])), one_by_one);
        assert_eq!(PlainLanes::sums(|i| PlainLanes::load(&rows[i])), one_by_one);
        // The plain version multiplies and adds to the same bits.
        let (a, b) = (PlainLanes::load(&rows[0]), PlainLanes::load(&rows[1]));
        let (wide_a, wide_b) = (Lanes::load(&rows[0]), Lanes::load(&rows[1]));
        let plain_sum = PlainLanes::zero().plus(a, b).add(PlainLanes::part(&rows[2][..5])).sum();
        assert_eq!(Lanes::zero().plus(wide_a, wide_b).add(Lanes::part(&rows[2][..5])).sum(), plain_sum);
    }
}
