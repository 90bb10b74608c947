//! The tensors of a synthetic file with their types, shapes and positions.

use crate::arch::rope_factors;
use crate::container::gguf::{ALIGNMENT, NewTensor};
use crate::dtype::DType;
use crate::error::{Error, Mismatch};
use crate::spec::{RopeScaling, Spec};
use crate::tensor_types::Role;
use crate::units::{Bytes, Params};

use super::file_type::Quant;

/// The tensors of a synthetic file.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// In the order of the file.
    pub tensors: Vec<PlannedTensor>,
    /// The size of all tensor data with padding, without the header.
    pub data_bytes: Bytes,
    /// Weights in the tensors (`rope_freqs` is a table, not a weight).
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
    /// The scales of a norm: near 1.
    Norm,
    /// A bias: small compared with activations of about 1.
    Bias,
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
    check(spec)?;
    let mut builder =
        PlanBuilder { spec, quant, tensors: Vec::with_capacity(spec.layers * 12 + 4), offset: 0, parameters: 0 };
    let (hidden, q, kv) = (spec.hidden, spec.q_width(), spec.kv_width());

    builder.matrix("token_embd.weight", Role::Embedding, spec.vocab, hidden);
    if let Some(factors) = rope_factors(spec) {
        builder.push("rope_freqs.weight", DType::F32, vec![factors.len()], Values::Exact(factors));
    }
    for layer in 0..spec.layers {
        let name = |part: &str| format!("blk.{layer}.{part}");
        builder.norm(&name("attn_norm.weight"), hidden);
        builder.matrix(&name("attn_q.weight"), Role::Matrix, q, hidden);
        builder.matrix(&name("attn_k.weight"), Role::Matrix, kv, hidden);
        builder.matrix(&name("attn_v.weight"), Role::Value(layer), kv, hidden);
        if spec.qkv_bias {
            builder.bias(&name("attn_q.bias"), q);
            builder.bias(&name("attn_k.bias"), kv);
            builder.bias(&name("attn_v.bias"), kv);
        }
        builder.matrix(&name("attn_output.weight"), Role::Matrix, hidden, q);
        builder.norm(&name("ffn_norm.weight"), hidden);
        builder.matrix(&name("ffn_gate.weight"), Role::Matrix, spec.ffn, hidden);
        builder.matrix(&name("ffn_up.weight"), Role::Matrix, spec.ffn, hidden);
        builder.matrix(&name("ffn_down.weight"), Role::Down(layer), hidden, spec.ffn);
    }
    builder.norm("output_norm.weight", hidden);
    if !spec.tied_embeddings {
        builder.matrix("output.weight", Role::Output, spec.vocab, hidden);
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
    /// `[rows, cols]`, multiplied with inputs of `cols` elements.
    fn matrix(&mut self, name: &str, role: Role, rows: usize, cols: usize) {
        let dtype = self.quant.dtype(self.spec, role, cols);
        self.push(name, dtype, vec![rows, cols], Values::Weights { std: 1.0 / (cols as f32).sqrt() });
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.push(name, DType::F32, vec![width], Values::Norm);
    }

    fn bias(&mut self, name: &str, width: usize) {
        self.push(name, DType::F32, vec![width], Values::Bias);
    }

    fn push(&mut self, name: &str, dtype: DType, shape: Vec<usize>, values: Values) {
        let (rows, cols) = match shape[..] {
            [rows, cols] => (rows as u64, cols),
            _ => (1, shape[0]),
        };
        let bytes = dtype.row_bytes(cols) * rows;
        if !matches!(values, Values::Exact(_)) {
            self.parameters += rows * cols as u64;
        }
        self.tensors.push(PlannedTensor { name: name.to_owned(), dtype, shape, offset: self.offset, bytes, values });
        self.offset += bytes.get().next_multiple_of(ALIGNMENT);
    }
}

/// Refuses impossible shapes.
fn check(spec: &Spec) -> Result<(), Error> {
    let mismatch = |place: &str, expected: &str, found: String| {
        Err(Error::Synth(Mismatch::at(
            "shape",
            place,
            expected,
            found,
            "correct the config.json, or take a registered model",
        )))
    };
    let sizes = [
        ("layers", spec.layers),
        ("hidden", spec.hidden),
        ("ffn", spec.ffn),
        ("heads", spec.heads),
        ("kv_heads", spec.kv_heads),
        ("head_dim", spec.head_dim),
        ("vocab", spec.vocab),
        ("context_length", spec.context_length),
    ];
    // With at most 2^24, all products stay below 2^63 and all f32 exact. Real models are far smaller.
    if let Some((name, size)) = sizes.into_iter().find(|(_, size)| *size == 0 || *size > 1 << 24) {
        return mismatch(name, "1 to 16777216", size.to_string());
    }
    if !spec.heads.is_multiple_of(spec.kv_heads) {
        return mismatch("kv_heads", "a divisor of the query heads", format!("{} of {}", spec.kv_heads, spec.heads));
    }
    if spec.rope.dim == 0 || !spec.rope.dim.is_multiple_of(2) || spec.rope.dim > spec.head_dim {
        return mismatch(
            "rope.dim",
            "an even number up to head_dim",
            format!("{} of {}", spec.rope.dim, spec.head_dim),
        );
    }
    if let Some(RopeScaling::Factors(factors)) = &spec.rope.scaling
        && factors.len() != spec.rope.dim / 2
    {
        return mismatch("rope.scaling", "dim / 2 factors", format!("{} for dim {}", factors.len(), spec.rope.dim));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::tiny;
    use super::*;
    use crate::spec::Arch;

    #[test]
    fn the_planned_parameters_are_those_of_the_shape() {
        for tied in [true, false] {
            for (arch, bias) in [(Arch::Llama, false), (Arch::Mistral, false), (Arch::Qwen2, true)] {
                let spec = Spec { arch, qkv_bias: bias, tied_embeddings: tied, ..tiny() };
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
        spec.rope.theta = 500_000.0;
        spec.rope.scaling = Some(RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192,
        });
        let scaled = spec.inverse_frequencies();
        let planned = plan(&spec, Quant::F16).unwrap();
        let table = planned.tensors.iter().find(|t| t.name == "rope_freqs.weight").unwrap();
        let Values::Exact(factors) = table.values.clone() else { panic!("{:?}", table.values) };
        spec.rope.scaling = Some(RopeScaling::Factors(factors));
        // The frequencies that a reader computes from the table equal those of the spec.
        for (read, expected) in spec.inverse_frequencies().iter().zip(&scaled) {
            assert!((read / expected - 1.0).abs() < 1e-6, "{read} {expected}");
        }
    }

    #[test]
    fn impossible_shapes_are_refused() {
        let zero = Spec { ffn: 0, ..tiny() };
        insta::assert_snapshot!(plan(&zero, Quant::F16).unwrap_err().with_advice(), @"synthetic model shape: ffn: expected 1 to 16777216, found 0; correct the config.json, or take a registered model");
        let uneven = Spec { heads: 4, kv_heads: 3, ..tiny() };
        insta::assert_snapshot!(plan(&uneven, Quant::F16).unwrap_err().with_advice(), @"synthetic model shape: kv_heads: expected a divisor of the query heads, found 3 of 4; correct the config.json, or take a registered model");
    }
}
