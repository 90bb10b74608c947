//! The reference: no instructions beyond those that every processor of the architecture has.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::{LANES, Lanes, PART, Part, Quad, Simd, Width};

/// Plain numbers.
#[derive(Clone, Copy)]
pub(in super::super) struct Scalar;

/// Sixteen lanes in an array, which the compiler vectorises. `FUSED`: with fused multiply-add, which the surrounding code has enabled.
#[derive(Clone, Copy)]
pub(in super::super) struct ArrayLanes<const FUSED: bool>([f32; LANES]);

/// `[of(0), of(1), ...]`. The loop is written out: the compiler does not inline the standard library's functions for long arrays.
#[inline(always)]
fn array<T: Copy + Default, const N: usize>(of: impl Fn(usize) -> T) -> [T; N] {
    let mut out = [T::default(); N];
    for (i, out) in out.iter_mut().enumerate() {
        *out = of(i);
    }
    out
}

impl<const FUSED: bool> From<[f32; LANES]> for ArrayLanes<FUSED> {
    #[inline(always)]
    fn from(lanes: [f32; LANES]) -> Self {
        Self(lanes)
    }
}

/// `a b + c`
#[inline(always)]
pub(super) fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

impl<const FUSED: bool> Lanes for ArrayLanes<FUSED> {
    #[inline(always)]
    fn zero() -> Self {
        Self([0.0; LANES])
    }

    #[inline(always)]
    fn splat(number: f32) -> Self {
        Self([number; LANES])
    }

    #[inline(always)]
    fn load(elements: &[f32; LANES]) -> Self {
        Self(*elements)
    }

    #[inline(always)]
    fn part(elements: &[f32]) -> Self {
        let mut all = [0.0; LANES];
        all[..elements.len()].copy_from_slice(elements);
        Self(all)
    }

    #[inline(always)]
    fn store(self, out: &mut [f32; LANES]) {
        *out = self.0;
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(array(|lane| self.0[lane] + other.0[lane]))
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        Self(array(|lane| self.0[lane] * other.0[lane]))
    }

    #[inline(always)]
    fn plus(self, a: Self, b: Self) -> Self {
        Self(array(|lane| multiply_add::<FUSED>(a.0[lane], b.0[lane], self.0[lane])))
    }

    #[inline(always)]
    fn sums(all: [Self; LANES]) -> [f32; LANES] {
        array(|i| all[i].sum())
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let mut lanes = self.0;
        for width in [8, 4, 2, 1] {
            for lane in 0..width {
                lanes[lane] += lanes[lane + width];
            }
        }
        lanes[0]
    }
}

/// A byte as a signed number.
#[inline(always)]
fn signed(byte: u8) -> i32 {
    i32::from(byte.cast_signed())
}

/// Sums of four of 32 products each.
#[inline(always)]
fn sums_of_four(product: impl Fn(usize) -> i32) -> [i32; 8] {
    array(|lane| (0..4).map(|i| product(4 * lane + i)).sum())
}

#[allow(clippy::cast_precision_loss, reason = "sums of products of bytes are rounded once, as by the instruction")]
impl Simd for Scalar {
    const MANY_REGISTERS: bool = false;

    type Lanes = ArrayLanes<false>;
    type Bytes = [u8; PART];
    type Ints = [i32; 8];
    type Sums = [f32; 8];
    type Factors = [f32; 2];
    type WideInts = [i32; LANES];

    #[inline(always)]
    fn call<A, R>(work: &impl Fn(A) -> R, argument: A) -> R {
        work(argument)
    }

