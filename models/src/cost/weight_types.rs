//! The element types of a model's weights by matrix, which determine the weight traffic.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::arch::described_names;
use crate::checkpoint::Checkpoint;
use crate::dtype::DType;
use crate::error::Error;
use crate::op_kind::OpKind;
use crate::spec::{FeedForward, Layer, Mixer, Spec, Weight, WeightKind, expert_part, weights};
use crate::tensor::TensorInfo;

/// The type of each weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightTypes {
    embed: DType,
    output_norm: DType,
    lm_head: DType,
    /// Of the inputs that layers have of their own, by the op that reads the weights.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    layer_inputs: BTreeMap<String, DType>,
    /// By block; the last entry also applies to the blocks after it, so that equal blocks are stored once.
    layers: Vec<LayerTypes>,
}

/// The types of one block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LayerTypes {
    /// Of attention; F32 in a layer without it.
    q: DType,
    k: DType,
    v: DType,
    o: DType,
    /// Of the dense part, or of all experts.
    gate: DType,
    up: DType,
    down: DType,
    attn_norm: DType,
    ffn_norm: DType,
    /// Of the norms that only some architectures have: of q, of k, after attention, after the feed-forward part.
    #[serde(default = "all_f32", skip_serializing_if = "are_f32")]
    other_norms: [DType; 4],
    /// Of q, k and v.
    bias: [DType; 3],
    /// Of the output projection, of a router, and of gate, up and down of experts.
    #[serde(default = "all_f32", skip_serializing_if = "are_f32")]
    other_biases: [DType; 5],
    /// Of the sinks.
    #[serde(default = "f32", skip_serializing_if = "is_f32")]
    sinks: DType,
    /// Of a router.
    #[serde(default = "f32", skip_serializing_if = "is_f32")]
    router: DType,
    /// Of gate, up and down of a shared expert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shared: Option<[DType; 3]>,
    /// Of gate, up and down of a dense part beside experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dense: Option<[DType; 3]>,
    /// Of a token mixer that is not attention, by the op that reads the weights; of several the first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    mixer: BTreeMap<String, DType>,
    /// Of the input that the layer has of its own and of the factor of its output, by the op that reads the weights.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    layer_inputs: BTreeMap<String, DType>,
}

