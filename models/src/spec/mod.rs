//! The shape of a model, as data: a list of layers and what is around them. It determines the weights and their sizes, the arithmetic,
//! the cache, and what the decoder does.

mod attention;
mod cache;
mod feed_forward;
mod gated_delta_net;
mod latent;
mod layer;
mod mixer;
mod rope;
mod weights;
mod wire;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::units::{Bytes, Params};

pub use attention::{Attention, Temperature};
pub use cache::CacheTypes;
pub use feed_forward::{
    Activation, CLAMP_ALPHA, CLAMP_LIMIT, ExpertGroups, Experts, FeedForward, Gated, Gating, Scores, SharedExpert,
};
pub use gated_delta_net::{DeltaLayout, GatedDeltaNet};
pub use latent::LatentAttention;
pub use layer::{Layer, NormPlacement};
pub(crate) use mixer::STATE;
pub use mixer::{Mixer, ShortConvolution};
pub use rope::{Rope, RopeLayout, RopeScaling};
pub(crate) use rope::{long_rope_magnitude, yarn_magnitude};
pub(crate) use weights::{
    EMBEDDING, OUTPUT, PER_LAYER_EMBEDDING, PER_LAYER_PROJECTION, Weight, WeightKind, expert_part, weights,
};

/// The name of an architecture: `model_type` in config.json and, except for Mistral 7B, `general.architecture` in GGUF files.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Arch(Cow<'static, str>);

impl Arch {
    /// Llama 2 and 3, SmolLM2.
    pub const LLAMA: Self = Self::new("llama");
    /// Mistral 7B: Llama with an optional sliding window.
    pub const MISTRAL: Self = Self::new("mistral");
    /// Qwen 1.5, 2 and 2.5: Llama with biases on q, k and v.
    pub const QWEN2: Self = Self::new("qwen2");

    /// The architecture of this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// The shape of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The architecture.
    pub arch: Arch,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Rows of the embedding table.
    pub vocab: usize,
    /// The number of positions that the model was trained for.
    pub context_length: usize,
    /// Epsilon of the RMS norms.
    pub norm_eps: f32,
    /// What is added to the stored weights of the norms: 1 for safetensors of Gemma, which store the difference from 1. A property of
    /// the checkpoint, not of the model.
    pub norm_offset: f32,
    /// Whether the output projection is the embedding table.
    pub tied_embeddings: bool,
    /// Factor of the embeddings; `None`: 1.
    pub embedding_scale: Option<f32>,
    /// Width `w` of an input that each layer has of its own; `None`: there are none.
    ///
    /// ```text
    /// e = table[token]                        a row of `layers w` elements of a second table of embeddings, `w` for each layer
    /// p = norm(projection x / sqrt(hidden))   x: the scaled embedding of the token; the norm is over the `w` elements of each layer
    /// i = (p + sqrt(w) e) / sqrt(2)           once per token
    /// h + norm(out (gelu(gate h) * i))        after the feed-forward part of each layer, with the part of i that is its own
    /// ```
    ///
    /// Source: transformers, `Gemma4TextModel` and `Gemma4TextDecoderLayer`.
    pub per_layer_width: Option<usize>,
    /// Bound `c` of the logits `x`, which become `c tanh(x / c)`; `None`: they have none.
    pub logit_cap: Option<f32>,
    /// The layers, first to last; at least one.
    pub layers: Vec<Layer>,
}

impl Spec {
    /// The same model with another sliding window in all layers with attention, for GGUF files that lack it (Mistral's files say `llama`).
    #[must_use]
    pub fn with_window(mut self, window: Option<usize>) -> Self {
        self.attentions_mut().for_each(|attention| attention.window = window);
        self
    }

    /// The attention of all layers that have one.
    pub fn attentions(&self) -> impl Iterator<Item = &Attention> {
        self.layers.iter().filter_map(|layer| layer.mixer.attention())
    }

    /// The same, to be changed.
    pub fn attentions_mut(&mut self) -> impl Iterator<Item = &mut Attention> {
        self.layers.iter_mut().filter_map(|layer| layer.mixer.attention_mut())
    }

