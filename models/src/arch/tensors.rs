//! The checks of a shape, and of a checkpoint's tensors against it.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::rope_tables::ROPE_TABLES;
use crate::dtype::DType;
use crate::error::{Cause, CauseOrAdvice, Mismatch, printable};
use crate::spec::{
    Attention, Experts, FeedForward, GatedDeltaNet, LatentAttention, Mixer, Rope, ShortConvolution, Spec, Weight,
    WeightKind, expert_part, weights,
};
use crate::tensor::TensorInfo;

/// Checks the tensors against the shape: none is missing, none has another shape or an unusable type, and none is left over that
/// would change the result. `missing` is the advice where one is missing. The cause is [`Cause::Unsupported`] where the file has tensors of
/// another variant of the architecture.
pub(crate) fn check<'a>(
    file: &Path,
    spec: &Spec,
    tensors: impl Iterator<Item = &'a TensorInfo>,
    missing: &str,
) -> Result<(), Box<Mismatch>> {
    let mut left: HashMap<&str, &TensorInfo> = tensors.map(|info| (info.name.as_str(), info)).collect();
    let mismatch = |name: &str, expected: String, found: String, cause: CauseOrAdvice| {
        Err(Mismatch::at(file, format!("tensor `{}`", printable(name)), expected, found, cause))
    };
    let weights = parts_of_experts(weights(spec), &left);
    let variant = |left: &HashMap<&str, &TensorInfo>| {
        let known: HashSet<&str> = weights.iter().map(|weight| weight.name.as_str()).collect();
        surplus(spec, left).into_iter().find(|name| !known.contains(name) && !is_of_mlx(name)).map(str::to_owned)
    };
    for Weight { name, shape, kind, .. } in &weights {
        let Some(info) = left.remove(name.as_str()) else {
            let expected = format!("a tensor of {}", dimensions(shape));
            // Other tensors in its place, such as a fused projection or experts.
            return match variant(&left) {
                Some(other) => {
                    let found = format!("none, and `{}`", printable(&other));
                    mismatch(name, expected, found, Cause::Unsupported.into())
                }
                None => mismatch(name, expected, "none".to_owned(), missing.into()),
            };
        };
        if info.shape != *shape {
            return mismatch(name, dimensions(shape), dimensions(&info.shape), Cause::OfDifferentModels.into());
        }
        let is_vector = matches!(kind, WeightKind::Norm | WeightKind::Factor | WeightKind::Bias | WeightKind::Decay);
        let usable = match is_vector {
            true => !info.dtype.is_quantised(),
            false => !matches!(info.dtype, DType::Q8_1 | DType::Q8_K),
        };
        if !usable {
            let expected = if is_vector { "F32, F16 or BF16" } else { "a type for weights" };
            return mismatch(name, expected.to_owned(), info.dtype.to_string(), Cause::OtherQuantisation.into());
        }
        if let Some((_, group)) = info.dtype.mlx_bits_and_group_size() {
            // Scales and biases of the groups are separate tensors.
            let mut groups = shape.clone();
            groups.iter_mut().next_back().into_iter().for_each(|columns| *columns /= group);
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
                        "config.json and weights belong to different models, or the conversion was wrong".into(),
                    );
                }
            }
        }
    }
    let surplus = surplus(spec, &left);
    match surplus.first() {
        None => Ok(()),
        Some(name) => {
            let found = format!("this one ({} unknown in all)", surplus.len());
            mismatch(name, format!("only the tensors of {}", spec.arch.name()), found, Cause::Unsupported.into())
        }
    }
}

/// Those of the tensors that are left over, sorted, which would change the result.
fn surplus<'a>(spec: &Spec, left: &HashMap<&'a str, &TensorInfo>) -> Vec<&'a str> {
    // Factors are read with the shape; the second name is an older table of frequencies, which is not used.
    // Layers after the last one predict further tokens.
    let is_behind = |name: &str| {
        let layer = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
        layer.and_then(|(layer, _)| layer.parse().ok()).is_some_and(|layer: usize| layer >= spec.layers.len())
    };
    let predicts_further = spec.layers.iter().any(|layer| layer.mixer.latent_attention().is_some());
    let ignored = |name: &str| {
        ROPE_TABLES.contains(&name)
            || name.ends_with(".attn_rot_embd.weight")
            || (predicts_further && is_behind(name))
            || is_of_shared_cache(spec, name)
    };
    let mut surplus: Vec<&str> = left.keys().copied().filter(|name| !ignored(name)).collect();
    surplus.sort_unstable();
    surplus
}

