//! Which tensors a model of a given shape has, and the check of a checkpoint against them.

use std::collections::HashMap;
use std::path::Path;

use crate::dtype::DType;
use crate::error::{Cause, Mismatch, printable};
use crate::spec::Spec;
use crate::tensor::TensorInfo;

/// A tensor that a model of a given shape has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Its GGUF name.
    pub(crate) name: String,
    /// Row-major shape.
    pub(crate) shape: Vec<usize>,
}

/// All tensors of a model of shape `spec`, in the order of the computation. All architectures have the same decoder; biases and
/// tied embeddings are part of the shape.
pub(crate) fn expected(spec: &Spec) -> Vec<Expected> {
    let (hidden, q, kv, ffn) = (spec.hidden, spec.q_width(), spec.kv_width(), spec.ffn);
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: &[usize]| tensors.push(Expected { name, shape: shape.to_vec() });
    add("token_embd.weight".to_owned(), &[spec.vocab, hidden]);
    for layer in 0..spec.layers {
        let mut add = |part: &str, shape: &[usize]| add(format!("blk.{layer}.{part}"), shape);
        add("attn_norm.weight", &[hidden]);
        for (projection, width) in [("attn_q", q), ("attn_k", kv), ("attn_v", kv)] {
            add(&format!("{projection}.weight"), &[width, hidden]);
            if spec.qkv_bias {
                add(&format!("{projection}.bias"), &[width]);
            }
        }
        add("attn_output.weight", &[hidden, q]);
        add("ffn_norm.weight", &[hidden]);
        add("ffn_gate.weight", &[ffn, hidden]);
        add("ffn_up.weight", &[ffn, hidden]);
        add("ffn_down.weight", &[hidden, ffn]);
    }
    add("output_norm.weight".to_owned(), &[hidden]);
    if !spec.tied_embeddings {
        add("output.weight".to_owned(), &[spec.vocab, hidden]);
    }
    tensors
}

/// Checks the tensors against the shape: none is missing, none has another shape or an unusable type, and none is left over that
/// would change the result. `missing` is the advice where one is missing.
pub(crate) fn check<'a>(
    file: &Path,
    spec: &Spec,
    tensors: impl Iterator<Item = &'a TensorInfo>,
    missing: &str,
) -> Result<(), Box<Mismatch>> {
    let mut left: HashMap<&str, &TensorInfo> = tensors.map(|info| (info.name.as_str(), info)).collect();
    let mismatch = |name: &str, expected: String, found: String, advice: &str| {
        Err(Mismatch::at(file, format!("tensor `{}`", printable(name)), expected, found, advice))
    };
    for Expected { name, shape } in expected(spec) {
        let Some(info) = left.remove(name.as_str()) else {
            return mismatch(&name, format!("a tensor of {}", dimensions(&shape)), "none".to_owned(), missing);
        };
        if info.shape != shape {
            return mismatch(&name, dimensions(&shape), dimensions(&info.shape), Cause::OfDifferentModels.advice());
        }
        let usable = match shape.len() {
            1 => !info.dtype.is_quantised(),
            _ => !matches!(info.dtype, DType::Q8_1 | DType::Q8_K),
        };
        if !usable {
            let expected = if shape.len() == 1 { "F32, F16 or BF16" } else { "a type for weights" };
            return mismatch(&name, expected.to_owned(), info.dtype.to_string(), Cause::OtherQuantisation.advice());
        }
        if let Some((_, group)) = info.dtype.mlx_bits_and_group_size() {
            // Scales and biases of the groups are separate tensors.
            let groups = [shape[0], shape[1] / group];
            for kind in ["scales", "biases"] {
                let name = name.replace("weight", kind);
                let found = left.remove(name.as_str());
                if found.is_none_or(|info| info.shape != groups || !matches!(info.dtype, DType::F16 | DType::BF16)) {
                    let found = found.map_or_else(
                        || "none".to_owned(),
                        |info| format!("{} {}", dimensions(&info.shape), info.dtype),
                    );
                    let expected = format!("{} F16 or BF16, for {}", dimensions(&groups), info.dtype);
                    return mismatch(
                        &name,
                        expected,
                        found,
                        "config.json and weights belong to different models, or the conversion was wrong",
                    );
                }
            }
        }
    }
    // Frequencies are read with the shape; the second name is an older table of them, which is not used.
    let ignored = |name: &str| name == "rope_freqs.weight" || name.ends_with(".attn_rot_embd.weight");
    let mut surplus: Vec<&str> = left.into_keys().filter(|name| !ignored(name)).collect();
    surplus.sort_unstable();
    match surplus.first() {
        None => Ok(()),
        Some(name) => {
            let found = format!("this one ({} unknown in all)", surplus.len());
            mismatch(
                name,
                format!("only the tensors of {}", spec.arch.name()),
                found,
                "this variant is not supported: take a plain model of the architecture",
            )
        }
    }
}

/// The sizes of a shape for an error: `192 x 576`.
fn dimensions(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")
}

/// Refuses a shape that no model can have, before anything is computed from it.
pub(crate) fn check_spec(file: &Path, spec: &Spec) -> Result<(), Box<Mismatch>> {
    const WIDTH: usize = 1 << 24;
    let mismatch = |place: &str, expected: &str, found: String| {
        let advice = "header (or config.json) contradicts itself: take the model from another source";
        Err(Mismatch::at(file, place, expected, found, advice))
    };
    let within = |place: &str, value: usize, most: usize| match value {
        0 => mismatch(place, &format!("1 to {most}"), value.to_string()),
        value if value > most => {
            Err(Mismatch::at(file, place, format!("1 to {most}"), value.to_string(), Cause::Unexpected))
        }
        _ => Ok(()),
    };
    within("number of layers", spec.layers, 1024)?;
    within("hidden width", spec.hidden, WIDTH)?;
    within("feed-forward width", spec.ffn, WIDTH)?;
    within("number of heads", spec.heads, 4096)?;
    within("number of key-value heads", spec.kv_heads, spec.heads)?;
    within("width of a head", spec.head_dim, 4096)?;
    within("vocabulary", spec.vocab, WIDTH)?;
    within("context length", spec.context_length, 1 << 28)?;
    if !spec.heads.is_multiple_of(spec.kv_heads) {
        return mismatch(
            "number of key-value heads",
            &format!("a divisor of {} heads", spec.heads),
            spec.kv_heads.to_string(),
        );
    }
    if spec.rope.dim == 0 || !spec.rope.dim.is_multiple_of(2) || spec.rope.dim > spec.head_dim {
        return mismatch(
            "rotary width",
            &format!("an even number up to {} (width of a head)", spec.head_dim),
            spec.rope.dim.to_string(),
        );
    }
    if !(spec.norm_eps > 0.0 && spec.norm_eps < 1.0) {
        return mismatch("epsilon of the norms", "a number between 0 and 1", spec.norm_eps.to_string());
    }
    if !(spec.rope.theta > 1.0 && spec.rope.theta.is_finite()) {
        return mismatch("base of the rotary frequencies", "a number above 1", spec.rope.theta.to_string());
    }
    Ok(())
}
