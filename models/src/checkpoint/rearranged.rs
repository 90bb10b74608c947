//! Tensors that store other rows or another order than the description has: the experts of gpt-oss in folders, keys and values of latent
//! attention in folders and in older GGUF files. Their bytes are rearranged when they are taken, into memory of the process; everything else of a
//! checkpoint stays in the mapped files.

use std::io;
use std::ops::Range;

use memmap2::{Mmap, MmapMut};

use crate::blocks;
use crate::dtype::DType;

/// How the stored bytes of all experts become rows `[experts, outputs, inputs]`. Output `o` is stored as number `first + step o`: gate
/// and up alternate in one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrangement {
    pub(super) experts: usize,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    pub(super) first: usize,
    pub(super) step: usize,
    pub(super) stored: Stored,
}

/// The stored form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// Floats `[experts, inputs, step outputs]` of this many bytes each.
    Transposed { element: usize },
    /// `[experts, rows, columns]` of this type, of which the rows from `first` on are the outputs, or the inputs if they are `transposed`:
    /// then blocks of several elements become F32 ([`Stored::transposed_type`]). An expert is a head here.
    RowsOfHeads { dtype: DType, rows: usize, transposed: bool },
    /// Codes `[experts, step outputs, inputs / 32, 16]`, two in a byte, the first in the low half; and one exponent for 32 codes, in
    /// another tensor: its mapping and its bytes.
    Mxfp4 { scales: (usize, Range<usize>) },
}

impl Stored {
    /// The type of the transposed matrix of one of this type: a block has elements of one row, so that those of a column are taken out of
    /// their blocks, with the same values.
    pub(super) const fn transposed_type(stored: DType) -> DType {
        if stored.is_quantised() { DType::F32 } else { stored }
    }
}

/// Elements of a block of MXFP4, and the bytes of their codes.
const ELEMENTS: usize = 32;
const CODES: usize = ELEMENTS / 2;

impl Arrangement {
    /// The bytes of the tensor, as a mapping of memory. The caller has checked that `bytes` and `scales` have the stored sizes.
    ///
    /// # Errors
    /// If the memory cannot be mapped, or the exponents are not in their mapping.
    pub(super) fn apply(&self, bytes: &[u8], maps: &[std::sync::Arc<Mmap>]) -> io::Result<Mmap> {
        match &self.stored {
            Stored::Transposed { element } => self.transposed(bytes, *element),
            Stored::RowsOfHeads { dtype, rows, transposed: false } => self.rows(bytes, *dtype, *rows),
            Stored::RowsOfHeads { dtype, rows, transposed: true } => self.columns(bytes, *dtype, *rows),
            Stored::Mxfp4 { scales: (map, range) } => {
                let outside = || io::Error::new(io::ErrorKind::InvalidData, "the exponents are outside of their file");
                let scales = maps.get(*map).and_then(|map| map.get(range.clone())).ok_or_else(outside)?;
                self.blocks(bytes, scales)
            }
        }
    }

    fn transposed(&self, bytes: &[u8], element: usize) -> io::Result<Mmap> {
        let &Self { experts, outputs, inputs, first, step, .. } = self;
        let mut out = MmapMut::map_anon(experts * outputs * inputs * element)?;
        let stored_row = outputs * step * element;
        let of_one = bytes.chunks_exact(inputs * stored_row).zip(out.chunks_exact_mut(outputs * inputs * element));
        for (stored, out) in of_one {
            // Tiles of outputs, so that the rows that are written stay in the cache.
            const TILE: usize = 64;
            for tile in (0..outputs).step_by(TILE) {
                let tile = tile..outputs.min(tile + TILE);
                for (input, row) in stored.chunks_exact(stored_row).enumerate() {
                    for output in tile.clone() {
                        let from = (first + step * output) * element;
                        let to = (output * inputs + input) * element;
                        out[to..to + element].copy_from_slice(&row[from..from + element]);
                    }
                }
            }
        }
        out.make_read_only()
    }

    /// Rows of each head, as they are.
    fn rows(&self, bytes: &[u8], dtype: DType, rows: usize) -> io::Result<Mmap> {
        let &Self { experts, outputs, inputs, first, .. } = self;
        let row = row_bytes(dtype, inputs);
        let mut out = MmapMut::map_anon(experts * outputs * row)?;
        for (stored, out) in bytes.chunks_exact(rows * row).zip(out.chunks_exact_mut(outputs * row)) {
            out.copy_from_slice(&stored[first * row..][..outputs * row]);
        }
        out.make_read_only()
    }

    /// Columns of the rows of each head.
    fn columns(&self, bytes: &[u8], dtype: DType, rows: usize) -> io::Result<Mmap> {
        let &Self { experts, outputs, inputs, first, .. } = self;
        let row = row_bytes(dtype, outputs);
        let element = Stored::transposed_type(dtype).block_bytes();
        let size = outputs * inputs * element;
        let mut out = MmapMut::map_anon(experts * size)?;
        // Of a stored row: its elements as bytes, and for blocks as numbers.
        let mut elements = vec![0u8; outputs * element];
        let mut numbers = vec![0f32; if dtype.is_quantised() { outputs } else { 0 }];
        for (stored, out) in bytes.chunks_exact(rows * row).zip(out.chunks_exact_mut(size)) {
            for (input, stored) in stored[first * row..].chunks_exact(row).take(inputs).enumerate() {
                if !dtype.is_quantised() {
                    elements.copy_from_slice(stored);
                } else if blocks::dequantise_into(dtype, stored, &mut numbers) {
                    for (to, number) in elements.chunks_exact_mut(element).zip(&numbers) {
                        to.copy_from_slice(&number.to_le_bytes());
                    }
                } else {
                    let reason = format!("{dtype} has no values without those of another tensor");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
                }
                for (output, from) in elements.chunks_exact(element).enumerate() {
                    out[(output * inputs + input) * element..][..element].copy_from_slice(from);
                }
            }
        }
        out.make_read_only()
    }

