//! Tables of rotary factors: tensors of a GGUF file, for scalings that its keys cannot express.

use crate::container::gguf::Metadata;
use crate::dtype::DType;
use crate::error::{Cause, Error, Mismatch};
use crate::spec::{Rope, RopeScaling, Spec};
use crate::tensor::TensorInfo;

/// The table of factors of a file that stores its scaling in one (Llama 3), or in two (LongRoPE).
pub(super) const FREQUENCIES: &str = "rope_freqs.weight";
pub(super) const LONG: &str = "rope_factors_long.weight";
pub(super) const SHORT: &str = "rope_factors_short.weight";
/// All tables of rotary factors.
pub(super) const ROPE_TABLES: [&str; 3] = [FREQUENCIES, LONG, SHORT];

/// Reads a table of `dim / 2` divisors.
pub(super) fn read(
    metadata: &Metadata,
    name: &str,
    (info, bytes): (&TensorInfo, &[u8]),
    dim: usize,
) -> Result<Vec<f32>, Error> {
    let mismatch = |expected: String, found: String, cause: Cause| {
        Err(Error::Gguf(Mismatch::at(metadata.file(), format!("tensor `{name}`"), expected, found, cause)))
    };
    if info.dtype != DType::F32 || info.shape != [dim / 2] {
        let found = format!("{:?} {}", info.shape, info.dtype);
        return mismatch(format!("{} F32", dim / 2), found, Cause::WrittenWrongly);
    }
    let (factors, _) = bytes.as_chunks::<4>();
    let factors: Vec<f32> = factors.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    if let Some(bad) = factors.iter().find(|factor| !factor.is_finite()) {
        return mismatch("finite factors".to_owned(), bad.to_string(), Cause::WrittenWrongly);
    }
    // llama.cpp computes with them; real models have none.
    if let Some(bad) = factors.iter().find(|factor| **factor <= 0.0) {
        return mismatch("positive factors".to_owned(), bad.to_string(), Cause::Unsupported);
    }
    Ok(factors)
}

/// The rotary embedding of the layers that attend to all positions, or of the first layer that has one.
pub(super) fn global_rope(spec: &Spec) -> Option<&Rope> {
    let global = spec.attentions().find(|attention| attention.window.is_none() && attention.rope.is_some());
    global
        .and_then(|attention| attention.rope.as_ref())
        .or_else(|| spec.layers.iter().find_map(|layer| layer.mixer.rope()))
}

/// The tensors of divisors of the rotary frequencies, for scalings that GGUF's keys cannot express.
pub(crate) fn rope_tensors(spec: &Spec) -> Vec<(&'static str, Vec<f32>)> {
    let Some(rope) = global_rope(spec) else { return Vec::new() };
    match &rope.scaling {
        None | Some(RopeScaling::Linear { .. } | RopeScaling::Yarn { .. }) => Vec::new(),
        Some(RopeScaling::Factors(factors)) => vec![(FREQUENCIES, factors.clone())],
        Some(RopeScaling::LongRope { short, long, .. }) => vec![(LONG, long.clone()), (SHORT, short.clone())],
        Some(RopeScaling::Llama3 { .. }) => {
            let divisors = rope.divisors(spec.context_length);
            vec![(FREQUENCIES, divisors.into_iter().map(|divisor| divisor as f32).collect())]
        }
    }
}
