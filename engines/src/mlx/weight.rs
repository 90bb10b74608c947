//! Weights in MLX's memory.

use half::{bf16, f16};
use mlx_rs::fast::rms_norm;
use mlx_rs::ops::indexing::take_axis;
use mlx_rs::ops::{dequantize, matmul, quantized_matmul};
use mlx_rs::{Array, Dtype};
use models::{Checkpoint, DType, TensorView};

use super::repack::{GROUP, repack, widen};
use super::settings::Dequantise;
use super::{NAME, at, failed, int};
use crate::EngineError;

/// A matrix `[outputs, inputs]`.
pub(super) enum Matrix {
    /// Quantised: `scale * q + bias` in groups along the inputs.
    Packed {
        words: Array,  // [outputs, inputs * bits / 32], u32
        scales: Array, // [outputs, inputs / group]
        biases: Array, // [outputs, inputs / group]
        group: i32,
        bits: i32,
    },
    /// In the type of the activations.
    Floats(Array), // [outputs, inputs]
}

impl Matrix {
    /// `x weight^T`: `[rows, inputs]` to `[rows, outputs]`
    pub(super) fn apply(&self, x: &Array) -> mlx_rs::error::Result<Array> {
        match self {
            Self::Packed { words, scales, biases, group, bits } => {
                // With scales in f32 the product is in f32 too.
                quantized_matmul(x, words, scales, Some(biases), true, *group, *bits)?.as_dtype(x.dtype())
            }
            Self::Floats(weight) => matmul(x, weight.transpose()?),
        }
    }

    /// `weight[ids[r]]` in `dtype`: `[rows, inputs]`
    pub(super) fn lookup(&self, ids: &Array, dtype: Dtype) -> mlx_rs::error::Result<Array> {
        match self {
            Self::Packed { words, scales, biases, group, bits } => {
                let (words, scales, biases) =
                    (take_axis(words, ids, 0)?, take_axis(scales, ids, 0)?, take_axis(biases, ids, 0)?);
                dequantize(words, scales, Some(&biases), *group, *bits)?.as_dtype(dtype)
            }
            Self::Floats(weight) => take_axis(weight, ids, 0)?.as_dtype(dtype),
        }
    }
}

/// A matrix with its optional bias.
pub(super) struct Linear {
    pub(super) matrix: Matrix,
    pub(super) bias: Option<Array>, // [outputs]
}

impl Linear {
    /// `x weight^T (+ bias)`
    pub(super) fn apply(&self, x: &Array) -> mlx_rs::error::Result<Array> {
        let product = self.matrix.apply(x)?;
        match &self.bias {
            Some(bias) => product.add(bias),
            None => Ok(product),
        }
    }
}

/// The weight of a norm.
pub(super) struct Norm {
    pub(super) weight: Array, // [hidden]
    pub(super) epsilon: f32,
}

impl Norm {
    /// `x / sqrt(mean(x^2) + epsilon) * weight`, per row
    pub(super) fn apply(&self, x: &Array) -> mlx_rs::error::Result<Array> {
        rms_norm(x, Some(&self.weight), self.epsilon)
    }
}

/// Takes tensors by name, checks their shapes against the spec, and copies them.
pub(super) struct Source<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    /// The type of the activations and of all weights that are not quantised.
    pub(super) activations: Dtype,
    /// Which blocks that MLX does not support are converted to floats.
    pub(super) dequantise: Dequantise,
}

