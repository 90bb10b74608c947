//! Weights of float types and of ggml's block types as single-precision numbers.
//!
//! Each formula is that of the program that defines the format. Products of a block's scales and a quant fit into the 24 bits of an
//! f32 significand, so only the sum of a scaled quant and a minimum is rounded, once.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::{DequantiseBlock, blocks_of_32, blocks_of_256, tables};
use crate::dtype::DType;

/// The numbers of complete blocks; `None` for the types of activations (Q8_1, Q8_K), and for those of MLX, whose scales are in
/// separate tensors.
#[must_use]
pub fn dequantise(dtype: DType, bytes: &[u8]) -> Option<Vec<f32>> {
    let mut out = vec![0.0; bytes.len() / dtype.block_bytes() * dtype.block_elems()];
    dequantise_into(dtype, bytes, &mut out).then_some(out)
}

/// The same, written to `out`, which has exactly the length of the numbers in `bytes`. Returns `false` and writes nothing for the
/// types for which [`dequantise`] returns `None`.
pub(crate) fn dequantise_into(dtype: DType, bytes: &[u8], out: &mut [f32]) -> bool {
    match dtype {
        DType::F32 => {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *out = f32::from_le_bytes(*bytes);
            }
        }
        DType::F16 => convert_runs(bytes, f16::from_le_bytes, <[f16]>::convert_to_f32_slice, out),
        DType::BF16 => convert_runs(bytes, bf16::from_le_bytes, <[bf16]>::convert_to_f32_slice, out),
        _ => {
            let Some(block) = block_function(dtype) else { return false };
            let blocks = bytes.chunks_exact(dtype.block_bytes());
            for (bytes, out) in blocks.zip(out.chunks_exact_mut(dtype.block_elems())) {
                block(bytes, out);
            }
        }
    }
    true
}

fn block_function(dtype: DType) -> Option<DequantiseBlock> {
    Some(match dtype {
        DType::Q4_0 => blocks_of_32::q4_0,
        DType::Q4_1 => blocks_of_32::q4_1,
        DType::Q5_0 => blocks_of_32::q5_0,
        DType::Q5_1 => blocks_of_32::q5_1,
        DType::Q8_0 => blocks_of_32::q8_0,
        DType::Q2_K => blocks_of_256::q2_k,
        DType::Q3_K => blocks_of_256::q3_k,
        DType::Q4_K => blocks_of_256::q4_k,
        DType::Q5_K => blocks_of_256::q5_k,
        DType::Q6_K => blocks_of_256::q6_k,
        DType::IQ4_NL => tables::iq4_nl,
        DType::IQ4_XS => tables::iq4_xs,
        DType::MXFP4 => tables::mxfp4,
        _ => return None,
    })
}

/// 16-bit floats in runs: converting many at once uses the processor's instructions for it.
fn convert_runs<T: Copy + Default>(
    bytes: &[u8],
    read: fn([u8; 2]) -> T,
    convert: fn(&[T], &mut [f32]),
    out: &mut [f32],
) {
    const RUN: usize = 512;
    let mut run = [T::default(); RUN];
    for (bytes, out) in bytes.as_chunks::<2>().0.chunks(RUN).zip(out.chunks_mut(RUN)) {
        let run = &mut run[..bytes.len()];
        for (half, bytes) in run.iter_mut().zip(bytes) {
            *half = read(*bytes);
        }
        convert(run, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random blocks and their values by the Python package gguf, from `tests/oracle/block_values.py`.
    #[test]
    fn blocks_with_tables_have_the_values_of_gguf_to_the_bit() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/block_values.json");
        let types: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(types.len(), 3);
        let bytes = |hexadecimal: &serde_json::Value| -> Vec<u8> {
            let pairs = hexadecimal.as_str().unwrap().as_bytes().chunks(2);
            pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
        };
        for (name, blocks) in &types {
            let dtype = DType::from_name(name).unwrap();
            for block in blocks.as_array().unwrap() {
                let found = dequantise(dtype, &bytes(&block["block"])).unwrap();
                let found: Vec<u8> = found.iter().flat_map(|value| value.to_le_bytes()).collect();
                assert_eq!(found, bytes(&block["values"]), "{name}");
            }
        }
    }

    #[test]
    fn floats_of_any_length() {
        let singles: Vec<u8> = [1.5f32, -0.0, 3e-40].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(dequantise(DType::F32, &singles).unwrap(), [1.5, -0.0, 3e-40]);
        let values: Vec<f32> = (0..1_100).map(|at| at as f32 / 8.0 - 60.0).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        assert_eq!(dequantise(DType::F16, &bytes).unwrap(), values);
        let coarse: Vec<f32> = (0..1_100).map(|at| (at % 256) as f32).collect();
        let bytes: Vec<u8> = coarse.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect();
        assert_eq!(dequantise(DType::BF16, &bytes).unwrap(), coarse);
    }

    #[test]
    fn all_types_of_weights_are_dequantised() {
        for dtype in DType::ALL {
            let is_read = dequantise(dtype, &vec![0; dtype.block_bytes()]).is_some();
            assert_eq!(is_read, !matches!(dtype, DType::Q8_1 | DType::Q8_K), "{dtype}");
        }
        assert_eq!(dequantise(DType::MLX4_64, &[0; 36]), None);
    }
}
