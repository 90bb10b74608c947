//! Instruction sets of processors, and the operations on vectors that the kernels are made of.
//!
//! A kernel is generic over [`Simd`] and compiled once for each instruction set. [`Level::detect`] chooses one when the engine is
//! loaded, by the features of the running processor, so that one binary is fast on all of them. All parts of a kernel that compute are
//! inlined into a function with the instructions enabled ([`Simd::call`]). A function that is not inlined there still computes the
//! right result, but slowly.
#![allow(unsafe_code, reason = "vector instructions of the processor")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use half::f16;

#[cfg(target_arch = "x86_64")]
pub(super) use self::avx2::{Avx2, AvxVnni};
#[cfg(target_arch = "x86_64")]
pub(super) use self::avx512::Avx512;
pub(super) use self::lanes::{LANES, Lanes};
#[cfg(target_arch = "aarch64")]
pub(super) use self::neon::Neon;
pub(super) use self::scalar::Scalar;

/// Elements of weights or activations whose products are summed together.
pub(super) const PART: usize = 32;

/// 32 activations in words of four; aligned so that a register is loaded from one cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
pub(in super::super) struct Part(pub(in super::super) [[i8; 4]; PART / 4]);

/// Four weights of each of sixteen rows, one after the other in the bytes of a number, the first one in the low bits. A register of 64
/// bytes is loaded from one cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(in super::super) struct Quad(pub(super) [u32; LANES]);

/// Bits of the weights of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Width {
    /// At most 15.
    Four,
    /// At most 63.
    Six,
    /// All bytes.
    Eight,
}

/// An instruction set.
///
/// The types of vectors are: `Bytes` 32 bytes, `Ints` 8 integers of 32 bits, `Sums` 8 f32, `Factors` 2 f32, `Lanes` 16 f32, `WideInts` 16
/// integers of 32 bits. Every operation has the same result in every instruction set, to the last bit, but for [`Simd::fused`].
pub(in super::super) trait Simd: Copy + Send + Sync + 'static {
    type Lanes: Lanes;
    type Bytes: Copy;
    type Ints: Copy;
    type Sums: Copy;
    type Factors: Copy;
    type WideInts: Copy;

    /// Whether there are 32 registers, so that tiles of eight rows of activations fit into them, and not only of four.
    const MANY_REGISTERS: bool;

    /// Calls `work` with the instructions enabled.
    fn call<A, R>(work: &impl Fn(A) -> R, argument: A) -> R;

    /// `a b + c`, rounded once if the instruction set has an instruction for it, else twice: in software it takes a hundred times as
    /// long.
    fn fused(a: f32, b: f32, c: f32) -> f32;

    /// Converts `source` into `out`, which have the same length.
    fn widen(source: &[f16], out: &mut [f32]);

    fn bytes(bytes: &[u8; PART]) -> Self::Bytes;
    fn activations(part: &Part) -> Self::Bytes;
    /// 16 bytes to 32 half bytes: the low halves first, then the high ones.
    fn nibbles(bytes: &[u8; 16]) -> Self::Bytes;
    fn store_bytes(bytes: Self::Bytes, out: &mut [u8; PART]);
    /// Each byte shifted right by `N` bits, and its lowest bits by `mask`.
    fn shifted<const N: i32>(bytes: Self::Bytes, mask: u8) -> Self::Bytes;
    /// Each byte shifted left by `N` bits, and its bits by `mask`, which has none of the lowest `N`.
    fn shifted_left<const N: i32>(bytes: Self::Bytes, mask: u8) -> Self::Bytes;
    /// `value` in each byte whose bit `N` is set, else zero.
    fn where_bit<const N: i32>(bytes: Self::Bytes, value: u8) -> Self::Bytes;
    /// `value` in byte `i` if bit `i` is set, else zero.
    fn by_bits(bits: u32, value: u8) -> Self::Bytes;
    fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    fn xor(bytes: Self::Bytes, value: u8) -> Self::Bytes;
    /// Each byte minus `value`, modulo 256.
    fn minus(bytes: Self::Bytes, value: u8) -> Self::Bytes;
    /// `table[i]` for each byte `i` below 16.
    fn look_up(table: &[i8; 16], indices: Self::Bytes) -> Self::Bytes;

    /// Products of unsigned bytes of at most 127 and signed bytes, summed in groups of four.
    fn unsigned_products(w: Self::Bytes, x: Self::Bytes) -> Self::Ints;
    /// Products of signed bytes of which `x` are not -128, summed in groups of four.
    fn signed_products(w: Self::Bytes, x: Self::Bytes) -> Self::Ints;
    /// `ints` plus the products of unsigned bytes of at most 63 and signed bytes, those of the first and of the second 16 with a scale
    /// each, in eight sums.
    fn add_scaled_products(ints: Self::Ints, w: Self::Bytes, x: Self::Bytes, scales: [i16; 2]) -> Self::Ints;
    fn zero_ints() -> Self::Ints;
    /// Products of 16-bit integers, summed in pairs.
    fn products_of_16(a: &[i16; 16], b: &[i16; 16]) -> Self::Ints;
    fn subtract(a: Self::Ints, b: Self::Ints) -> Self::Ints;

    fn zero_sums() -> Self::Sums;
    /// `sums + factor ints`; the factor is the product of the first factors of `a` and `b`.
    fn add_scaled(sums: Self::Sums, ints: Self::Ints, a: Self::Factors, b: Self::Factors) -> Self::Sums;
    /// The sum of the eight numbers, halves first.
    fn sum(sums: Self::Sums) -> f32;

    /// Two numbers.
    fn factors(numbers: &[f32; 2]) -> Self::Factors;
    /// Two halves of 16 bits each, the first one in the low bits.
    fn factors_of_halves(bits: u32) -> Self::Factors;
    /// `c + a b` for each of the two factors.
    fn add_factors(c: Self::Factors, a: Self::Factors, b: Self::Factors) -> Self::Factors;
    /// The second of two factors.
    fn second(factors: Self::Factors) -> f32;

    /// Sixteen rows of 32 bytes as eight times four bytes of each row.
    fn quads(rows: &[[u8; PART]; LANES]) -> [Quad; PART / 4];
    /// Products of the weights of sixteen rows with each of `M` rows of activations: `out[m][row]` is the sum over
    /// `(w[step][row][i] - zero) x[step][m][i]`. Weights are unsigned; `offsets[m]` is `-zero` times the sum of the activations of row
    /// `m`. For [`Width::Eight`] the zero point is 128. Activations are not -128. `x` has the length of `w`.
    fn products<const M: usize>(
        w: &[Quad],
        x: &[[[i8; 4]; M]],
        offsets: &[i32; M],
        width: Width,
    ) -> [Self::WideInts; M];
    fn to_lanes(ints: Self::WideInts) -> Self::Lanes;
}