/// Whether a tensor has to do with the keys and values of a layer that attends to those of another one. Published files have some that
/// no program reads.
fn is_of_shared_cache(spec: &Spec, name: &str) -> bool {
    let Some((layer, part)) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) else { return false };
    let layer = layer.parse().ok().and_then(|at: usize| spec.layers.get(at));
    let is_shared = layer.and_then(|layer| layer.mixer.attention()).is_some_and(|attention| !attention.has_own_cache());
    is_shared && ["attn_k.", "attn_v.", "attn_k_norm."].iter().any(|start| part.starts_with(start))
}

/// Whether a tensor holds scales or biases of groups.
fn is_of_mlx(name: &str) -> bool {
    name.ends_with(".scales") || name.ends_with(".biases")
}

/// Replaces weights of all experts that the checkpoint stores as tensors of each expert by these.
fn parts_of_experts(weights: Vec<Weight>, there: &HashMap<&str, &TensorInfo>) -> Vec<Weight> {
    let parts = |weight: Weight| match weight.shape.as_slice() {
        [count, one @ ..] if !one.is_empty() && there.contains_key(expert_part(&weight.name, 0).as_str()) => (0
            ..*count)
            .map(|expert| Weight { name: expert_part(&weight.name, expert), shape: one.to_vec(), ..weight })
            .collect(),
        _ => vec![weight],
    };
    weights.into_iter().flat_map(parts).collect()
}

/// The sizes of a shape for an error: `192 x 576`.
fn dimensions(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")
}

/// Refuses an impossible number of layers, before a list of them is made. Real models have up to about 200.
pub(super) fn check_layer_count(file: &Path, layers: usize) -> Result<(), Box<Mismatch>> {
    within(file, "number of layers", layers, 1024)
}

/// Refuses a shape that no model can have, before anything is computed from it.
pub(crate) fn check_spec(file: &Path, spec: &Spec) -> Result<(), Box<Mismatch>> {
    const WIDTH: usize = 1 << 24;
    let mismatch = |place: &str, expected: &str, found: String| Err(wrong_shape(file, place, expected, found));
    check_layer_count(file, spec.layers.len())?;
    within(file, "hidden width", spec.hidden, WIDTH)?;
    within(file, "vocabulary", spec.vocab, WIDTH)?;
    within(file, "context length", spec.context_length, 1 << 28)?;
    if !(spec.norm_eps > 0.0 && spec.norm_eps < 1.0) {
        return mismatch("epsilon of the norms", "a number between 0 and 1", spec.norm_eps.to_string());
    }
    if let Some(width) = spec.per_layer_width {
        within(file, "width of the inputs of a layer", width, 1 << 16)?;
    }
    if let Some(cap) = spec.logit_cap.filter(|cap| !(cap.is_finite() && *cap > 0.0)) {
        return mismatch("bound of the logits", "a positive number", cap.to_string());
    }
    check_shared_caches(file, spec)?;
    // Equal layers in a row are checked once.
    let mut layers = spec.layers.iter().collect::<Vec<_>>();
    layers.dedup();
    for layer in layers {
        within(file, "feed-forward width", layer.feed_forward.gated().width, WIDTH)?;
        if let FeedForward::Experts(experts) = &layer.feed_forward {
            check_experts(file, experts)?;
        }
        match &layer.mixer {
            Mixer::Attention(attention) => check_attention(file, attention)?,
            Mixer::LatentAttention(attention) => check_latent_attention(file, attention)?,
            Mixer::ShortConvolution(convolution) => check_short_convolution(file, convolution)?,
            Mixer::GatedDeltaNet(net) => check_gated_delta_net(file, net)?,
        }
    }
    Ok(())
}

fn check_experts(file: &Path, experts: &Experts) -> Result<(), Box<Mismatch>> {
    within(file, "number of experts", experts.count, 1 << 16)?;
    within(file, "number of experts that a token uses", experts.used, experts.count)?;
    if let Some(width) = experts.dense_width {
        within(file, "width of the dense part beside experts", width, 1 << 24)?;
    }
    if let Some(shared) = experts.shared {
        within(file, "width of the shared expert", shared.width, 1 << 24)?;
    }
    if let Some(groups) = experts.gating.groups {
        within(file, "number of groups of experts", groups.count, experts.count / 2)?;
        within(file, "number of groups that a token uses", groups.used, groups.count)?;
        let (of_groups, most) = (experts.count / groups.count * groups.used, experts.used);
        if !experts.count.is_multiple_of(groups.count) || of_groups < most {
            let expected = format!("a divisor of {} experts, with {most} in the used ones", experts.count);
            return Err(wrong_shape(file, "number of groups of experts", &expected, groups.count.to_string()));
        }
    }
    match experts.gating.scale {
        Some(scale) if !(scale.is_finite() && scale != 0.0) => {
            Err(wrong_shape(file, "factor of the weights of experts", "a number other than 0", scale.to_string()))
        }
        _ => Ok(()),
    }
}

