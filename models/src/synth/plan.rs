//! The tensors of a synthetic file with their types, shapes and positions.

use std::path::Path;

use crate::arch::{as_stored, check_spec, rope_tensors};
use crate::container::gguf::{ALIGNMENT, NewTensor};
use crate::dtype::DType;
use crate::error::{Error, Mismatch};
use crate::op_kind::OpKind;
use crate::spec::{Attention, Spec, Weight, WeightKind, weights};
use crate::units::{Bytes, Params};

use super::file_type::Quant;

/// The tensors of a synthetic file.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// In the order of the file.
    pub tensors: Vec<PlannedTensor>,
    /// The size of all tensor data with padding, without the header.
    pub data_bytes: Bytes,
    /// Weights in the tensors (those of rotary factors are tables, not weights).
    pub parameters: Params,
}

/// One tensor to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedTensor {
    /// Its GGUF name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// How it is stored.
    pub dtype: DType,
    /// Row-major: `[rows (out), cols (in)]` or `[elements]`.
    pub shape: Vec<usize>,
    /// The start of its data, counted from the start of all tensor data.
    pub offset: u64,
    /// Its size without padding.
    pub bytes: Bytes,
    /// Its values.
    pub(super) values: Values,
}

/// The values of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    /// A matrix with mean 0 and this standard deviation.
    Weights { std: f32 },
    /// The factors of a norm, or others: near this number.
    Norm { mean: f32 },
    /// A bias: small compared with activations of about 1.
    Bias,
    /// Decays as GGUF files store them: negative.
    Decay,
    /// Exactly these values.
    Exact(Vec<f32>),
}

impl PlannedTensor {
    /// The number of elements.
    #[must_use]
    pub fn elems(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its entry in the header.
    pub(super) fn header_entry(&self) -> NewTensor<'_> {
        NewTensor { name: &self.name, dtype: self.dtype, shape: &self.shape, offset: self.offset }
    }
}

/// Plans the file of `spec` in `quant`.
///
/// Standard deviations are `1 / sqrt(columns)`: the product with an input of root mean square 1, such as the output of a norm, has
/// root mean square 1 again (He et al., arXiv:1502.01852, without the factor for ReLU). The residual stream then grows at most with
/// the square root of the depth, far below the limit of f16.
///
/// # Errors
/// [`Error::Synth`] if the shape is impossible: a zero, query heads that are not a multiple of the key-value heads, an odd rotary
/// width.
pub fn plan(spec: &Spec, quant: Quant) -> Result<Plan, Error> {
    check_spec(Path::new("shape"), spec).map_err(|mismatch| {
        Error::Synth(
            Mismatch { advice: "correct the config.json, or take a registered model".to_owned(), ..*mismatch }.into(),
        )
    })?;
    let mut builder = PlanBuilder { spec, quant, tensors: Vec::new(), offset: 0, parameters: 0 };
    for (at, weight) in as_stored(spec, weights(spec)).into_iter().enumerate() {
        builder.weight(weight);
        if at == 0 {
            for (name, factors) in rope_tensors(spec) {
                builder.push(name, DType::F32, vec![factors.len()], Values::Exact(factors));
            }
        }
    }
    Ok(Plan { tensors: builder.tensors, data_bytes: Bytes(builder.offset), parameters: Params(builder.parameters) })
}

/// Collects the tensors and computes their positions.
struct PlanBuilder<'a> {
    spec: &'a Spec,
    quant: Quant,
    tensors: Vec<PlannedTensor>,
    offset: u64,
    parameters: u64,
}

