//! Weights in the mapped file: not copied, read as blocks of the file's types.
#![allow(unsafe_code, reason = "the bytes of a mapping are read as blocks")]

use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::sync::Arc;

use half::{bf16, f16};
use memmap2::Mmap;
use models::{DType, TensorView};

use super::element::Element;
use super::formats::{Format, Iq4Nl, Iq4Xs, Mxfp4, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use super::pool::each_part;
use super::simd::{PART, Scalar};
use crate::EngineError;
use crate::candle::{NAME, failed};

/// A matrix `[rows, columns]` in its file format; a row is one output.
#[derive(Clone)]
pub(crate) struct Weight {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) data: Data,
}

/// The elements of a weight by type.
#[derive(Clone)]
pub(super) enum Data {
    F32(Blocks<f32>),
    F16(Blocks<f16>),
    BF16(Blocks<bf16>),
    Q4_0(Blocks<Q4_0>),
    Q4_1(Blocks<Q4_1>),
    Q5_0(Blocks<Q5_0>),
    Q5_1(Blocks<Q5_1>),
    Q8_0(Blocks<Q8_0>),
    Q2K(Blocks<Q2K>),
    Q3K(Blocks<Q3K>),
    Q4K(Blocks<Q4K>),
    Q5K(Blocks<Q5K>),
    Q6K(Blocks<Q6K>),
    Iq4Nl(Blocks<Iq4Nl>),
    Iq4Xs(Blocks<Iq4Xs>),
    Mxfp4(Blocks<Mxfp4>),
}

/// Evaluates one of two expressions for the elements of a weight: for floats, or for quantised blocks.
macro_rules! by_kind {
    ($data:expr, $w:ident, floats => $floats:expr, quantised => $quantised:expr $(,)?) => {
        match $data {
            Data::F32($w) => $floats,
            Data::F16($w) => $floats,
            Data::BF16($w) => $floats,
            Data::Q4_0($w) => $quantised,
            Data::Q4_1($w) => $quantised,
            Data::Q5_0($w) => $quantised,
            Data::Q5_1($w) => $quantised,
            Data::Q8_0($w) => $quantised,
            Data::Q2K($w) => $quantised,
            Data::Q3K($w) => $quantised,
            Data::Q4K($w) => $quantised,
            Data::Q5K($w) => $quantised,
            Data::Q6K($w) => $quantised,
            Data::Iq4Nl($w) => $quantised,
            Data::Iq4Xs($w) => $quantised,
            Data::Mxfp4($w) => $quantised,
        }
    };
}
pub(super) use by_kind;

/// A type of elements or blocks that weights have.
pub(super) trait Stored: Sized {
    /// Elements of a block.
    const ELEMENTS: usize;

    /// The elements of a weight of this type; `None` if it has another one.
    fn of(data: &Data) -> Option<&Blocks<Self>>;
    /// Converts blocks to f32; `out` has the length of their elements.
    fn widen(blocks: &[Self], out: &mut [f32]);
}

macro_rules! stored {
    ($elements:expr, $widen:expr => $($block:ident as $variant:ident),*) => {
        $(impl Stored for $block {
            const ELEMENTS: usize = $elements;

            fn of(data: &Data) -> Option<&Blocks<Self>> {
                if let Data::$variant(blocks) = data { Some(blocks) } else { None }
            }

            fn widen(blocks: &[Self], out: &mut [f32]) {
                $widen(blocks, out);
            }
        })*
    };
}

stored!(1, widen_floats => f32 as F32, f16 as F16, bf16 as BF16);
stored!(
    <Self as Format>::ELEMENTS, widen_quantised =>
    Q4_0 as Q4_0, Q4_1 as Q4_1, Q5_0 as Q5_0, Q5_1 as Q5_1, Q8_0 as Q8_0, Q2K as Q2K, Q3K as Q3K, Q4K as Q4K, Q5K as Q5K, Q6K as Q6K,
    Iq4Nl as Iq4Nl, Iq4Xs as Iq4Xs, Mxfp4 as Mxfp4
);

fn widen_floats<E: Element>(elements: &[E], out: &mut [f32]) {
    for (out, element) in out.iter_mut().zip(elements) {
        *out = element.to_single();
    }
}