fn f32() -> DType {
    DType::F32
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_f32(dtype: &DType) -> bool {
    *dtype == DType::F32
}

fn all_f32<const N: usize>() -> [DType; N] {
    [DType::F32; N]
}

fn are_f32<const N: usize>(types: &[DType; N]) -> bool {
    *types == all_f32()
}

impl WeightTypes {
    /// All matrices of one type, all vectors and routers in F32, as in llama.cpp's plain quantisations except for the embedding
    /// table.
    #[must_use]
    pub fn uniform(spec: &Spec, matrices: DType) -> Self {
        let weights = weights(spec);
        let of_matrices: std::collections::HashSet<&str> = weights
            .iter()
            .filter(|weight| weight.kind == WeightKind::Matrix)
            .map(|weight| weight.name.as_str())
            .collect();
        Self::by_name(spec, |name| if of_matrices.contains(name) { matrices } else { DType::F32 })
    }

    /// The types in an opened checkpoint.
    ///
    /// # Errors
    /// [`Error::NotModelled`] if its architecture is not described.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self, Error> {
        Ok(Self::of_tensors(checkpoint.spec()?, checkpoint.tensors()))
    }

    /// The types in a list of tensors, of an existing or a planned file. Missing names (such as biases) count as F32.
    #[must_use]
    pub fn of_tensors(spec: &Spec, tensors: &[TensorInfo]) -> Self {
        Self::of_stored(spec, tensors.iter().map(|info| (info.name.as_str(), info.dtype)))
    }

    /// The types of tensors by their names in a GGUF file, which may have other names or join matrices. Missing names count as F32.
    #[must_use]
    pub fn of_stored<'a>(spec: &Spec, tensors: impl Iterator<Item = (&'a str, DType)>) -> Self {
        let mut types = std::collections::HashMap::new();
        for (name, dtype) in tensors {
            for part in described_names(spec, name) {
                types.insert(part.into_owned(), dtype);
            }
        }
        let of = |name: &str| types.get(name).or_else(|| types.get(expert_part(name, 0).as_str())).copied();
        Self::by_name(spec, |name| of(name).unwrap_or(DType::F32))
    }

    /// The types by the tensor's name.
    #[must_use]
    pub fn by_name(spec: &Spec, dtype: impl Fn(&str) -> DType) -> Self {
        let mixers = mixers(spec);
        let layer_inputs = layer_inputs(spec);
        let of_inputs = |layer: Option<usize>| {
            let of_layer = layer_inputs.iter().filter(|weight| weight.layer == layer);
            of_layer.map(|weight| (weight.op.name().to_owned(), dtype(&weight.name))).collect()
        };
        let layer = |(at, layer): (usize, &Layer)| {
            let attention = layer.mixer.attention();
            let of = |part: &str| dtype(&format!("blk.{at}.{part}"));
            let experts = layer.feed_forward.experts();
            let has_biases = experts.is_some_and(|experts| experts.biased);
            let [gate, up, down] = ["ffn_gate", "ffn_up", "ffn_down"].map(|part| match layer.feed_forward {
                FeedForward::Dense(_) => of(&format!("{part}.weight")),
                FeedForward::Experts(_) => of(&format!("{part}_exps.weight")),
            });
            let of_attention = |part: &str| attention.map_or(DType::F32, |_| of(part));
            LayerTypes {
                q: of_attention("attn_q.weight"),
                k: of_attention("attn_k.weight"),
                v: of_attention("attn_v.weight"),
                o: of_attention("attn_output.weight"),
                gate,
                up,
                down,
                attn_norm: of("attn_norm.weight"),
                ffn_norm: of("ffn_norm.weight"),
                other_norms: ["attn_q_norm", "attn_k_norm", "post_attention_norm", "post_ffw_norm"]
                    .map(|part| of(&format!("{part}.weight"))),
                bias: ["q", "k", "v"].map(|part| of(&format!("attn_{part}.bias"))),
                other_biases: [
                    ("attn_output", attention.is_some_and(|attention| attention.output_bias)),
                    ("ffn_gate_inp", has_biases),
                    ("ffn_gate_exps", has_biases),
                    ("ffn_up_exps", has_biases),
                    ("ffn_down_exps", has_biases),
                ]
                .map(|(part, is_there)| if is_there { of(&format!("{part}.bias")) } else { DType::F32 }),
                sinks: match attention.is_some_and(|attention| attention.sinks) {
                    true => of("attn_sinks.weight"),
                    false => DType::F32,
                },
                router: experts.map_or(DType::F32, |_| of("ffn_gate_inp.weight")),
                shared: experts
                    .and_then(|experts| experts.shared)
                    .map(|_| ["ffn_gate", "ffn_up", "ffn_down"].map(|part| of(&format!("{part}_shexp.weight")))),
                dense: experts
                    .and_then(|experts| experts.dense_width)
                    .map(|_| ["ffn_gate", "ffn_up", "ffn_down"].map(|part| of(&format!("{part}.weight")))),
                // The first of an op comes last here, and stays.
                mixer: mixers[at].iter().rev().map(|(op, name)| (op.name().to_owned(), dtype(name))).collect(),
                layer_inputs: of_inputs(Some(at)),
            }
        };
        Self {
            embed: dtype("token_embd.weight"),
            output_norm: dtype("output_norm.weight"),
            lm_head: dtype(if spec.tied_embeddings { "token_embd.weight" } else { "output.weight" }),
            layer_inputs: of_inputs(None),
            layers: without_repeats(spec.layers.iter().enumerate().map(layer).collect()),
        }
    }

    fn layer(&self, layer: usize) -> Option<&LayerTypes> {
        self.layers.get(layer).or(self.layers.last())
    }

    /// The type of the weights that `kind` reads in block `layer`; `None` for an op that reads none. Of an op that reads several
    /// matrices, the type of the first.
    #[must_use]
    pub fn read_by(&self, kind: OpKind, layer: Option<usize>) -> Option<DType> {
        if let Some(layer) = layer.and_then(|layer| self.layer(layer))
            && (kind.is_of_other_mixer() || (kind.is_of_attention() && !layer.mixer.is_empty()))
        {
            return layer.of_mixer_op(kind);
        }
        if kind.is_of_layer_inputs() {
            return self.of_layer_inputs(kind, layer);
        }
        let reads = kind.is_matmul() || kind.is_norm() || kind == OpKind::Embed;
        reads.then(|| self.of_op(kind, layer))
    }

    /// The type of the weights that `kind` reads in block `layer` (F32 for an op without weights).
    pub(super) fn of_op(&self, kind: OpKind, layer: Option<usize>) -> DType {
        let block = layer.and_then(|layer| self.layer(layer));
        let in_block = |pick: fn(&LayerTypes) -> DType| block.map_or(DType::F32, pick);
        let has_other_mixer = block.is_some_and(|block| !block.mixer.is_empty());
        match kind {
            of_mixer if of_mixer.is_of_other_mixer() || (of_mixer.is_of_attention() && has_other_mixer) => {
                block.and_then(|block| block.of_mixer_op(of_mixer)).unwrap_or(DType::F32)
            }
            of_inputs if of_inputs.is_of_layer_inputs() => self.of_layer_inputs(of_inputs, layer).unwrap_or(DType::F32),
            OpKind::Embed => self.embed,
            OpKind::OutputNorm => self.output_norm,
            OpKind::LmHead => self.lm_head,
            OpKind::QProj | OpKind::QkvProj => in_block(|types| types.q),
            OpKind::KProj => in_block(|types| types.k),
            OpKind::VProj => in_block(|types| types.v),
            OpKind::OProj => in_block(|types| types.o),
            OpKind::Router => in_block(|types| types.router),
            OpKind::ExpertsGateUp => in_block(|types| types.gate),
            OpKind::ExpertsDown => in_block(|types| types.down),
            OpKind::GateProj | OpKind::GateUpProj => {
                in_block(|types| types.dense.map_or(types.gate, |[gate, ..]| gate))
            }
            OpKind::UpProj => in_block(|types| types.dense.map_or(types.up, |[_, up, _]| up)),
            OpKind::DownProj => in_block(|types| types.dense.map_or(types.down, |[.., down]| down)),
            OpKind::SharedExpert => in_block(|types| types.shared.map_or(DType::F32, |[gate, ..]| gate)),
            OpKind::AttnNorm => in_block(|types| types.attn_norm),
            OpKind::FfnNorm => in_block(|types| types.ffn_norm),
            OpKind::QNorm => in_block(|types| types.other_norms[0]),
            OpKind::KNorm => in_block(|types| types.other_norms[1]),
            OpKind::AttnPostNorm => in_block(|types| types.other_norms[2]),
            OpKind::FfnPostNorm => in_block(|types| types.other_norms[3]),
            _ => DType::F32,
        }
    }

    /// The type of the weights of an op of the inputs of layers, or of the factor of a layer's output; `None` if it reads none.
    fn of_layer_inputs(&self, kind: OpKind, layer: Option<usize>) -> Option<DType> {
        let types = match layer {
            Some(layer) => self.layer(layer).map(|types| &types.layer_inputs),
            None => Some(&self.layer_inputs),
        };
        types.and_then(|types| types.get(kind.name()).copied())
    }

    /// The types of gate, up and down of a dense part or of the experts in block `layer`.
    pub(super) fn gate_up_down(&self, layer: usize) -> [DType; 3] {
        self.layer(layer).map_or([DType::F32; 3], |types| [types.gate, types.up, types.down])
    }

    /// The types of gate, up and down of a shared expert in block `layer`.
    pub(super) fn of_shared_expert(&self, layer: Option<usize>) -> [DType; 3] {
        layer.and_then(|layer| self.layer(layer)?.shared).unwrap_or([DType::F32; 3])
    }

    /// The type of the bias that `kind` adds in block `layer`.
    pub(super) fn of_bias(&self, kind: OpKind, layer: Option<usize>) -> DType {
        let pick: fn(&LayerTypes) -> DType = match kind {
            OpKind::QProj => |types| types.bias[0],
            OpKind::KProj => |types| types.bias[1],
            OpKind::VProj => |types| types.bias[2],
            OpKind::OProj => |types| types.other_biases[0],
            OpKind::Router => |types| types.other_biases[1],
            _ => return DType::F32,
        };
        layer.and_then(|layer| self.layer(layer)).map_or(DType::F32, pick)
    }

    /// The types of the biases of gate, up and down of the experts in block `layer`.
    pub(super) fn of_expert_biases(&self, layer: usize) -> [DType; 3] {
        self.layer(layer).map_or([DType::F32; 3], |types| {
            let [_, _, gate, up, down] = types.other_biases;
            [gate, up, down]
        })
    }

    /// The type of the sinks in block `layer`.
    pub(super) fn of_sinks(&self, layer: Option<usize>) -> DType {
        layer.and_then(|layer| self.layer(layer)).map_or(DType::F32, |types| types.sinks)
    }
}

