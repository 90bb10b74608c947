//! Random blocks of all supported types: valid, with mean 0 and a given standard deviation, generated directly without quantising
//! floats.
//!
//! A quantised block consists of a few scales and many codes. The codes are random bits, and the scale is chosen to give the standard
//! deviation. Codes of the symmetric types have a mean of -1/2, which scales of random sign cancel. (Even a small common mean would
//! matter: it adds up over a row, and every layer multiplies it.) Types with a minimum are centred exactly.

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::dtype::DType;

use super::plan::Values;
use super::random::Random;

/// Values of a tensor are generated in chunks of this many elements, each from its own random stream: a multiple of all block sizes.
pub(super) const CHUNK_ELEMS: usize = 64 * 1024;

/// The root mean square of the factors 0.75 to 1.25 by which the scales of blocks vary: the mean of f² is 1 + 0.5² / 12.
const SCALE_RMS: f32 = 1.010_363;

/// Standard deviation of n equally likely codes, sqrt((n² - 1) / 12), for 16, 32, 64 and 255 codes.
const CODES_16: f32 = 4.609_772;
const CODES_32: f32 = 9.233_093;
const CODES_64: f32 = 18.472_953;
const CODES_255: f32 = 73.611_14;

/// Root mean square of the values of MXFP4's table, which are twice the weights: sqrt((1 + 4 + 9 + 16 + 36 + 64 + 144) / 8).
const MXFP4_RMS: f32 = 5.852_35;

/// Root mean square of the 6-bit sub-scales, which are 32 to 63: sqrt(47.5² + (32² - 1) / 12).
const SUB_SCALE_RMS: f32 = 48.388_84;

/// Fills `out` with the elements `first..` of a tensor; `out` consists of complete blocks, and of at most one chunk.
pub(super) fn fill(out: &mut [u8], dtype: DType, values: &Values, first: usize, random: &mut Random) {
    match (values, dtype) {
        (Values::Exact(exact), _) => floats(out, dtype, |at, pair| {
            for (value, element) in pair.iter_mut().zip(first + at..) {
                *value = exact.get(element).copied().unwrap_or(1.0);
            }
        }),
        (Values::Norm { mean }, _) => {
            floats(out, dtype, |_, pair| pair.fill_with(|| mean * (1.0 + 0.1 * random.symmetric())));
        }
        (Values::Decay, _) => floats(out, dtype, |_, pair| pair.fill_with(|| -1.0 - 0.9 * random.symmetric())),
        (Values::Bias, _) => normal(out, dtype, 0.1, random),
        (Values::Weights { std }, DType::Q4_0) => symmetric(out, dtype, std / CODES_16, random),
        (Values::Weights { std }, DType::Q5_0) => symmetric(out, dtype, std / CODES_32, random),
        (Values::Weights { std }, DType::Q8_0) => q8_0(out, std / CODES_255, random),
        (Values::Weights { std }, DType::Q4_1) => with_minimum(out, dtype, std / CODES_16, 7.5, random),
        (Values::Weights { std }, DType::Q5_1) => with_minimum(out, dtype, std / CODES_32, 15.5, random),
        (Values::Weights { std }, DType::Q4_K) => super_blocks(out, dtype, std / CODES_16, 7.5, random),
        (Values::Weights { std }, DType::Q5_K) => super_blocks(out, dtype, std / CODES_32, 15.5, random),
        (Values::Weights { std }, DType::Q6_K) => q6_k(out, std / CODES_64, random),
        (Values::Weights { std }, DType::MXFP4) => mxfp4(out, std / MXFP4_RMS, random),
        (Values::Weights { std }, _) => normal(out, dtype, *std, random),
    }
}

/// Approximately normal numbers in one of the float formats.
fn normal(out: &mut [u8], dtype: DType, std: f32, random: &mut Random) {
    floats(out, dtype, |_, pair| {
        let values = random.normal_pair().map(|x| std * x);
        pair.copy_from_slice(&values[..pair.len()]);
    });
}

