//! What a synthetic file will hold: every tensor with its type, shape and place, before a byte of it is made.

use crate::checkpoint::gguf::{ALIGNMENT, Slot};
use crate::dtype::DType;
use crate::error::{Error, Fault};
use crate::mixture::Role;
use crate::spec::{RopeScaling, Spec};
use crate::units::{Bytes, Params};

use super::quant::Quant;

/// The tensors of a synthetic file.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// In the order of the file.
    pub tensors: Vec<PlannedTensor>,
    /// All tensor data with its padding; the header comes on top.
    pub data_bytes: Bytes,
    /// Weights in the tensors (`rope_freqs` is a table, not a weight).
    pub parameters: Params,
}

/// One tensor to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedTensor {
    /// GGUF's name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// How it is stored.
    pub dtype: DType,
    /// Row-major: `[rows (out), cols (in)]` or `[elements]`.
    pub shape: Vec<usize>,
    /// Where it starts, counted from the start of the tensor data.
    pub offset: u64,
    /// Its size without padding.
    pub bytes: Bytes,
    /// What is in it.
    pub(super) fill: Fill,
}

/// The values of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fill {
    /// A matrix with mean 0 and this standard deviation.
    Weights { std: f32 },
    /// The scales of a norm: near 1.
    Norm,
    /// A bias: small beside activations of about 1.
    Bias,
    /// Exactly these values.
    Exact(Vec<f32>),
}

impl PlannedTensor {
    /// How many elements it has.
    #[must_use]
    pub fn elems(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its line in the header.
    pub(super) fn slot(&self) -> Slot<'_> {
        Slot { name: &self.name, dtype: self.dtype, shape: &self.shape, offset: self.offset }
    }
}

/// Plans the file of `spec` in `quant`.
///
/// Standard deviations are `1 / sqrt(columns)`: a product with an input of root mean square 1 (which every norm provides) has
/// root mean square 1 again (He et al., arXiv:1502.01852, without the factor for ReLU), so that the residual stream grows no
/// faster than the square root of the depth, far below what f16 holds.
///
/// # Errors
/// [`Error::Synth`] where the shape is impossible: a zero, heads that do not share evenly, an odd rotary width.
pub fn plan(spec: &Spec, quant: Quant) -> Result<Plan, Error> {
    check(spec)?;
    let mut list = List { spec, quant, tensors: Vec::with_capacity(spec.layers * 12 + 4), offset: 0, parameters: 0 };
    let (hidden, q, kv) = (spec.hidden, spec.q_width(), spec.kv_width());

    list.matrix("token_embd.weight", Role::Embedding, spec.vocab, hidden);
    if let Some(factors) = rope_factors(spec) {
        list.push("rope_freqs.weight", DType::F32, vec![factors.len()], Fill::Exact(factors));
    }
    for layer in 0..spec.layers {
        let name = |part: &str| format!("blk.{layer}.{part}");
        list.norm(&name("attn_norm.weight"), hidden);
        list.matrix(&name("attn_q.weight"), Role::Matrix, q, hidden);
        list.matrix(&name("attn_k.weight"), Role::Matrix, kv, hidden);
        list.matrix(&name("attn_v.weight"), Role::Value(layer), kv, hidden);
        if spec.qkv_bias {
            list.bias(&name("attn_q.bias"), q);
            list.bias(&name("attn_k.bias"), kv);
            list.bias(&name("attn_v.bias"), kv);
        }
        list.matrix(&name("attn_output.weight"), Role::Matrix, hidden, q);
        list.norm(&name("ffn_norm.weight"), hidden);
        list.matrix(&name("ffn_gate.weight"), Role::Matrix, spec.ffn, hidden);
        list.matrix(&name("ffn_up.weight"), Role::Matrix, spec.ffn, hidden);
        list.matrix(&name("ffn_down.weight"), Role::Down(layer), hidden, spec.ffn);
    }
    list.norm("output_norm.weight", hidden);
    if !spec.tied_embeddings {
        list.matrix("output.weight", Role::Output, spec.vocab, hidden);
    }
    Ok(Plan { tensors: list.tensors, data_bytes: Bytes(list.offset), parameters: Params(list.parameters) })
}

/// The tensors so far, and where the next one starts.
struct List<'a> {
    spec: &'a Spec,
    quant: Quant,
    tensors: Vec<PlannedTensor>,
    offset: u64,
    parameters: u64,
}

