//! Element types and single-precision numbers: dequantising all types of weights, and quantising to the 16-bit floats and to ggml's
//! blocks of 32.

mod blocks_of_256;
mod blocks_of_32;
mod dequantise;
mod mlx;
mod quantise;
mod tables;

use half::f16;

pub use dequantise::dequantise;
pub(crate) use dequantise::dequantise_into;
pub(crate) use mlx::{MlxGroups, dequantise_mlx};
pub use quantise::{can_quantise, quantise};
pub use tables::{IQ4_VALUES, MXFP4_VALUES, half_power_of_two};

/// Writes the numbers of one block, `block_elems` of them.
type DequantiseBlock = fn(&[u8], &mut [f32]);

/// The 16-bit float at byte `at` of a block.
fn read_f16(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}