/// An instruction set, chosen at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Level {
    /// No instructions beyond those that every processor of the architecture has.
    Scalar,
    /// AVX2, FMA and F16C: since Haswell and Zen.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// As before, with dot products of bytes (AVX-VNNI): since Alder Lake and Zen 5.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// AVX-512 with dot products of bytes (VNNI): since Ice Lake and Zen 4.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// Neon with dot products of bytes: since Armv8.4, on all processors of Apple.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Level {
    /// All levels, the best one last.
    pub(in super::super) const ALL: &'static [Self] = &[
        Self::Scalar,
        #[cfg(target_arch = "x86_64")]
        Self::Avx2,
        #[cfg(target_arch = "x86_64")]
        Self::AvxVnni,
        #[cfg(target_arch = "x86_64")]
        Self::Avx512,
        #[cfg(target_arch = "aarch64")]
        Self::Neon,
    ];

    /// The best one of this processor.
    pub(in super::super) fn detect() -> Self {
        Self::available().last().unwrap_or(Self::Scalar)
    }

    /// Those of this processor, the best one last.
    pub(in super::super) fn available() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|level| level.is_available())
    }

    /// The name that settings and reports use.
    pub(in super::super) const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => "avxvnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512vnni",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "dotprod",
        }
    }

    /// The features of processors that it uses.
    pub(in super::super) const fn features(self) -> &'static [&'static str] {
        match self {
            Self::Scalar => &[],
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => &["avx2", "fma", "f16c"],
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => &["avx2", "fma", "f16c", "avxvnni"],
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => &["avx2", "fma", "f16c", "avx512f", "avx512vnni"],
            #[cfg(target_arch = "aarch64")]
            Self::Neon => &["neon", "dotprod"],
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("bmi2");
        match self {
            Self::Scalar => true,
            Self::Avx2 => avx2,
            Self::AvxVnni => avx2 && is_x86_feature_detected!("avxvnni"),
            Self::Avx512 => {
                avx2 && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Neon => std::arch::is_aarch64_feature_detected!("dotprod"),
        }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn is_available(self) -> bool {
        true
    }
}

/// Evaluates an expression with the type `S` of an instruction set.
///
/// # Safety of the types
/// A [`Level`] other than `Scalar` exists only if [`Level::detect`] or [`Level::available`] found its instructions.
macro_rules! with_simd {
    ($level:expr, $S:ident => $work:expr) => {
        with_simd!($level, $S => $work, [
            #[cfg(target_arch = "x86_64")] Avx2 as Avx2, #[cfg(target_arch = "x86_64")] AvxVnni as AvxVnni,
            #[cfg(target_arch = "x86_64")] Avx512 as Avx512, #[cfg(target_arch = "aarch64")] Neon as Neon
        ])
    };
    ($level:expr, $S:ident => $work:expr, [$(#[$cfg:meta] $variant:ident as $simd:ident),*]) => {
        match $level {
            $crate::candle::cpu::simd::Level::Scalar => {
                type $S = $crate::candle::cpu::simd::Scalar;
                $work
            }
            $(#[$cfg] $crate::candle::cpu::simd::Level::$variant => {
                type $S = $crate::candle::cpu::simd::$simd;
                $work
            })*
        }
    };
}

/// The same for work on floats alone, for which AVX-VNNI is AVX2: it is compiled once for both.
macro_rules! with_floats {
    ($level:expr, $S:ident => $work:expr) => {
        with_simd!($level, $S => $work, [
            #[cfg(target_arch = "x86_64")] Avx2 as Avx2, #[cfg(target_arch = "x86_64")] AvxVnni as Avx2,
            #[cfg(target_arch = "x86_64")] Avx512 as Avx512, #[cfg(target_arch = "aarch64")] Neon as Neon
        ])
    };
}
pub(super) use {with_floats, with_simd};

#[cfg(test)]
mod tests;
