//! A shape in JSON. The fields of the first layer stand beside those of the model, as files have had them since the first version;
//! layers that differ from the one before follow as runs of equal layers.

use serde::{Deserialize, Serialize};

use super::{
    Activation, Arch, Attention, Experts, FeedForward, Gated, Gating, Layer, NormPlacement, Rope, SharedExpert, Spec,
    Temperature,
};

/// [`Spec`] in JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct SpecWire {
    arch: Arch,
    /// The number of layers.
    layers: usize,
    hidden: usize,
    #[serde(flatten)]
    first: LayerWire,
    /// Runs of layers after the first one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    other_layers: Vec<LayerRun>,
    vocab: usize,
    context_length: usize,
    norm_eps: f32,
    #[serde(default, skip_serializing_if = "is_default")]
    norm_offset: f32,
    tied_embeddings: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    embedding_scale: Option<f32>,
}

/// Equal layers in a row.
#[derive(Serialize, Deserialize)]
struct LayerRun {
    /// The first of them.
    from: usize,
    #[serde(flatten)]
    layer: LayerWire,
}

/// [`Layer`] in JSON.
#[derive(Serialize, Deserialize)]
struct LayerWire {
    ffn: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    rope: Option<Rope>,
    window: Option<usize>,
    qkv_bias: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    output_bias: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    sinks: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    qk_norm: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    score_scale: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    temperature: Option<Temperature>,
    #[serde(default, skip_serializing_if = "is_default")]
    activation: Activation,
    /// Of a mixture of experts; `ffn` and `activation` are then those of each expert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    experts: Option<ExpertsWire>,
    #[serde(default, skip_serializing_if = "is_default")]
    norms: NormPlacement,
}

/// What [`Experts`] has beside the shape of each expert, in JSON.
#[derive(Serialize, Deserialize)]
struct ExpertsWire {
    count: usize,
    used: usize,
    gating: Gating,
    #[serde(default, skip_serializing_if = "is_default")]
    biased: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shared: Option<SharedExpert>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl From<&Layer> for LayerWire {
    fn from(layer: &Layer) -> Self {
        let Layer { attention, feed_forward, norms } = layer;
        Self {
            ffn: feed_forward.gated().width,
            heads: attention.heads,
            kv_heads: attention.kv_heads,
            head_dim: attention.head_dim,
            rope: attention.rope.clone(),
            window: attention.window,
            qkv_bias: attention.qkv_bias,
            output_bias: attention.output_bias,
            sinks: attention.sinks,
            qk_norm: attention.qk_norm,
            score_scale: attention.scale,
            temperature: attention.temperature,
            activation: feed_forward.gated().activation,
            experts: feed_forward.experts().map(|experts| ExpertsWire {
                count: experts.count,
                used: experts.used,
                gating: experts.gating,
                biased: experts.biased,
                shared: experts.shared,
            }),
            norms: *norms,
        }
    }
}

impl From<LayerWire> for Layer {
    fn from(wire: LayerWire) -> Self {
        let gated = Gated { width: wire.ffn, activation: wire.activation };
        let feed_forward = match wire.experts {
            None => FeedForward::Dense(gated),
            Some(ExpertsWire { count, used, gating, biased, shared }) => {
                FeedForward::Experts(Experts { count, used, expert: gated, gating, biased, shared })
            }
        };
        Self {
            attention: Attention {
                heads: wire.heads,
                kv_heads: wire.kv_heads,
                head_dim: wire.head_dim,
                rope: wire.rope,
                window: wire.window,
                qkv_bias: wire.qkv_bias,
                output_bias: wire.output_bias,
                sinks: wire.sinks,
                qk_norm: wire.qk_norm,
                scale: wire.score_scale,
                temperature: wire.temperature,
            },
            feed_forward,
            norms: wire.norms,
        }
    }
}

/// A number of layers, or the first one of a run, that is impossible.
#[derive(Debug, thiserror::Error)]
#[error("{field}: expected a number in {expected:?}, found {found}")]
pub(super) struct InvalidLayers {
    field: &'static str,
    expected: std::ops::Range<usize>,
    found: usize,
}

/// The most layers that a file may have: real models have at most a few hundred.
const MOST_LAYERS: usize = 1 << 16;

impl TryFrom<SpecWire> for Spec {
    type Error = InvalidLayers;

    fn try_from(wire: SpecWire) -> Result<Self, InvalidLayers> {
        let SpecWire { layers: count, first, other_layers, .. } = wire;
        if !(1..=MOST_LAYERS).contains(&count) {
            return Err(InvalidLayers { field: "layers", expected: 1..MOST_LAYERS + 1, found: count });
        }
        let mut layers = vec![Layer::from(first)];
        for run in other_layers {
            if run.from < layers.len() || run.from >= count {
                return Err(InvalidLayers {
                    field: "other_layers.from",
                    expected: layers.len()..count,
                    found: run.from,
                });
            }
            let before = layers[layers.len() - 1].clone();
            layers.resize(run.from, before);
            layers.push(Layer::from(run.layer));
        }
        let last = layers[layers.len() - 1].clone();
        layers.resize(count, last);
        Ok(Self {
            arch: wire.arch,
            hidden: wire.hidden,
            vocab: wire.vocab,
            context_length: wire.context_length,
            norm_eps: wire.norm_eps,
            norm_offset: wire.norm_offset,
            tied_embeddings: wire.tied_embeddings,
            embedding_scale: wire.embedding_scale,
            layers,
        })
    }
}

impl Serialize for Spec {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let first = self.layers.first().ok_or_else(|| serde::ser::Error::custom("a model without layers"))?;
        let pairs = self.layers.iter().zip(&self.layers[1..]).enumerate();
        let changed = pairs.filter(|(_, (before, layer))| before != layer);
        let other_layers = changed.map(|(at, (_, layer))| LayerRun { from: at + 1, layer: layer.into() }).collect();
        let wire = SpecWire {
            arch: self.arch.clone(),
            layers: self.layers.len(),
            hidden: self.hidden,
            first: first.into(),
            other_layers,
            vocab: self.vocab,
            context_length: self.context_length,
            norm_eps: self.norm_eps,
            norm_offset: self.norm_offset,
            tied_embeddings: self.tied_embeddings,
            embedding_scale: self.embedding_scale,
        };
        wire.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SpecWire::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}
