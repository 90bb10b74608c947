//! A shape in JSON. The fields of the first layer stand beside those of the model, as files have had them since the first version;
//! layers that differ from the one before follow as runs of equal layers.

use serde::{Deserialize, Serialize};

use super::{
    Activation, Arch, Attention, Experts, FeedForward, Gated, GatedDeltaNet, Gating, LatentAttention, Layer, Mixer,
    NormPlacement, Rope, SharedExpert, ShortConvolution, Spec, Temperature,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    per_layer_width: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    logit_cap: Option<f32>,
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
    #[serde(flatten)]
    mixer: MixerWire,
    #[serde(default, skip_serializing_if = "is_default")]
    activation: Activation,
    /// Of a mixture of experts; `ffn` and `activation` are then those of each expert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    experts: Option<ExpertsWire>,
    #[serde(default, skip_serializing_if = "is_default")]
    norms: NormPlacement,
    #[serde(default, skip_serializing_if = "is_default")]
    output_scale: bool,
}

/// [`Mixer`] in JSON: the fields of attention stand beside those of the layer, as files have had them since the first version; any other
/// mixer is an object under the name of its kind.
#[derive(Serialize)]
#[serde(untagged)]
enum MixerWire {
    Attention(AttentionWire),
    Other(OtherMixer),
}

/// A mixer that is not attention.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OtherMixer {
    LatentAttention(LatentAttention),
    ShortConvolution(ShortConvolution),
    GatedDeltaNet(GatedDeltaNet),
}

/// The fields of a layer, one of which names a mixer.
#[derive(Deserialize)]
struct WithOtherMixer {
    #[serde(flatten)]
    mixer: OtherMixer,
}

/// [`Attention`] in JSON.
#[derive(Serialize, Deserialize)]
struct AttentionWire {
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
    #[serde(default, skip_serializing_if = "is_default")]
    v_norm: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    values_are_keys: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_of: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    score_scale: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    temperature: Option<Temperature>,
    #[serde(default, skip_serializing_if = "is_default")]
    output_gate: bool,
}

impl<'de> Deserialize<'de> for MixerWire {
    /// Not by trying one kind after the other, so that an error names the field.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = serde_json::Map::<String, serde_json::Value>::deserialize(deserializer)?;
        let has_attention = fields.contains_key("heads");
        let fields = serde_json::Value::Object(fields);
        let read = match has_attention {
            true => serde_json::from_value(fields).map(Self::Attention),
            false => serde_json::from_value::<WithOtherMixer>(fields).map(|fields| Self::Other(fields.mixer)),
        };
        read.map_err(|error| match has_attention {
            true => serde::de::Error::custom(error),
            false => serde::de::Error::custom(format!("a layer without `heads`: {error}")),
        })
    }
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dense_width: Option<usize>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl From<&Layer> for LayerWire {
    fn from(layer: &Layer) -> Self {
        let Layer { mixer, feed_forward, norms, output_scale } = layer;
        Self {
            ffn: feed_forward.gated().width,
            mixer: mixer.into(),
            activation: feed_forward.gated().activation,
            experts: feed_forward.experts().map(|experts| ExpertsWire {
                count: experts.count,
                used: experts.used,
                gating: experts.gating,
                biased: experts.biased,
                shared: experts.shared,
                dense_width: experts.dense_width,
            }),
            norms: *norms,
            output_scale: *output_scale,
        }
    }
}

impl From<LayerWire> for Layer {
    fn from(wire: LayerWire) -> Self {
        let gated = Gated { width: wire.ffn, activation: wire.activation };
        let feed_forward = match wire.experts {
            None => FeedForward::Dense(gated),
            Some(ExpertsWire { count, used, gating, biased, shared, dense_width }) => {
                FeedForward::Experts(Experts { count, used, expert: gated, gating, biased, shared, dense_width })
            }
        };
        Self { mixer: wire.mixer.into(), feed_forward, norms: wire.norms, output_scale: wire.output_scale }
    }
}

impl From<&Mixer> for MixerWire {
    fn from(mixer: &Mixer) -> Self {
        match mixer {
            Mixer::Attention(attention) => Self::Attention(attention.into()),
            Mixer::LatentAttention(attention) => Self::Other(OtherMixer::LatentAttention(attention.clone())),
            Mixer::ShortConvolution(convolution) => Self::Other(OtherMixer::ShortConvolution(*convolution)),
            Mixer::GatedDeltaNet(net) => Self::Other(OtherMixer::GatedDeltaNet(*net)),
        }
    }
}

impl From<MixerWire> for Mixer {
    fn from(wire: MixerWire) -> Self {
        match wire {
            MixerWire::Attention(attention) => Self::Attention(attention.into()),
            MixerWire::Other(OtherMixer::LatentAttention(attention)) => Self::LatentAttention(attention),
            MixerWire::Other(OtherMixer::ShortConvolution(convolution)) => Self::ShortConvolution(convolution),
            MixerWire::Other(OtherMixer::GatedDeltaNet(net)) => Self::GatedDeltaNet(net),
        }
    }
}

impl From<&Attention> for AttentionWire {
    fn from(attention: &Attention) -> Self {
        Self {
            heads: attention.heads,
            kv_heads: attention.kv_heads,
            head_dim: attention.head_dim,
            rope: attention.rope.clone(),
            window: attention.window,
            qkv_bias: attention.qkv_bias,
            output_bias: attention.output_bias,
            sinks: attention.sinks,
            qk_norm: attention.qk_norm,
            v_norm: attention.v_norm,
            values_are_keys: attention.values_are_keys,
            cache_of: attention.cache_of,
            score_scale: attention.scale,
            temperature: attention.temperature,
            output_gate: attention.output_gate,
        }
    }
}

impl From<AttentionWire> for Attention {
    fn from(wire: AttentionWire) -> Self {
        Self {
            heads: wire.heads,
            kv_heads: wire.kv_heads,
            head_dim: wire.head_dim,
            rope: wire.rope,
            window: wire.window,
            qkv_bias: wire.qkv_bias,
            output_bias: wire.output_bias,
            sinks: wire.sinks,
            qk_norm: wire.qk_norm,
            v_norm: wire.v_norm,
            values_are_keys: wire.values_are_keys,
            cache_of: wire.cache_of,
            scale: wire.score_scale,
            temperature: wire.temperature,
            output_gate: wire.output_gate,
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
            per_layer_width: wire.per_layer_width,
            logit_cap: wire.logit_cap,
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
            per_layer_width: self.per_layer_width,
            logit_cap: self.logit_cap,
        };
        wire.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SpecWire::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}