    /// Blocks of ggml: the exponent, then bytes with element `i` in the low half and `i + 16` in the high half.
    fn blocks(&self, codes: &[u8], scales: &[u8]) -> io::Result<Mmap> {
        let &Self { experts, outputs, inputs, first, step, .. } = self;
        let per_row = inputs / ELEMENTS;
        let mut out = MmapMut::map_anon(experts * outputs * per_row * (1 + CODES))?;
        for (row, out) in out.chunks_exact_mut(per_row * (1 + CODES)).enumerate() {
            let (expert, output) = (row / outputs, row % outputs);
            let stored = expert * outputs * step + first + step * output;
            let (codes, scales) = (&codes[stored * per_row * CODES..], &scales[stored * per_row..]);
            for (block, out) in out.chunks_exact_mut(1 + CODES).enumerate() {
                let code = |element: usize| codes[block * CODES + element / 2] >> (4 * (element % 2)) & 15;
                out[0] = scales[block];
                for at in 0..CODES {
                    out[1 + at] = code(at) | code(at + CODES) << 4;
                }
            }
        }
        out.make_read_only()
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a row is in memory")]
fn row_bytes(dtype: DType, elements: usize) -> usize {
    dtype.row_bytes(elements).get() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One expert with two inputs and outputs g0 u0 g1 u1 per input.
    #[test]
    fn alternating_columns_become_rows() {
        let stored = [10, 20, 11, 21, 12, 22, 13, 23];
        let of = |first| {
            let form = Stored::Transposed { element: 1 };
            Arrangement { experts: 1, outputs: 2, inputs: 2, first, step: 2, stored: form }.apply(&stored, &[]).unwrap()
        };
        assert_eq!((&of(0)[..], &of(1)[..]), (&[10, 12, 11, 13][..], &[20, 22, 21, 23][..]));
    }

    /// Two heads of two rows of keys and one of values, three columns.
    #[test]
    fn rows_of_heads_are_taken_or_transposed() {
        let stored: Vec<u8> = (0u16..18).flat_map(u16::to_le_bytes).collect();
        let of = |outputs, inputs, first, transposed| {
            let form = Stored::RowsOfHeads { dtype: DType::F16, rows: 3, transposed };
            let rearranged = Arrangement { experts: 2, outputs, inputs, first, step: 1, stored: form };
            let bytes = rearranged.apply(&stored, &[]).unwrap();
            bytes.chunks_exact(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]])).collect::<Vec<_>>()
        };
        assert_eq!(of(3, 2, 0, true), [0, 3, 1, 4, 2, 5, 9, 12, 10, 13, 11, 14]);
        assert_eq!(of(1, 3, 2, false), [6, 7, 8, 15, 16, 17]);
    }

    /// One head of two rows of keys and one of values, 32 columns of one block each. The keys are transposed as numbers, the row of the
    /// values keeps its block.
    #[test]
    fn blocks_are_transposed_as_numbers() {
        let rows: Vec<Vec<f32>> =
            (0..3u8).map(|row| (0..32u8).map(|at| f32::from(at) - 9.5 * f32::from(row)).collect()).collect();
        let mut stored = Vec::new();
        for row in &rows {
            assert!(blocks::quantise(DType::Q8_0, row, &mut stored));
        }
        let of = |outputs, inputs, first, transposed| {
            let form = Stored::RowsOfHeads { dtype: DType::Q8_0, rows: 3, transposed };
            Arrangement { experts: 1, outputs, inputs, first, step: 1, stored: form }.apply(&stored, &[]).unwrap()
        };
        let block = DType::Q8_0.block_bytes();
        assert_eq!(of(1, 32, 2, false)[..], stored[2 * block..]);
        let expected = blocks::dequantise(DType::Q8_0, &stored[..2 * block]).unwrap();
        let keys = of(32, 2, 0, true);
        let found: Vec<f32> = keys.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
        for column in 0..32 {
            assert_eq!(found[2 * column..][..2], [expected[column], expected[32 + column]], "column {column}");
        }
    }

    /// Two experts of two rows of one block; codes count up from 0, each byte has two.
    #[test]
    fn blocks_of_mxfp4_are_those_of_ggml() {
        let byte = |at: u8| ((2 * at) % 16) | (((2 * at + 1) % 16) << 4);
        let codes: Vec<u8> = (0..4).flat_map(|_| (0u8..16).map(byte)).collect();
        let mut scales = MmapMut::map_anon(4).unwrap();
        scales.copy_from_slice(&[1, 2, 3, 4]);
        let maps = [std::sync::Arc::new(scales.make_read_only().unwrap())];
        let form = Stored::Mxfp4 { scales: (0, 0..4) };
        let up = Arrangement { experts: 2, outputs: 1, inputs: 32, first: 1, step: 2, stored: form };
        let blocks = up.apply(&codes, &maps).unwrap();
        assert_eq!((blocks.len(), blocks[0], blocks[17]), (34, 2, 4));
        assert_eq!(&blocks[1..4], [0x00, 0x11, 0x22]);
        for place in [(0, 0..9), (1, 0..4)] {
            let outside = Arrangement { stored: Stored::Mxfp4 { scales: place }, ..up.clone() };
            assert!(outside.apply(&codes, &maps).is_err(), "the exponents are not there");
        }
    }
}
