//! The weights of a checkpoint, taken by name.

use models::cost::{self, ExpertBytes, WeightTypes};
use models::{Checkpoint, Experts, Spec, TensorView};

use super::failed;
use super::kernels::{Kernels, Linear};
use crate::EngineError;

/// Takes tensors by name and checks their shapes against the spec.
pub(super) struct Source<'a, K> {
    pub(super) kernels: &'a K,
    pub(super) checkpoint: &'a Checkpoint,
}

impl<K: Kernels> Source<'_, K> {
    pub(super) fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<K::Weight, EngineError> {
        self.kernels.weight(&self.tensor(name, &[rows, columns])?)
    }

    /// A matrix whose rows are looked up, and which is never multiplied with.
    pub(super) fn table(&self, name: &str, rows: usize, columns: usize) -> Result<K::Weight, EngineError> {
        self.kernels.table(&self.tensor(name, &[rows, columns])?)
    }

    pub(super) fn vector(&self, name: &str, length: usize) -> Result<K::Vector, EngineError> {
        self.changed_vector(name, length, |element| element)
    }

    /// A vector whose elements are changed by `change`.
    pub(super) fn changed_vector(
        &self,
        name: &str,
        length: usize,
        change: impl Fn(f32) -> f32,
    ) -> Result<K::Vector, EngineError> {
        self.kernels.vector(&self.tensor(name, &[length])?, &change)
    }

    /// The elements of a vector, on the host.
    pub(super) fn numbers(&self, name: &str, length: usize) -> Result<Vec<f32>, EngineError> {
        let view = self.tensor(name, &[length])?;
        let dtype = view.info().dtype;
        let numbers = models::blocks::dequantise(dtype, view.bytes());
        numbers.ok_or_else(|| failed(name, format!("a vector of type {dtype} is not supported")))
    }

    /// The weight of a norm.
    pub(super) fn norm(&self, name: &str, length: usize) -> Result<K::Vector, EngineError> {
        let offset = self.checkpoint.spec()?.norm_offset;
        self.changed_vector(name, length, |element| element + offset)
    }

    /// The kernels of a convolution, `[channels, taps]` in the file.
    pub(super) fn kernel(&self, name: &str, channels: usize, taps: usize) -> Result<K::Kernel, EngineError> {
        self.kernels.kernel(&self.tensor(name, &[channels, taps])?)
    }

    /// `name.weight` and, if the model has one, `name.bias`.
    pub(super) fn linear(
        &self,
        name: &str,
        outputs: usize,
        inputs: usize,
        with_bias: bool,
    ) -> Result<Linear<K>, EngineError> {
        let weight = self.matrix(&format!("{name}.weight"), outputs, inputs)?;
        let bias = with_bias.then(|| self.vector(&format!("{name}.bias"), outputs)).transpose()?;
        Ok(Linear { weight, bias })
    }

    /// The weights of each expert, as [`Source::linear`]: `name.weight` is `[experts, outputs, inputs]`.
    pub(super) fn experts(
        &self,
        name: &str,
        outputs: usize,
        inputs: usize,
        with_bias: bool,
    ) -> Result<Vec<Linear<K>>, EngineError> {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let weights = self.checkpoint.experts(&weight)?;
        let biases = if with_bias { self.checkpoint.experts(&bias)? } else { Vec::new() };
        let one = |(at, view): (usize, TensorView<'_>)| {
            let view = with_shape(view, &weight, &[outputs, inputs])?;
            let bias = biases.get(at).map(|bias| {
                let bias = with_shape(bias.clone(), &bias.info().name, &[outputs])?;
                self.kernels.vector(&bias, &|element| element)
            });
            Ok(Linear { weight: self.kernels.weight(&view)?, bias: bias.transpose()? })
        };
        weights.into_iter().enumerate().map(one).collect()
    }

    /// The shape of the model.
    pub(super) fn spec(&self) -> Result<&Spec, EngineError> {
        Ok(self.checkpoint.spec()?)
    }

    /// Bytes of one of the experts of layer `at`, as stored.
    pub(super) fn expert_bytes(&self, experts: &Experts, at: usize) -> Result<ExpertBytes, EngineError> {
        let types = WeightTypes::of(self.checkpoint)?;
        Ok(cost::expert_bytes(self.spec()?.hidden, experts, &types, at))
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<TensorView<'_>, EngineError> {
        with_shape(self.checkpoint.tensor(name)?, name, shape)
    }
}

fn with_shape<'a>(view: TensorView<'a>, name: &str, shape: &[usize]) -> Result<TensorView<'a>, EngineError> {
    if view.info().shape == shape {
        return Ok(view);
    }
    let found = &view.info().shape;
    Err(failed(name, format!("its shape is {found:?}, the spec requires {shape:?}: the file is damaged")))
}
