//! The shape of a model, as data: a list of layers and what is around them. It determines the weights and their sizes, the arithmetic,
//! the cache, and what the decoder does.

mod cache;
mod feed_forward;
mod layer;
mod rope;
mod weights;
mod wire;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::units::{Bytes, Params};

pub use cache::CacheTypes;
pub use feed_forward::{
    Activation, CLAMP_ALPHA, CLAMP_LIMIT, Experts, FeedForward, Gated, Gating, Scores, SharedExpert,
};
pub use layer::{Attention, Layer, NormPlacement, Temperature};
pub use rope::{Rope, RopeLayout, RopeScaling};
pub(crate) use rope::{long_rope_magnitude, yarn_magnitude};
pub(crate) use weights::{EMBEDDING, OUTPUT, Weight, WeightKind, expert_part, weights};

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
    /// The layers, first to last; at least one.
    pub layers: Vec<Layer>,
}

impl Spec {
    /// The same model with another sliding window in all layers, for GGUF files that lack it (Mistral's files say `llama`).
    #[must_use]
    pub fn with_window(mut self, window: Option<usize>) -> Self {
        for layer in &mut self.layers {
            layer.attention.window = window;
        }
        self
    }

    /// The attention parts of all layers.
    pub fn attentions(&self) -> impl Iterator<Item = &Attention> {
        self.layers.iter().map(|layer| &layer.attention)
    }

    /// The smallest sliding window of its layers; `None` if no layer has one.
    #[must_use]
    pub fn smallest_window(&self) -> Option<usize> {
        self.attentions().filter_map(|attention| attention.window).min()
    }

    /// The number of parameters: all elements of all weights, a tied embedding table counted once.
    #[must_use]
    pub fn parameters(&self) -> Params {
        Params(weights(self).iter().map(Weight::elements).sum())
    }

    /// Bytes of one token in the KV cache of all layers: the sum over the layers of `row(kv_heads head_dim)`, of keys and of values.
    #[must_use]
    pub fn kv_bytes_per_token(&self, types: impl Into<CacheTypes>) -> Bytes {
        let types = types.into();
        self.attentions().map(|attention| types.row_bytes(attention.kv_width())).sum()
    }

    /// Bytes of the KV cache of a context of `tokens` tokens that ran in batches of `batch`; layers with a sliding window keep the
    /// window and one batch.
    #[must_use]
    pub fn kv_bytes(&self, types: impl Into<CacheTypes>, tokens: usize, batch: usize) -> Bytes {
        let types = types.into();
        let of_layer = |attention: &Attention| {
            types.row_bytes(attention.kv_width()) * attention.cache_capacity(tokens, batch) as u64
        };
        self.attentions().map(of_layer).sum()
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
            layers: vec![layer(); 2],
        }
    }

    #[test]
    fn parameters_of_a_tiny_model() {
        // table 80; per layer: norms 16, q 64 + 8, k and v 32 + 4 each, o 64, ffn 3 x 128; last norm 8.
        assert_eq!(spec().parameters(), Params(80 + 2 * (16 + 72 + 36 + 36 + 64 + 384) + 8));
        let mut spec = spec();
        spec.layers[1].attention.qk_norm = true;
        spec.layers[1].norms = NormPlacement::BeforeAndAfter;
        assert_eq!(spec.parameters(), Params(80 + 2 * (16 + 72 + 36 + 36 + 64 + 384) + 8 + 2 * 4 + 2 * 8));
    }

    #[test]
    fn kv_bytes_of_one_token_and_of_a_context() {
        let mut spec = spec();
        assert_eq!(spec.kv_bytes_per_token(DType::F16), Bytes(2 * 2 * 4 * 2));
        spec.layers[1].attention.window = Some(10);
        // 100 positions in one layer, 10 + 5 - 1 in the other.
        assert_eq!(spec.kv_bytes(DType::F16, 100, 5), Bytes((100 + 14) * 2 * 4 * 2));
        assert_eq!(spec.kv_bytes(DType::F16, 8, 5), Bytes((8 + 8) * 2 * 4 * 2));
        // A width of 64: two blocks of 34 bytes for keys, 2 bytes an element for values.
        for layer in &mut spec.layers {
            layer.attention.head_dim = 64;
        }
        let types = CacheTypes { keys: DType::Q8_0, values: DType::F16 };
        assert_eq!(spec.kv_bytes_per_token(types), Bytes(2 * (2 * 34 + 64 * 2)));
        assert_eq!(spec.kv_bytes(types, 100, 5), Bytes((100 + 14) * (2 * 34 + 64 * 2)));
    }

    #[test]
    fn equal_layers_are_written_once_and_runs_are_read_back() {
        let mut spec = spec();
        spec.layers = vec![layer(); 7];
        for at in [2, 3, 6] {
            spec.layers[at].attention.window = Some(4);
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
            gating: Gating { scores: Scores::SoftmaxOfChosen, normalised: false, scale: Some(2.5) },
            biased: true,
            shared: Some(SharedExpert { width: 24, gated: true }),
        };
        spec.layers[1].feed_forward = FeedForward::Experts(experts);
        let json = serde_json::to_value(&spec).unwrap();
        assert_eq!(
            (&json["experts"], &json["other_layers"][0]["experts"]["count"]),
            (&serde_json::Value::Null, &4.into())
        );
        assert_eq!(serde_json::from_value::<Spec>(json).unwrap(), spec);
        // Router 4 x 8 + 4, gate and up 2 x 4 x (16 x 8 + 16), down 4 x (8 x 16 + 8), shared 3 x 24 x 8 + 8 instead of 3 x 16 x 8.
        let dense = {
            let mut spec = spec.clone();
            spec.layers[1] = layer();
            spec.parameters().get()
        };
        assert_eq!(spec.parameters().get(), dense - 384 + 36 + 2 * 4 * 144 + 4 * 136 + 576 + 8);
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