/// F32, or F16 rounded from it. `make` gets the index of an element in `out`, and that element and the next one (if there is one).
fn floats(out: &mut [u8], dtype: DType, mut make: impl FnMut(usize, &mut [f32])) {
    const RUN: usize = 512;
    let width = if dtype == DType::F32 { 4 } else { 2 };
    let mut run = [0f32; RUN];
    let mut halves = [f16::ZERO; RUN];
    for (index, bytes) in out.chunks_mut(RUN * width).enumerate() {
        let run = &mut run[..bytes.len() / width];
        for (pair_index, pair) in run.chunks_mut(2).enumerate() {
            make(index * RUN + pair_index * 2, pair);
        }
        if dtype == DType::F32 {
            for (bytes, value) in bytes.chunks_exact_mut(4).zip(run.iter()) {
                bytes.copy_from_slice(&value.to_le_bytes());
            }
        } else {
            let halves = &mut halves[..run.len()];
            halves.convert_from_f32_slice(run);
            for (bytes, value) in bytes.chunks_exact_mut(2).zip(halves.iter()) {
                bytes.copy_from_slice(&value.to_le_bytes());
            }
        }
    }
}

/// `middle` times a factor of 0.75 to 1.25 from the lowest eight bits.
fn scale(middle: f32, bits: u64) -> f16 {
    f16::from_f32(middle / SCALE_RMS * (0.75 + (bits & 0xFF) as f32 / 510.0))
}

/// The same with a random sign, from the ninth bit.
fn signed_scale(middle: f32, bits: u64) -> f16 {
    let scale = scale(middle, bits);
    if bits & 0x100 == 0 { scale } else { -scale }
}

/// Q4_0 and Q5_0: `d, codes`; a weight is `d (code - half)`.
fn symmetric(out: &mut [u8], dtype: DType, d: f32, random: &mut Random) {
    for block in out.chunks_exact_mut(dtype.block_bytes()) {
        let (head, codes) = block.split_at_mut(2);
        head.copy_from_slice(&signed_scale(d, random.next()).to_le_bytes());
        random.fill(codes);
    }
}

/// Q8_0: `d, 32 signed bytes`; a weight is `d code`. Quantisers do not use -128, and some kernels do not expect it.
fn q8_0(out: &mut [u8], d: f32, random: &mut Random) {
    for block in out.chunks_exact_mut(DType::Q8_0.block_bytes()) {
        let (head, codes) = block.split_at_mut(2);
        head.copy_from_slice(&signed_scale(d, random.next()).to_le_bytes());
        random.fill(codes);
        for code in codes {
            *code = (*code).cast_signed().max(-127).cast_unsigned();
        }
    }
}

/// Q4_1 and Q5_1: `d, m, codes`; a weight is `d code + m`, centred by `m = -d middle`.
fn with_minimum(out: &mut [u8], dtype: DType, d: f32, middle: f32, random: &mut Random) {
    for block in out.chunks_exact_mut(dtype.block_bytes()) {
        let (head, codes) = block.split_at_mut(4);
        let d = scale(d, random.next());
        head[..2].copy_from_slice(&d.to_le_bytes());
        head[2..].copy_from_slice(&f16::from_f32(-middle * d.to_f32()).to_le_bytes());
        random.fill(codes);
    }
}

/// Q4_K and Q5_K: `d, dmin, 12 bytes of sub-scales, codes`; a weight is `d sc code - dmin m`. With `m = sc` and
/// `dmin = d middle` each of the eight sub-blocks is centred.
fn super_blocks(out: &mut [u8], dtype: DType, d: f32, middle: f32, random: &mut Random) {
    for block in out.chunks_exact_mut(dtype.block_bytes()) {
        let (head, rest) = block.split_at_mut(4);
        let (packed, codes) = rest.split_at_mut(12);
        let bits = random.next();
        let d = scale(d / SUB_SCALE_RMS, bits);
        head[..2].copy_from_slice(&d.to_le_bytes());
        head[2..].copy_from_slice(&f16::from_f32(middle * d.to_f32()).to_le_bytes());
        pack_sub_scales(packed, std::array::from_fn(|i| 32 | (bits >> (9 + 5 * i)) as u8 & 31));
        random.fill(codes);
    }
}

/// Packs eight 6-bit sub-scales, used for minima too: bytes 0..4 and 4..8 hold scales and minima 0..4 and the upper two bits
/// of 4..8, bytes 8..12 the lower four of both (`get_scale_min_k4` of `ggml-quants.c`).
fn pack_sub_scales(packed: &mut [u8], sub: [u8; 8]) {
    for i in 0..4 {
        let (low, high) = (sub[i], sub[i + 4]);
        packed[i] = low | (high >> 4) << 6;
        packed[i + 4] = low | (high >> 4) << 6;
        packed[i + 8] = (high & 15) | (high & 15) << 4;
    }
}