fn widen_quantised<F: Format>(blocks: &[F], out: &mut [f32]) {
    let (mut scales, mut minimums) = ([0.0; 16], [0.0; 16]);
    let groups = F::ELEMENTS / F::GROUP;
    for (block, out) in blocks.iter().zip(out.chunks_exact_mut(F::ELEMENTS)) {
        block.scales_and_minimums(&mut scales[..groups], &mut minimums[..groups]);
        for (part, out) in out.as_chunks_mut::<PART>().0.iter_mut().enumerate() {
            for (i, (out, quant)) in out.iter_mut().zip(block.quants::<Scalar>(part)).enumerate() {
                let group = (part * PART + i) / F::GROUP;
                #[allow(clippy::cast_precision_loss, reason = "a quant has at most 8 bits")]
                let multiple = (i32::from(quant) - F::ZERO) as f32;
                let product = scales[group] * multiple;
                *out = if F::HAS_MINIMUM { product + minimums[group] } else { product };
            }
        }
    }
}

impl Weight {
    /// Takes a tensor in the mapped file and makes its pages resident.
    pub(in crate::candle) fn new(view: &TensorView<'_>) -> Result<Self, EngineError> {
        let info = view.info();
        let (columns, rows) = match *info.shape.as_slice() {
            [length] => (length, 1),
            [rows, columns] => (columns, rows),
            _ => {
                return Err(failed(
                    &info.name,
                    format!("expected a matrix or a vector, found the shape {:?}", info.shape),
                ));
            }
        };
        let data = match info.dtype {
            DType::F32 => Data::F32(Blocks::new(view)?),
            DType::F16 => Data::F16(Blocks::new(view)?),
            DType::BF16 => Data::BF16(Blocks::new(view)?),
            DType::Q4_0 => Data::Q4_0(Blocks::new(view)?),
            DType::Q4_1 => Data::Q4_1(Blocks::new(view)?),
            DType::Q5_0 => Data::Q5_0(Blocks::new(view)?),
            DType::Q5_1 => Data::Q5_1(Blocks::new(view)?),
            DType::Q8_0 => Data::Q8_0(Blocks::new(view)?),
            DType::Q2_K => Data::Q2K(Blocks::new(view)?),
            DType::Q3_K => Data::Q3K(Blocks::new(view)?),
            DType::Q4_K => Data::Q4K(Blocks::new(view)?),
            DType::Q5_K => Data::Q5K(Blocks::new(view)?),
            DType::Q6_K => Data::Q6K(Blocks::new(view)?),
            DType::IQ4_NL => Data::Iq4Nl(Blocks::new(view)?),
            DType::IQ4_XS => Data::Iq4Xs(Blocks::new(view)?),
            DType::MXFP4 => Data::Mxfp4(Blocks::new(view)?),
            DType::Q8_1 | DType::Q8_K => {
                return Err(failed(&info.name, format!("{} is a type for activations, not for weights", info.dtype)));
            }
            _ => {
                let what = format!("{} of {}, a type of MLX", info.dtype, info.name);
                return Err(EngineError::unsupported(NAME, what, "use the engine mlx, or a GGUF file of this model"));
            }
        };
        let weight = Self { rows, columns, data };
        weight.check(&info.name)?;
        touch(view.bytes());
        Ok(weight)
    }

    /// Rows must be whole blocks, and none may be missing.
    fn check(&self, name: &str) -> Result<(), EngineError> {
        fn check<T: Stored>(weight: &Weight, blocks: &Blocks<T>, name: &str) -> Result<(), EngineError> {
            let per_row = weight.columns / T::ELEMENTS;
            if weight.columns.is_multiple_of(T::ELEMENTS) && blocks.len() == per_row * weight.rows {
                return Ok(());
            }
            let expected = format!("{} rows of {} elements in blocks of {}", weight.rows, weight.columns, T::ELEMENTS);
            Err(failed(name, format!("expected {expected}, found {} blocks", blocks.len())))
        }
        by_kind!(&self.data, blocks, floats => check(self, blocks, name), quantised => check(self, blocks, name))
    }