    /// The smallest sliding window of its layers; `None` if no layer has one.
    #[must_use]
    pub fn smallest_window(&self) -> Option<usize> {
        self.attentions().filter_map(|attention| attention.window).min()
    }

    /// Width of the inputs of all layers together, if layers have inputs of their own; else 0.
    #[must_use]
    pub fn per_layer_inputs(&self) -> usize {
        self.per_layer_width.unwrap_or(0) * self.layers.len()
    }

    /// The number of parameters: all elements of all weights, a tied embedding table counted once.
    #[must_use]
    pub fn parameters(&self) -> Params {
        Params(weights(self).iter().map(Weight::elements).sum())
    }

    /// Bytes of one token in the KV cache of all layers with attention: the sum over them of `row(kv_heads head_dim)`, of keys and of
    /// values. Layers that attend to the cache of another one have none.
    #[must_use]
    pub fn kv_bytes_per_token(&self, types: impl Into<CacheTypes>) -> Bytes {
        let types = types.into();
        self.layers.iter().map(|layer| layer.mixer.cached_bytes_per_token(types)).sum()
    }

    /// Bytes of the KV cache of a context of `tokens` tokens that ran in batches of `batch`; layers with a sliding window keep the
    /// window and one batch. Recurrent states are not part of it.
    #[must_use]
    pub fn kv_bytes(&self, types: impl Into<CacheTypes>, tokens: usize, batch: usize) -> Bytes {
        let types = types.into();
        self.layers.iter().map(|layer| layer.mixer.cache_bytes(types, tokens, batch)).sum()
    }