/// Q6_K: `128 + 64 bytes of codes, 16 signed sub-scales, d`; a weight is `d sc (code - 32)`.
fn q6_k(out: &mut [u8], d: f32, random: &mut Random) {
    for block in out.chunks_exact_mut(DType::Q6_K.block_bytes()) {
        let (codes, tail) = block.split_at_mut(192);
        let (sub, last) = tail.split_at_mut(16);
        random.fill(codes);
        random.fill(sub);
        for code in sub {
            // Five bits of magnitude over 32, and a sign.
            let magnitude = (32 | *code & 31).cast_signed();
            *code = (if *code & 32 == 0 { magnitude } else { -magnitude }).cast_unsigned();
        }
        last.copy_from_slice(&scale(d / SUB_SCALE_RMS, random.next()).to_le_bytes());
    }
}

/// MXFP4: `exponent, codes`; a weight is `2^(exponent - 128) table[code]`. The square of the scale is `d^2` on average: it is one of the
/// two neighbouring powers of four, with the probability that gives this mean.
fn mxfp4(out: &mut [u8], d: f32, random: &mut Random) {
    let lower = d.log2().floor();
    let share = ((d / lower.exp2()).powi(2) - 1.0) / 3.0;
    for block in out.chunks_exact_mut(DType::MXFP4.block_bytes()) {
        let (head, codes) = block.split_at_mut(1);
        let is_larger = (random.next() & 0xFFFF) as f32 / 65_536.0 < share;
        head[0] = (lower + 128.0 + f32::from(u8::from(is_larger))).clamp(0.0, 254.0) as u8;
        random.fill(codes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dequantises by the definition of the format, independent of the code above.
    fn dequantise(dtype: DType, bytes: &[u8]) -> Vec<f32> {
        let half = |b: &[u8]| f16::from_le_bytes([b[0], b[1]]).to_f32();
        let mut out = Vec::new();
        for b in bytes.chunks_exact(dtype.block_bytes()) {
            match dtype {
                DType::F16 => out.push(half(b)),
                DType::F32 => out.push(f32::from_le_bytes(b.try_into().unwrap())),
                DType::Q4_0 | DType::Q4_1 => {
                    let (d, m, codes) = if dtype == DType::Q4_0 {
                        (half(b), -8.0 * half(b), &b[2..])
                    } else {
                        (half(b), half(&b[2..]), &b[4..])
                    };
                    out.extend(codes.iter().map(|c| f32::from(c & 15) * d + m));
                    out.extend(codes.iter().map(|c| f32::from(c >> 4) * d + m));
                }
                DType::Q5_0 | DType::Q5_1 => {
                    let (d, m, rest) = if dtype == DType::Q5_0 {
                        (half(b), -16.0 * half(b), &b[2..])
                    } else {
                        (half(b), half(&b[2..]), &b[4..])
                    };
                    let fifth = u32::from_le_bytes(rest[..4].try_into().unwrap());
                    for i in 0..32 {
                        let low = if i < 16 { rest[4 + i] & 15 } else { rest[4 + i - 16] >> 4 };
                        out.push((f32::from(low) + ((fifth >> i) & 1) as f32 * 16.0) * d + m);
                    }
                }
                DType::Q8_0 => out.extend(b[2..].iter().map(|&c| f32::from(c.cast_signed()) * half(b))),
                DType::Q4_K | DType::Q5_K => {
                    let (d, dmin) = (half(b), half(&b[2..]));
                    let s = &b[4..16];
                    for j in 0..8 {
                        let (sc, m) = if j < 4 {
                            (s[j] & 63, s[j + 4] & 63)
                        } else {
                            ((s[j + 4] & 15) | ((s[j - 4] >> 6) << 4), (s[j + 4] >> 4) | ((s[j] >> 6) << 4))
                        };
                        for i in 0..32 {
                            let (high_bits, codes) =
                                if dtype == DType::Q4_K { (None, &b[16..]) } else { (Some(&b[16..48]), &b[48..]) };
                            let byte = codes[(j / 2) * 32 + i];
                            let mut code = if j % 2 == 0 { byte & 15 } else { byte >> 4 };
                            if let Some(high) = high_bits {
                                code += ((high[i] >> j) & 1) * 16;
                            }
                            out.push(d * f32::from(sc) * f32::from(code) - dmin * f32::from(m));
                        }
                    }
                }
                DType::Q6_K => {
                    let d = half(&b[208..]);
                    for i in 0..256 {
                        let (half_block, in_half) = (i / 128, i % 128);
                        let (quarter, lane) = (in_half / 32, in_half % 32);
                        let low = b[half_block * 64 + lane + 32 * (quarter % 2)];
                        let low = if quarter < 2 { low & 15 } else { low >> 4 };
                        let high = (b[128 + half_block * 32 + lane] >> (2 * quarter)) & 3;
                        let code = f32::from(low | high << 4) - 32.0;
                        out.push(d * f32::from(b[192 + i / 16].cast_signed()) * code);
                    }
                }
                DType::MXFP4 => {
                    let value = |code: u8| {
                        let (sign, exponent, fraction) =
                            (code >> 3, i32::from(code >> 1 & 3), f32::from(code & 1) / 2.0);
                        let size = if exponent == 0 { fraction } else { (1.0 + fraction) * 2f32.powi(exponent - 1) };
                        let scale = 2f32.powi(i32::from(b[0]) - 127);
                        if sign == 1 { -size * scale } else { size * scale }
                    };
                    out.extend(b[1..].iter().map(|c| value(c & 15)));
                    out.extend(b[1..].iter().map(|c| value(c >> 4)));
                }
                other => panic!("{other}"),
            }
        }
        out
    }

    fn chunk(dtype: DType, fill_with: &Values, elems: usize, number: u64) -> Vec<f32> {
        let mut bytes = vec![0; elems / dtype.block_elems() * dtype.block_bytes()];
        fill(&mut bytes, dtype, fill_with, 0, &mut Random::stream(1, "t", number));
        dequantise(dtype, &bytes)
    }

    fn first_chunk(dtype: DType, fill_with: &Values, elems: usize) -> Vec<f32> {
        chunk(dtype, fill_with, elems, 0)
    }

    fn moments(values: &[f32]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        (mean, (values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n).sqrt())
    }

    #[test]
    fn weights_have_the_given_deviation_and_mean_zero() {
        let types = [
            DType::F32,
            DType::F16,
            DType::Q4_0,
            DType::Q4_1,
            DType::Q5_0,
            DType::Q5_1,
            DType::Q8_0,
            DType::Q4_K,
            DType::Q5_K,
            DType::Q6_K,
            DType::MXFP4,
        ];
        for dtype in types {
            // Deviations as in real models; small ones reach the smallest scales of f16.
            for std in [0.02f32, 0.0083, 0.5] {
                // Scales vary by a quarter between blocks, so that thousands of blocks are needed for a precise mean.
                let values: Vec<f32> =
                    (0..16).flat_map(|number| chunk(dtype, &Values::Weights { std }, CHUNK_ELEMS, number)).collect();
                let (mean, found) = moments(&values);
                assert_eq!(values.len(), 16 * CHUNK_ELEMS);
                assert!((found / f64::from(std) - 1.0).abs() < 0.01, "{dtype}: wanted {std}, found {found}");
                assert!(mean.abs() < 0.005 * found, "{dtype}: mean {mean}, deviation {found}");
                assert!(values.iter().all(|v| v.abs() < 6.0 * std), "{dtype}: an outlier");
            }
        }
    }

    #[test]
    fn norms_are_near_one_and_biases_small() {
        let norm = first_chunk(DType::F32, &Values::Norm { mean: 1.0 }, 4096);
        assert!(norm.iter().all(|v| (0.9..1.1).contains(v)));
        let (mean, deviation) = moments(&first_chunk(DType::F32, &Values::Bias, 4096));
        assert!(mean.abs() < 0.01 && (deviation - 0.1).abs() < 0.01);
    }

    #[test]
    fn exact_values_are_kept_at_odd_lengths() {
        let values = vec![1.0, 2.0, 3.5];
        assert_eq!(first_chunk(DType::F32, &Values::Exact(values.clone()), 3), values);
    }

    #[test]
    fn eight_bit_codes_are_never_minus_128() {
        let mut bytes = vec![0; 2048 * 34];
        fill(&mut bytes, DType::Q8_0, &Values::Weights { std: 0.1 }, 0, &mut Random::stream(1, "t", 0));
        assert!(bytes.chunks_exact(34).all(|b| b[2..].iter().all(|&c| c != 128)));
    }
}