impl Source<'_> {
    pub(super) fn matrix(&self, name: &str, outputs: usize, inputs: usize) -> Result<Matrix, EngineError> {
        let view = self.tensor(name, &[outputs, inputs])?;
        match view.info().dtype {
            DType::F32 | DType::F16 | DType::BF16 => Ok(Matrix::Floats(self.floats(&view)?)),
            dtype => match dtype.mlx_bits_and_group_size() {
                Some(form) => self.words(&view, outputs, inputs, form),
                None => self.blocks(&view, outputs, inputs),
            },
        }
    }

    /// `name.weight` and, if the model has one, `name.bias`.
    pub(super) fn linear(
        &self,
        name: &str,
        outputs: usize,
        inputs: usize,
        with_bias: bool,
    ) -> Result<Linear, EngineError> {
        let matrix = self.matrix(&format!("{name}.weight"), outputs, inputs)?;
        let bias = with_bias.then(|| self.vector(&format!("{name}.bias"), outputs)).transpose()?;
        Ok(Linear { matrix, bias })
    }

    pub(super) fn norm(&self, name: &str, width: usize, epsilon: f32) -> Result<Norm, EngineError> {
        let offset = self.checkpoint.spec()?.norm_offset;
        let weight = stored(&self.tensor(name, &[width])?)?;
        // In f32, and rounded to the type of the activations once.
        let weight = weight.as_dtype(Dtype::Float32).and_then(|weight| weight.add(Array::from_f32(offset)));
        Ok(Norm { weight: self.as_activations(&weight.map_err(at("load"))?)?, epsilon })
    }

    fn vector(&self, name: &str, length: usize) -> Result<Array, EngineError> {
        self.floats(&self.tensor(name, &[length])?)
    }

    /// A matrix in MLX's format.
    fn words(
        &self,
        view: &TensorView<'_>,
        outputs: usize,
        inputs: usize,
        (bits, group): (usize, usize),
    ) -> Result<Matrix, EngineError> {
        let words: Vec<u32> = view.bytes().as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        let of_groups = |kind: &str| {
            let view = self.tensor(&view.info().name.replace("weight", kind), &[outputs, inputs / group])?;
            let stored = stored(&view)?;
            // Without rounding: in the type of the activations only if that is the stored type.
            let dtype = if stored.dtype() == self.activations { self.activations } else { Dtype::Float32 };
            evaluated(stored.as_dtype(dtype).map_err(at("load"))?)
        };
        Ok(Matrix::Packed {
            words: evaluated(Array::from_slice(&words, &[int(outputs)?, int(inputs * bits / 32)?]))?,
            scales: of_groups("scales")?,
            biases: of_groups("biases")?,
            group: int(group)?,
            bits: int(bits)?,
        })
    }

    /// Blocks, repacked or converted to floats.
    fn blocks(&self, view: &TensorView<'_>, outputs: usize, inputs: usize) -> Result<Matrix, EngineError> {
        let (dtype, shape) = (view.info().dtype, [int(outputs)?, int(inputs)?]);
        let Some(packed) = repack(dtype, view.bytes()) else {
            let is_requested = match self.dequantise {
                Dequantise::Off => false,
                Dequantise::Output => view.info().name == "output.weight",
                Dequantise::On => true,
            };
            let numbers = if is_requested { widen(dtype, view.bytes()) } else { None };
            let numbers = numbers.ok_or_else(|| unsupported(view))?;
            return Ok(Matrix::Floats(self.as_activations(&Array::from_slice(&numbers, &shape))?));
        };
        let rows = shape[0];
        let groups = [rows, int(inputs / GROUP)?];
        // Without rounding: in the type of the activations only if the scales are exact in it.
        let dtype = match self.activations {
            Dtype::Float16 if packed.fits_halves() => Dtype::Float16,
            _ => Dtype::Float32,
        };
        let exact =
            |numbers: &[f32]| evaluated(Array::from_slice(numbers, &groups).as_dtype(dtype).map_err(at("load"))?);
        Ok(Matrix::Packed {
            words: evaluated(Array::from_slice(&packed.words, &[rows, int(inputs * packed.bits / 32)?]))?,
            scales: exact(&packed.scales)?,
            biases: exact(&packed.biases)?,
            group: int(GROUP)?,
            bits: int(packed.bits)?,
        })
    }

    /// Floats in the type of the activations.
    fn floats(&self, view: &TensorView<'_>) -> Result<Array, EngineError> {
        self.as_activations(&stored(view)?)
    }

    /// Converts to the type of the activations.
    fn as_activations(&self, array: &Array) -> Result<Array, EngineError> {
        evaluated(array.as_dtype(self.activations).map_err(at("load"))?)
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<TensorView<'_>, EngineError> {
        let view = self.checkpoint.tensor(name)?;
        if view.info().shape == shape {
            return Ok(view);
        }
        let reason = format!("its shape is {:?}, the spec requires {shape:?}: the file is damaged", view.info().shape);
        Err(failed(name, reason))
    }
}

/// Floats as they are stored.
fn stored(view: &TensorView<'_>) -> Result<Array, EngineError> {
    let shape = view.info().shape.iter().map(|side| int(*side)).collect::<Result<Vec<_>, _>>()?;
    let halves = || view.bytes().as_chunks::<2>().0.iter();
    Ok(match view.info().dtype {
        DType::F32 => {
            let numbers = view.bytes().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            Array::from_slice(&numbers.collect::<Vec<_>>(), &shape)
        }
        DType::F16 => Array::from_slice(&halves().map(|b| f16::from_le_bytes(*b)).collect::<Vec<_>>(), &shape),
        DType::BF16 => Array::from_slice(&halves().map(|b| bf16::from_le_bytes(*b)).collect::<Vec<_>>(), &shape),
        _ => return Err(unsupported(view)),
    })
}

/// Computes the array, so that it is in memory.
fn evaluated(array: Array) -> Result<Array, EngineError> {
    array.eval().map_err(at("load"))?;
    Ok(array)
}

fn unsupported(view: &TensorView<'_>) -> EngineError {
    let advice = "set mlx.dequantise to on to convert it to floats, which need several times the memory, or use the model in Q4_0, \
                  Q4_1, Q8_0 or 16-bit floats";
    EngineError::unsupported(NAME, format!("{} of {}", view.info().dtype, view.info().name), advice)
}