fn check_attention(file: &Path, attention: &Attention) -> Result<(), Box<Mismatch>> {
    let mismatch = |place: &str, expected: &str, found: String| Err(wrong_shape(file, place, expected, found));
    let &Attention { heads, kv_heads, head_dim, .. } = attention;
    within(file, "number of heads", heads, 4096)?;
    within(file, "number of key-value heads", kv_heads, heads)?;
    within(file, "width of a head", head_dim, 4096)?;
    if !heads.is_multiple_of(kv_heads) {
        return mismatch("number of key-value heads", &format!("a divisor of {heads} heads"), kv_heads.to_string());
    }
    attention.rope.as_ref().map_or(Ok(()), |rope| check_rope(file, rope, head_dim))
}

/// A layer reads the cache of one before it that has one, with the same widths and window.
fn check_shared_caches(file: &Path, spec: &Spec) -> Result<(), Box<Mismatch>> {
    let attention_of = |at: usize| spec.layers.get(at).and_then(|layer| layer.mixer.attention());
    let shared = (0..spec.layers.len()).filter_map(|at| attention_of(at).map(|attention| (at, attention)));
    for (at, attention) in shared {
        let Some(of) = attention.cache_of else { continue };
        let cache = |attention: &Attention| (attention.kv_heads, attention.head_dim, attention.window);
        let source = attention_of(of).filter(|source| of < at && source.has_own_cache());
        if source.is_none_or(|source| cache(source) != cache(attention)) {
            let expected = "an earlier layer with a cache of the same heads and window";
            return Err(wrong_shape(file, &format!("cache of layer {at}"), expected, format!("layer {of}")));
        }
    }
    Ok(())
}

fn check_latent_attention(file: &Path, attention: &LatentAttention) -> Result<(), Box<Mismatch>> {
    let &LatentAttention { heads, query_rank, rank, key_dim, value_dim, .. } = attention;
    within(file, "number of heads", heads, 4096)?;
    within(file, "width of a row before the queries", query_rank.unwrap_or(1), 1 << 20)?;
    within(file, "width of a latent", rank, 1 << 16)?;
    within(file, "width of a key without position", key_dim, 4096)?;
    within(file, "width of a value", value_dim, 4096)?;
    check_rope(file, &attention.rope, 4096)?;
    match attention.score_scale {
        Some(scale) if !(scale.is_finite() && scale > 0.0) => {
            Err(wrong_shape(file, "factor of the scores", "a positive number", scale.to_string()))
        }
        _ => Ok(()),
    }
}

fn check_rope(file: &Path, rope: &Rope, most: usize) -> Result<(), Box<Mismatch>> {
    let mismatch = |place: &str, expected: &str, found: String| Err(wrong_shape(file, place, expected, found));
    if rope.dim == 0 || !rope.dim.is_multiple_of(2) || rope.dim > most {
        let expected = format!("an even number up to {most} (width of a head)");
        return mismatch("rotary width", &expected, rope.dim.to_string());
    }
    if !(rope.theta > 1.0 && rope.theta.is_finite()) {
        return mismatch("base of the rotary frequencies", "a number above 1", rope.theta.to_string());
    }
    Ok(())
}

fn check_gated_delta_net(file: &Path, net: &GatedDeltaNet) -> Result<(), Box<Mismatch>> {
    within(file, "number of value heads", net.value_heads, 4096)?;
    within(file, "number of key heads", net.key_heads, net.value_heads)?;
    within(file, "width of a head", net.head_dim, 4096)?;
    if !net.value_heads.is_multiple_of(net.key_heads) {
        let expected = format!("a divisor of {} value heads", net.value_heads);
        return Err(wrong_shape(file, "number of key heads", &expected, net.key_heads.to_string()));
    }
    match net.kernel {
        2..=64 => Ok(()),
        other => Err(wrong_shape(file, "tokens of a convolution", "2 to 64", other.to_string())),
    }
}

fn check_short_convolution(file: &Path, convolution: &ShortConvolution) -> Result<(), Box<Mismatch>> {
    within(file, "channels of a convolution", convolution.channels, 1 << 24)?;
    match convolution.kernel {
        2..=64 => Ok(()),
        other => Err(wrong_shape(file, "tokens of a convolution", "2 to 64", other.to_string())),
    }
}

fn within(file: &Path, place: &str, value: usize, most: usize) -> Result<(), Box<Mismatch>> {
    let expected = format!("1 to {most}");
    match value {
        0 => Err(wrong_shape(file, place, &expected, value.to_string())),
        value if value > most => Err(Mismatch::at(file, place, expected, value.to_string(), Cause::Unexpected)),
        _ => Ok(()),
    }
}

fn wrong_shape(file: &Path, place: &str, expected: &str, found: String) -> Box<Mismatch> {
    let advice = "header (or config.json) contradicts itself: take the model from another source";
    Mismatch::at(file, place, expected, found, advice)
}