    /// Rows and columns; a vector is one row.
    pub(in crate::candle) fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// Converts row `row` to f32; `out` is `[columns]`. The caller has checked that the row exists.
    pub(in crate::candle) fn row(&self, row: usize, out: &mut [f32]) {
        fn convert<T: Stored>(blocks: &[T], columns: usize, row: usize, out: &mut [f32]) {
            let per_row = columns / T::ELEMENTS;
            T::widen(&blocks[row * per_row..][..per_row], out);
        }
        by_kind!(&self.data, blocks, floats => convert(blocks, self.columns, row, out), quantised => {
            convert(blocks, self.columns, row, out);
        });
    }
}

/// Blocks of one type, in the mapping or, if they are not aligned there, in a copy.
pub(super) struct Blocks<T> {
    bytes: Bytes,
    kind: PhantomData<T>,
}

#[derive(Clone)]
enum Bytes {
    /// In the mapped file.
    Mapped(Arc<Mmap>, Range<usize>),
    /// Copied, because the file does not align them (safetensors does not guarantee it); the number of bytes without padding.
    Copied(Arc<[u64]>, usize),
}

impl<T> Blocks<T> {
    fn new(view: &TensorView<'_>) -> Result<Self, EngineError> {
        let bytes = view.bytes();
        if !bytes.len().is_multiple_of(size_of::<T>()) {
            let reason =
                format!("its {} bytes are not a multiple of its block size of {}", bytes.len(), size_of::<T>());
            return Err(failed(&view.info().name, reason));
        }
        let bytes = if bytes.as_ptr().align_offset(align_of::<T>()) == 0 {
            Bytes::Mapped(view.owner(), view.range())
        } else {
            let word = |part: &[u8]| {
                let mut word = [0; 8];
                word[..part.len()].copy_from_slice(part);
                u64::from_ne_bytes(word)
            };
            Bytes::Copied(bytes.chunks(8).map(word).collect(), bytes.len())
        };
        Ok(Self { bytes, kind: PhantomData })
    }
}

impl<T> Clone for Blocks<T> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), kind: PhantomData }
    }
}

impl<T> Deref for Blocks<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let (start, length) = match &self.bytes {
            Bytes::Mapped(map, range) => (map[range.clone()].as_ptr(), range.len()),
            Bytes::Copied(words, length) => (words.as_ptr().cast(), *length),
        };
        // SAFETY: `new` checked that the bytes are whole blocks and aligned for them, or copied them to aligned memory; the block
        // types are plain numbers without invalid bit patterns; mapping and copy live as long as `self`.
        unsafe { std::slice::from_raw_parts(start.cast(), length / size_of::<T>()) }
    }
}

/// Reads one byte of every page, on all threads, so that the weights are resident before the first request.
fn touch(bytes: &[u8]) {
    const PAGE: usize = 4096;
    const SPAN: usize = 256 * PAGE;
    let mut sums = vec![0u8; bytes.len().div_ceil(SPAN)];
    each_part::<Scalar, _>(&mut sums, 1, bytes.len(), |span, sum| {
        let end = bytes.len().min((span + 1) * SPAN);
        let pages = bytes[span * SPAN..end].iter().step_by(PAGE);
        sum[0] = pages.fold(0, |sum, byte| sum ^ byte);
    });
    std::hint::black_box(sums);
}

#[cfg(test)]
pub(super) mod tests {
    use candle_core::quantized::{GgmlType, k_quants};
    use models::blocks::{IQ4_VALUES, MXFP4_VALUES};

    use super::*;

    /// Blocks in memory.
    fn copied<T>(bytes: &[u8]) -> Blocks<T> {
        let words = bytes.chunks(8).map(|part| {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            u64::from_ne_bytes(word)
        });
        Blocks { bytes: Bytes::Copied(words.collect(), bytes.len()), kind: PhantomData }
    }