impl List<'_> {
    /// `[rows, cols]`, multiplied with inputs of `cols` elements.
    fn matrix(&mut self, name: &str, role: Role, rows: usize, cols: usize) {
        let dtype = self.quant.dtype(self.spec, role, cols);
        self.push(name, dtype, vec![rows, cols], Fill::Weights { std: 1.0 / (cols as f32).sqrt() });
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.push(name, DType::F32, vec![width], Fill::Norm);
    }

    fn bias(&mut self, name: &str, width: usize) {
        self.push(name, DType::F32, vec![width], Fill::Bias);
    }

    fn push(&mut self, name: &str, dtype: DType, shape: Vec<usize>, fill: Fill) {
        let (rows, cols) = match shape[..] {
            [rows, cols] => (rows as u64, cols),
            _ => (1, shape[0]),
        };
        let bytes = dtype.row_bytes(cols) * rows;
        if !matches!(fill, Fill::Exact(_)) {
            self.parameters += rows * cols as u64;
        }
        self.tensors.push(PlannedTensor { name: name.to_owned(), dtype, shape, offset: self.offset, bytes, fill });
        self.offset += bytes.get().next_multiple_of(ALIGNMENT);
    }
}

/// The divisors of the rotary frequencies that GGUF carries as `rope_freqs.weight`, where the scaling is not a plain factor.
///
/// The spec's own frequencies define them: `theta^(-2 i / dim) / scaled_i`.
pub(crate) fn rope_factors(spec: &Spec) -> Option<Vec<f32>> {
    match &spec.rope.scaling {
        None | Some(RopeScaling::Linear { .. }) => None,
        Some(RopeScaling::Factors(factors)) => Some(factors.clone()),
        Some(RopeScaling::Llama3 { .. }) => {
            let (theta, dim) = (f64::from(spec.rope.theta), spec.rope.dim as f64);
            let scaled = spec.inverse_frequencies();
            let divisor = |(i, &f): (usize, &f32)| (theta.powf(-2.0 * i as f64 / dim) / f64::from(f)) as f32;
            Some(scaled.iter().enumerate().map(divisor).collect())
        }
    }
}

/// Refuses shapes that no file can have.
fn check(spec: &Spec) -> Result<(), Error> {
    let fault = |place: &str, expected: &str, found: String| {
        Err(Error::Synth(Fault::at(
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
    // 2^24 keeps every product below 2^63 and every float exact; no model comes near.
    if let Some((name, size)) = sizes.into_iter().find(|(_, size)| *size == 0 || *size > 1 << 24) {
        return fault(name, "1 to 16777216", size.to_string());
    }
    if !spec.heads.is_multiple_of(spec.kv_heads) {
        return fault("kv_heads", "a divisor of the query heads", format!("{} of {}", spec.kv_heads, spec.heads));
    }
    if spec.rope.dim == 0 || !spec.rope.dim.is_multiple_of(2) || spec.rope.dim > spec.head_dim {
        return fault("rope.dim", "an even number up to head_dim", format!("{} of {}", spec.rope.dim, spec.head_dim));
    }
    if let Some(RopeScaling::Factors(factors)) = &spec.rope.scaling
        && factors.len() != spec.rope.dim / 2
    {
        return fault("rope.scaling", "dim / 2 factors", format!("{} for dim {}", factors.len(), spec.rope.dim));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::tiny;
    use super::*;
    use crate::spec::Arch;

    #[test]
    fn every_parameter_is_planned_once() {
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
    fn tensors_stand_aligned_one_after_another() {
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
        let Fill::Exact(factors) = table.fill.clone() else { panic!("{:?}", table.fill) };
        spec.rope.scaling = Some(RopeScaling::Factors(factors));
        // What a reader makes of the table is what the spec meant.
        for (read, meant) in spec.inverse_frequencies().iter().zip(&scaled) {
            assert!((read / meant - 1.0).abs() < 1e-6, "{read} {meant}");
        }
    }

    #[test]
    fn impossible_shapes_are_refused() {
        let zero = Spec { ffn: 0, ..tiny() };
        insta::assert_snapshot!(plan(&zero, Quant::F16).unwrap_err(), @"synthetic model shape: ffn: expected 1 to 16777216, found 0; correct the config.json, or take a registered model");
        let uneven = Spec { heads: 4, kv_heads: 3, ..tiny() };
        insta::assert_snapshot!(plan(&uneven, Quant::F16).unwrap_err(), @"synthetic model shape: kv_heads: expected a divisor of the query heads, found 3 of 4; correct the config.json, or take a registered model");
    }
}