impl PlanBuilder<'_> {
    fn weight(&mut self, weight: Weight) {
        match weight.kind {
            kind @ (WeightKind::Matrix | WeightKind::Router | WeightKind::Convolution) => {
                let columns = weight.shape.last().copied().unwrap_or(1);
                let dtype = match kind {
                    WeightKind::Router | WeightKind::Convolution => DType::F32,
                    _ => self.quant.dtype_of(self.spec, &weight, columns),
                };
                let values = Values::Weights { std: 1.0 / (columns as f32).sqrt() };
                self.push(&weight.name, dtype, weight.shape, values);
            }
            WeightKind::Norm | WeightKind::Factor => {
                let mean = self.norm_mean(&weight);
                self.push(&weight.name, DType::F32, weight.shape, Values::Norm { mean });
            }
            WeightKind::Decay => self.push(&weight.name, DType::F32, weight.shape, Values::Decay),
            WeightKind::Bias => self.push(&weight.name, DType::F32, weight.shape, Values::Bias),
        }
    }

    /// 1, except for the input of a router that is divided by the root of the width, which its factors undo, and except for queries whose scores have no factor: a trained norm then keeps the scores as small as a factor of
    /// `1 / sqrt(head_dim)` does. Larger ones would make the softmax a choice of one position, and every rounding error large.
    fn norm_mean(&self, weight: &Weight) -> f32 {
        let layer = weight.layer.filter(|_| weight.op == OpKind::QNorm).and_then(|at| self.spec.layers.get(at));
        if weight.op == OpKind::RouterNorm {
            return (self.spec.hidden as f32).sqrt();
        }
        match layer.and_then(|layer| layer.mixer.attention()) {
            Some(Attention { scale: Some(1.0), head_dim, .. }) => 1.0 / (*head_dim as f32).sqrt(),
            _ => 1.0,
        }
    }

    fn push(&mut self, name: &str, dtype: DType, shape: Vec<usize>, values: Values) {
        let (rows, cols) = match shape.split_last() {
            Some((cols, rows)) => (rows.iter().map(|&rows| rows as u64).product(), *cols),
            None => (0, 0),
        };
        let bytes = dtype.row_bytes(cols) * rows;
        if !matches!(values, Values::Exact(_)) {
            self.parameters += rows * cols as u64;
        }
        self.tensors.push(PlannedTensor { name: name.to_owned(), dtype, shape, offset: self.offset, bytes, values });
        self.offset += bytes.get().next_multiple_of(ALIGNMENT);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tiny;
    use super::*;
    use crate::spec::{Arch, RopeScaling};

    #[test]
    fn the_planned_parameters_are_those_of_the_shape() {
        for tied in [true, false] {
            for (arch, bias) in [(Arch::LLAMA, false), (Arch::MISTRAL, false), (Arch::QWEN2, true)] {
                let mut spec = Spec { arch: arch.clone(), tied_embeddings: tied, ..tiny() };
                spec.attentions_mut().for_each(|attention| attention.qkv_bias = bias);
                for quant in Quant::ALL {
                    assert_eq!(plan(&spec, quant).unwrap().parameters, spec.parameters(), "{quant} {arch:?} {tied}");
                }
            }
        }
    }

    #[test]
    fn tensors_are_aligned_and_consecutive() {
        let plan = plan(&tiny(), Quant::Q4_K_M).unwrap();
        let mut end = 0;
        for tensor in &plan.tensors {
            assert_eq!(tensor.offset, end, "{}", tensor.name);
            assert_eq!(tensor.offset % ALIGNMENT, 0);
            end = (tensor.offset + tensor.bytes.get()).next_multiple_of(ALIGNMENT);
        }
        assert_eq!(plan.data_bytes, Bytes(end));
    }

    #[test]
    fn llama3_scaling_becomes_rope_freqs() {
        let mut spec = tiny();
        let scale = |spec: &mut Spec, scaling: RopeScaling| {
            let rope = spec.attentions_mut().next().unwrap().rope.as_mut().unwrap();
            (rope.theta, rope.scaling) = (500_000.0, Some(scaling));
            rope.inverse_frequencies(0)
        };
        let llama3 =
            RopeScaling::Llama3 { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 };
        let scaled = scale(&mut spec, llama3);
        let planned = plan(&spec, Quant::F16).unwrap();
        let table = planned.tensors.iter().find(|t| t.name == "rope_freqs.weight").unwrap();
        let Values::Exact(factors) = table.values.clone() else { panic!("{:?}", table.values) };
        // The frequencies that a reader computes from the table equal those of the spec.
        for (read, expected) in scale(&mut spec, RopeScaling::Factors(factors)).iter().zip(&scaled) {
            assert!((read / expected - 1.0).abs() < 1e-6, "{read} {expected}");
        }
    }

    #[test]
    fn impossible_shapes_are_refused() {
        let mut zero = tiny();
        zero.layers[1].feed_forward.gated_mut().width = 0;
        insta::assert_snapshot!(plan(&zero, Quant::F16).unwrap_err().with_advice(), @"synthetic model shape: feed-forward width: expected 1 to 16777216, found 0; correct the config.json, or take a registered model");
        let mut uneven = tiny();
        uneven.layers[2].mixer.attention_mut().unwrap().kv_heads = 3;
        insta::assert_snapshot!(plan(&uneven, Quant::F16).unwrap_err().with_advice(), @"synthetic model shape: number of key-value heads: expected a divisor of 4 heads, found 3; correct the config.json, or take a registered model");
    }
}