    /// Numbers as a weight of this type, quantised by candle.
    pub(in crate::candle::cpu) fn quantised(dtype: DType, rows: usize, columns: usize, numbers: &[f32]) -> Weight {
        fn of<T: GgmlType, B>(numbers: &[f32]) -> Blocks<B> {
            let mut blocks = vec![T::zeros(); numbers.len() / T::BLCK_SIZE];
            T::from_float(numbers, &mut blocks);
            let length = size_of_val(blocks.as_slice());
            // SAFETY: blocks are plain numbers without padding.
            copied(unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast::<u8>(), length) })
        }
        /// Blocks of a number of parts: `head` gets the largest of the numbers and makes the bytes before the quants and the scale of
        /// all of them; quants are the nearest values of the table.
        fn by_table<B>(
            numbers: &[f32],
            (values, parts): ([i8; 16], usize),
            head: impl Fn(f32) -> (Vec<u8>, f32),
        ) -> Blocks<B> {
            let mut bytes = Vec::new();
            for block in numbers.chunks(32 * parts) {
                let (start, scale) = head(block.iter().fold(0f32, |most, x| most.max(x.abs())));
                bytes.extend(start);
                let nearest = |x: f32| {
                    let distance = |value: i8| (x / scale - f32::from(value)).abs();
                    (0u8..16)
                        .min_by(|a, b| distance(values[usize::from(*a)]).total_cmp(&distance(values[usize::from(*b)])))
                };
                for part in block.chunks(32) {
                    bytes.extend((0..16).map(|i| nearest(part[i]).unwrap() | nearest(part[i + 16]).unwrap() << 4));
                }
            }
            copied(&bytes)
        }
        let half = |x: f32| f16::from_f32(x).to_le_bytes().to_vec();
        let data = match dtype {
            DType::F32 => Data::F32(of::<f32, _>(numbers)),
            DType::F16 => Data::F16(of::<f16, _>(numbers)),
            DType::BF16 => Data::BF16(of::<bf16, _>(numbers)),
            DType::Q4_0 => Data::Q4_0(of::<k_quants::BlockQ4_0, _>(numbers)),
            DType::Q4_1 => Data::Q4_1(of::<k_quants::BlockQ4_1, _>(numbers)),
            DType::Q5_0 => Data::Q5_0(of::<k_quants::BlockQ5_0, _>(numbers)),
            DType::Q5_1 => Data::Q5_1(of::<k_quants::BlockQ5_1, _>(numbers)),
            DType::Q8_0 => Data::Q8_0(of::<k_quants::BlockQ8_0, _>(numbers)),
            DType::Q2_K => Data::Q2K(of::<k_quants::BlockQ2K, _>(numbers)),
            DType::Q3_K => Data::Q3K(of::<k_quants::BlockQ3K, _>(numbers)),
            DType::Q4_K => Data::Q4K(of::<k_quants::BlockQ4K, _>(numbers)),
            DType::Q5_K => Data::Q5K(of::<k_quants::BlockQ5K, _>(numbers)),
            DType::Q6_K => Data::Q6K(of::<k_quants::BlockQ6K, _>(numbers)),
            DType::IQ4_NL => Data::Iq4Nl(by_table(numbers, (IQ4_VALUES, 1), |most| (half(most / 127.0), most / 127.0))),
            // Scales of 31: all six bits.
            DType::IQ4_XS => Data::Iq4Xs(by_table(numbers, (IQ4_VALUES, 8), |most| {
                ([half(most / 127.0 / 31.0), vec![0xFF; 6]].concat(), most / 127.0)
            })),
            DType::MXFP4 => Data::Mxfp4(by_table(numbers, (MXFP4_VALUES, 1), |most| {
                // The scale of the table of twice the values, a power of two: 12 of it are at least the largest.
                let exponent = (most / 12.0).log2().ceil();
                (vec![(exponent + 128.0) as u8], exponent.exp2())
            })),
            _ => panic!("{dtype} is not a weight type of this engine"),
        };
        Weight { rows, columns, data }
    }

    #[test]
    fn a_weight_with_missing_blocks_is_refused() {
        let mut weight = quantised(DType::Q4_0, 2, 64, &[1.0; 128]);
        assert!(weight.check("w").is_ok());
        weight.rows = 3;
        let error = weight.check("w").unwrap_err().to_string();
        assert!(error.contains("3 rows of 64 elements in blocks of 32") && error.contains("4 blocks"), "{error}");
    }
}