    /// Bytes of the recurrent states of all layers, which do not depend on the context; 0 of a model without such layers.
    #[must_use]
    pub fn state_bytes(&self) -> Bytes {
        self.layers.iter().map(|layer| layer.mixer.state_bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    fn layer() -> Layer {
        let rope = Rope { theta: 10_000.0, dim: 4, layout: RopeLayout::Halves, scaling: None };
        Layer::plain(Attention { qkv_bias: true, ..Attention::plain(2, 1, 4, Some(rope)) }, 16)
    }

    fn spec() -> Spec {
        Spec {
            arch: Arch::LLAMA,
            hidden: 8,
            vocab: 10,
            context_length: 128,
            norm_eps: 1e-5,
            norm_offset: 0.0,
            tied_embeddings: true,
            embedding_scale: None,
            per_layer_width: None,
            logit_cap: None,
            layers: vec![layer(); 2],
        }
    }

    fn attention_of(spec: &mut Spec, layer: usize) -> &mut Attention {
        spec.layers[layer].mixer.attention_mut().unwrap()
    }

    #[test]
    fn parameters_of_a_tiny_model() {
        // table 80; per layer: norms 16, q 64 + 8, k and v 32 + 4 each, o 64, ffn 3 x 128; last norm 8.
        assert_eq!(spec().parameters(), Params(80 + 2 * (16 + 72 + 36 + 36 + 64 + 384) + 8));
        let mut spec = spec();
        attention_of(&mut spec, 1).qk_norm = true;
        spec.layers[1].norms = NormPlacement::BeforeAndAfter;
        assert_eq!(spec.parameters(), Params(80 + 2 * (16 + 72 + 36 + 36 + 64 + 384) + 8 + 2 * 4 + 2 * 8));
    }

    #[test]
    fn kv_bytes_of_one_token_and_of_a_context() {
        let mut spec = spec();
        assert_eq!(spec.kv_bytes_per_token(DType::F16), Bytes(2 * 2 * 4 * 2));
        attention_of(&mut spec, 1).window = Some(10);
        // 100 positions in one layer, 10 + 5 - 1 in the other.
        assert_eq!(spec.kv_bytes(DType::F16, 100, 5), Bytes((100 + 14) * 2 * 4 * 2));
        assert_eq!(spec.kv_bytes(DType::F16, 8, 5), Bytes((8 + 8) * 2 * 4 * 2));
        // A width of 64: two blocks of 34 bytes for keys, 2 bytes an element for values.
        spec.attentions_mut().for_each(|attention| attention.head_dim = 64);
        let types = CacheTypes { keys: DType::Q8_0, values: DType::F16 };
        assert_eq!(spec.kv_bytes_per_token(types), Bytes(2 * (2 * 34 + 64 * 2)));
        assert_eq!(spec.kv_bytes(types, 100, 5), Bytes((100 + 14) * (2 * 34 + 64 * 2)));
    }

    #[test]
    fn equal_layers_are_written_once_and_runs_are_read_back() {
        let mut spec = spec();
        spec.layers = vec![layer(); 7];
        for at in [2, 3, 6] {
            attention_of(&mut spec, at).window = Some(4);
            spec.layers[at].feed_forward.gated_mut().activation = Activation::GeluTanh;
        }
        spec.embedding_scale = Some(2.0);
        let json = serde_json::to_value(&spec).unwrap();
        let starts: Vec<_> = json["other_layers"].as_array().unwrap().iter().map(|run| run["from"].clone()).collect();
        assert_eq!(starts, [2, 4, 6]);
        assert_eq!(serde_json::from_value::<Spec>(json).unwrap(), spec);
    }

    #[test]
    fn experts_are_read_back() {
        let mut spec = spec();
        let experts = Experts {
            count: 4,
            used: 2,
            expert: Gated { width: 16, activation: Activation::GeluTanh },
            gating: Gating {
                scale: Some(2.5),
                choice_bias: true,
                groups: Some(ExpertGroups::by_best(2, 1)),
                ..Gating::new(Scores::Sigmoid, false)
            },
            biased: true,
            shared: Some(SharedExpert { width: 24, gated: true }),
            dense_width: None,
        };
        spec.layers[1].feed_forward = FeedForward::Experts(experts);
        let json = serde_json::to_value(&spec).unwrap();
        assert_eq!(
            (&json["experts"], &json["other_layers"][0]["experts"]["count"]),
            (&serde_json::Value::Null, &4.into())
        );
        assert_eq!(serde_json::from_value::<Spec>(json).unwrap(), spec);
        // Router 4 x 8 + 4, a bias of the choice 4, gate and up 2 x 4 x (16 x 8 + 16), down 4 x (8 x 16 + 8), shared 3 x 24 x 8 + 8 instead of 3 x 16 x 8.
        let dense = {
            let mut spec = spec.clone();
            spec.layers[1] = layer();
            spec.parameters().get()
        };
        assert_eq!(spec.parameters().get(), dense - 384 + 36 + 4 + 2 * 4 * 144 + 4 * 136 + 576 + 8);
    }

    /// Three parts of 8 x 8, a kernel of 3 in 8 channels and a projection of 8 x 8 instead of q, k, v and o with biases.
    #[test]
    fn a_layer_with_a_short_convolution_is_counted_and_read_back() {
        let mut spec = spec();
        spec.layers[0].mixer = Mixer::ShortConvolution(ShortConvolution { channels: 8, kernel: 3 });
        assert_eq!(spec.parameters(), Params(80 + 2 * (16 + 384) + (72 + 36 + 36 + 64) + (192 + 24 + 64) + 8));
        assert_eq!((spec.kv_bytes_per_token(DType::F16), spec.state_bytes()), (Bytes(2 * 4 * 2), Bytes(2 * 8 * 4)));
        let json = serde_json::to_value(&spec).unwrap();
        assert_eq!(json["short_convolution"]["kernel"], 3);
        assert_eq!((&json["heads"], &json["other_layers"][0]["heads"]), (&serde_json::Value::Null, &2.into()));
        assert_eq!(serde_json::from_value::<Spec>(json.clone()).unwrap(), spec);
        let error = |change: fn(&mut serde_json::Value)| {
            let mut json = json.clone();
            change(&mut json);
            serde_json::from_value::<Spec>(json).unwrap_err().to_string()
        };
        let wrong = error(|json| json["short_convolution"]["kernel"] = "three".into());
        assert!(wrong.contains("invalid type: string \"three\""), "{wrong}");
        let without = error(|json| drop(json.as_object_mut().unwrap().remove("short_convolution")));
        assert!(without.contains("heads"), "{without}");
        let incomplete = error(|json| json["heads"] = 2.into());
        assert!(incomplete.contains("missing field `kv_heads`"), "{incomplete}");
    }

    #[test]
    fn gated_delta_nets_and_output_gates_are_read_back() {
        let mut spec = spec();
        let layout = DeltaLayout::Alternating;
        let net = GatedDeltaNet { key_heads: 1, value_heads: 2, head_dim: 4, kernel: 3, layout };
        spec.layers[0].mixer = Mixer::GatedDeltaNet(net);
        attention_of(&mut spec, 1).output_gate = true;
        let json = serde_json::to_value(&spec).unwrap();
        assert_eq!(
            (&json["gated_delta_net"]["layout"], &json["other_layers"][0]["output_gate"]),
            (&"alternating".into(), &true.into())
        );
        assert_eq!(serde_json::from_value::<Spec>(json).unwrap(), spec);
    }

    #[test]
    fn shared_caches_and_inputs_of_layers_are_counted_and_read_back() {
        let mut spec = spec();
        let (whole, cache) = (spec.parameters().get(), spec.kv_bytes_per_token(DType::F16));
        spec.attentions_mut().for_each(|attention| attention.qkv_bias = false);
        let attention = attention_of(&mut spec, 1);
        (attention.cache_of, attention.v_norm) = (Some(0), true);
        // Without k and v of one layer, 2 x 32, and without the biases of both layers, 2 x (8 + 4 + 4).
        assert_eq!(spec.parameters().get(), whole - 64 - 32);
        assert_eq!(
            (spec.kv_bytes_per_token(DType::F16) * 2, spec.kv_bytes(DType::F16, 10, 5)),
            (cache, Bytes(10 * 16))
        );
        attention_of(&mut spec, 0).values_are_keys = true;
        assert_eq!(spec.parameters().get(), whole - 64 - 32 - 32);
        let before = spec.parameters().get();
        (spec.per_layer_width, spec.logit_cap) = (Some(4), Some(30.0));
        spec.layers[1].output_scale = true;
        // Table 10 x 8, projection 8 x 8, norm 4; of a layer gate and out 4 x 8 each and a norm 8; one number.
        assert_eq!(spec.parameters().get(), before + 80 + 64 + 4 + 2 * (64 + 8) + 1);
        let json = serde_json::to_value(&spec).unwrap();
        assert_eq!((&json["other_layers"][0]["cache_of"], &json["per_layer_width"]), (&0.into(), &4.into()));
        assert_eq!(serde_json::from_value::<Spec>(json).unwrap(), spec);
    }

    /// As released versions wrote it.
    #[test]
    fn a_plain_shape_is_written_as_before() {
        let json = r#"{"arch":"llama","layers":2,"hidden":8,"ffn":16,"heads":2,"kv_heads":1,"head_dim":4,"rope":{"theta":10000.0,"dim":4,"layout":"halves","scaling":null},"window":null,"qkv_bias":true,"vocab":10,"context_length":128,"norm_eps":1e-5,"tied_embeddings":true}"#;
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::from_value::<Spec>(value.clone()).unwrap(), spec());
        let written = serde_json::to_value(spec()).unwrap();
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&written), keys(&value));
        assert_eq!(serde_json::from_value::<Spec>(written).unwrap(), spec());
    }

    #[test]
    fn impossible_runs_are_refused() {
        let mut json = serde_json::to_value(spec()).unwrap();
        json["layers"] = 0.into();
        assert!(serde_json::from_value::<Spec>(json.clone()).is_err());
        json["layers"] = 2.into();
        let mut run = json.clone();
        run["from"] = 2.into();
        json["other_layers"] = vec![run].into();
        assert!(serde_json::from_value::<Spec>(json).unwrap_err().to_string().contains("from"));
    }
}