    #[inline(always)]
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        multiply_add::<false>(a, b, c)
    }

    #[inline(always)]
    fn widen(source: &[f16], out: &mut [f32]) {
        source.convert_to_f32_slice(out);
    }

    #[inline(always)]
    fn bytes(bytes: &[u8; PART]) -> [u8; PART] {
        *bytes
    }

    #[inline(always)]
    fn activations(part: &Part) -> [u8; PART] {
        array(|i| part.0[i / 4][i % 4].cast_unsigned())
    }

    #[inline(always)]
    fn nibbles(bytes: &[u8; 16]) -> [u8; PART] {
        array(|i| if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 })
    }

    #[inline(always)]
    fn store_bytes(bytes: [u8; PART], out: &mut [u8; PART]) {
        *out = bytes;
    }

    #[inline(always)]
    fn shifted<const N: i32>(bytes: [u8; PART], mask: u8) -> [u8; PART] {
        array(|i| {
            let byte = bytes[i];
            byte >> N & mask
        })
    }

    #[inline(always)]
    fn shifted_left<const N: i32>(bytes: [u8; PART], mask: u8) -> [u8; PART] {
        array(|i| {
            let byte = bytes[i];
            byte << N & mask
        })
    }

    #[inline(always)]
    fn where_bit<const N: i32>(bytes: [u8; PART], value: u8) -> [u8; PART] {
        array(|i| {
            let byte = bytes[i];
            if byte >> N & 1 == 1 { value } else { 0 }
        })
    }

    #[inline(always)]
    fn by_bits(bits: u32, value: u8) -> [u8; PART] {
        array(|i| if bits >> i & 1 == 1 { value } else { 0 })
    }

    #[inline(always)]
    fn or(a: [u8; PART], b: [u8; PART]) -> [u8; PART] {
        array(|i| a[i] | b[i])
    }

    #[inline(always)]
    fn xor(bytes: [u8; PART], value: u8) -> [u8; PART] {
        array(|i| {
            let byte = bytes[i];
            byte ^ value
        })
    }

    #[inline(always)]
    fn minus(bytes: [u8; PART], value: u8) -> [u8; PART] {
        array(|i| {
            let byte = bytes[i];
            byte.wrapping_sub(value)
        })
    }

    #[inline(always)]
    fn look_up(table: &[i8; 16], indices: [u8; PART]) -> [u8; PART] {
        array(|i| table[usize::from(indices[i] & 15)].cast_unsigned())
    }

    #[inline(always)]
    fn unsigned_products(w: [u8; PART], x: [u8; PART]) -> [i32; 8] {
        sums_of_four(|i| i32::from(w[i]) * signed(x[i]))
    }

    #[inline(always)]
    fn signed_products(w: [u8; PART], x: [u8; PART]) -> [i32; 8] {
        sums_of_four(|i| signed(w[i]) * signed(x[i]))
    }

    #[inline(always)]
    fn add_scaled_products(ints: [i32; 8], w: [u8; PART], x: [u8; PART], scales: [i16; 2]) -> [i32; 8] {
        let sums = sums_of_four(|i| i32::from(w[i]) * signed(x[i]));
        array(|lane| ints[lane] + sums[lane] * i32::from(scales[lane / 4]))
    }

    #[inline(always)]
    fn zero_ints() -> [i32; 8] {
        [0; 8]
    }

    #[inline(always)]
    fn products_of_16(a: &[i16; 16], b: &[i16; 16]) -> [i32; 8] {
        let product = |i: usize| i32::from(a[i]) * i32::from(b[i]);
        array(|lane| product(2 * lane) + product(2 * lane + 1))
    }

    #[inline(always)]
    fn subtract(a: [i32; 8], b: [i32; 8]) -> [i32; 8] {
        array(|lane| a[lane] - b[lane])
    }

    #[inline(always)]
    fn zero_sums() -> [f32; 8] {
        [0.0; 8]
    }

    #[inline(always)]
    fn add_scaled(sums: [f32; 8], ints: [i32; 8], a: [f32; 2], b: [f32; 2]) -> [f32; 8] {
        let factor = a[0] * b[0];
        array(|lane| multiply_add::<false>(factor, ints[lane] as f32, sums[lane]))
    }

    #[inline(always)]
    fn sum(sums: [f32; 8]) -> f32 {
        let four: [f32; 4] = array(|lane| sums[lane + 4] + sums[lane]);
        (four[0] + four[2]) + (four[1] + four[3])
    }

    #[inline(always)]
    fn factors(numbers: &[f32; 2]) -> [f32; 2] {
        *numbers
    }

    #[inline(always)]
    fn factors_of_halves(bits: u32) -> [f32; 2] {
        #[allow(clippy::cast_possible_truncation, reason = "the low and the high half")]
        [f16::from_bits(bits as u16).to_f32(), f16::from_bits((bits >> 16) as u16).to_f32()]
    }

    #[inline(always)]
    fn add_factors(c: [f32; 2], a: [f32; 2], b: [f32; 2]) -> [f32; 2] {
        array(|i| multiply_add::<false>(a[i], b[i], c[i]))
    }

    #[inline(always)]
    fn second(factors: [f32; 2]) -> f32 {
        factors[1]
    }

    #[inline(always)]
    fn quads(rows: &[[u8; PART]; LANES]) -> [Quad; PART / 4] {
        array(|step| Quad(array(|row| u32::from_le_bytes(array(|i| rows[row][4 * step + i])))))
    }

    #[inline(always)]
    fn products<const M: usize>(
        w: &[Quad],
        x: &[[[i8; 4]; M]],
        offsets: &[i32; M],
        _width: Width,
    ) -> [[i32; LANES]; M] {
        let mut out = offsets.map(|offset| [offset; LANES]);
        for (w, x) in w.iter().zip(x) {
            for (out, x) in out.iter_mut().zip(x) {
                for (out, w) in out.iter_mut().zip(w.0.map(u32::to_le_bytes)) {
                    *out += (0..4).map(|i| i32::from(w[i]) * i32::from(x[i])).sum::<i32>();
                }
            }
        }
        out
    }

    #[inline(always)]
    fn to_lanes(ints: [i32; LANES]) -> ArrayLanes<false> {
        ArrayLanes(array(|lane| ints[lane] as f32))
    }
}