impl LayerTypes {
    /// The type of the weights of a token mixer that an op reads; `None` if it reads none.
    fn of_mixer_op(&self, kind: OpKind) -> Option<DType> {
        self.mixer.get(kind.name()).copied()
    }
}

/// Of each layer whose token mixer is not plain attention, the weights of the mixer: the op that reads each, and its name.
fn mixers(spec: &Spec) -> Vec<Vec<(OpKind, String)>> {
    let mut mixers = vec![Vec::new(); spec.layers.len()];
    if spec.layers.iter().all(|layer| matches!(layer.mixer, Mixer::Attention(_))) {
        return mixers;
    }
    for Weight { name, op, layer, .. } in weights(spec) {
        let is_of_mixer = |layer: &usize| {
            let is_plain = matches!(spec.layers[*layer].mixer, Mixer::Attention(_));
            !is_plain && (op.is_of_other_mixer() || op.is_of_attention())
        };
        if let Some(of_layer) = layer.filter(is_of_mixer).and_then(|layer| mixers.get_mut(layer)) {
            of_layer.push((op, name));
        }
    }
    mixers
}

/// The weights of the inputs that layers have of their own, and the factors of their outputs.
fn layer_inputs(spec: &Spec) -> Vec<Weight> {
    if spec.per_layer_width.is_none() && spec.layers.iter().all(|layer| !layer.output_scale) {
        return Vec::new();
    }
    weights(spec).into_iter().filter(|weight| weight.op.is_of_layer_inputs()).collect()
}

/// Removes blocks at the end that equal the block before them.
fn without_repeats(mut layers: Vec<LayerTypes>) -> Vec<LayerTypes> {
    while let [.., before, last] = layers.as_slice()
        && before == last
    {
        layers.pop();
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_blocks_are_stored_once_and_read_back() {
        let mut spec = crate::registry::find("llama-3.2-1b").unwrap().spec();
        spec.layers.truncate(4);
        let types =
            WeightTypes::by_name(&spec, |name| if name == "blk.0.ffn_down.weight" { DType::Q6_K } else { DType::Q4_K });
        assert_eq!(types.layers.len(), 2);
        let of = |layer| types.of_op(OpKind::DownProj, Some(layer));
        assert_eq!([of(0), of(1), of(3)], [DType::Q6_K, DType::Q4_K, DType::Q4_K]);
        let text = serde_json::to_string(&types).unwrap();
        assert_eq!(serde_json::from_str::<WeightTypes>(&text).unwrap(), types);
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec);
    }
}
