//! The decoder of all models: embedding, layers of attention and feed-forward parts, norm, output projection. What a layer has beyond
//! that follows from its description ([`models::Layer`]). The feed-forward part is in `feed_forward`.
//!
//! It is independent of the device: [`Kernels`] does the arithmetic. Every operation is marked with its layer and its shape:
//! `[rows, inputs, outputs]` of a product, `[rows, positions visible to the last row, heads]` of attention, `[rows, width]` of other
//! operations.

use std::borrow::Cow;

use models::{Attention, CacheTypes, Checkpoint, Layer, NormPlacement, Rope, Spec};
use traces::op;
use traces::record::NO_LAYER;

use super::failed;
use super::feed_forward::{FeedForwardBuffers, FeedForwardWeights, Place, Stream};
use super::kernels::{Kernels, Linear};
use super::source::Source;
use crate::{EngineError, KvBytes, LoadOptions};

/// A model with its weights, its KV cache and the buffers of a forward pass.
pub(super) struct Decoder<K: Kernels> {
    kernels: K,
    spec: Spec,
    embedding: K::Weight, // [vocab, hidden]
    blocks: Vec<Block<K>>,
    output_norm: K::Vector, // [hidden]
    lm_head: Linear<K>,     // [vocab, hidden]; the embedding table itself where they are tied
    /// The rotary embeddings of the layers, each once.
    rotations: Vec<K::Rotation>,
    buffers: Buffers<K>,
    /// Number of tokens in the context: the position of the next one.
    position: usize,
    /// Number of positions that the caches have had since the last reset.
    written: usize,
    /// Capacity of the context in tokens.
    context: usize,
    /// Element types of the KV cache.
    kv: CacheTypes,
    /// Maximum number of tokens per forward pass.
    batch: usize,
    /// Number of layers, from the first, that compute their feed-forward part twice.
    extra_mlp: usize,
}

/// The weights and the cache of one layer.
struct Block<K: Kernels> {
    attention: AttentionWeights<K>,
    feed_forward: FeedForwardWeights<K>,
    cache: K::Cache,
}

/// The weights of an attention part.
struct AttentionWeights<K: Kernels> {
    norm: K::Vector, // [hidden]
    q: Linear<K>,    // [heads * head_dim, hidden]
    k: Linear<K>,    // [kv_heads * head_dim, hidden]
    v: Linear<K>,    // [kv_heads * head_dim, hidden]
    o: Linear<K>,    // [hidden, heads * head_dim]
    /// `[heads]`
    sinks: Option<K::Vector>,
    /// Norms of the heads of q and k, each `[head_dim]`.
    head_norms: Option<[K::Vector; 2]>,
    /// `[hidden]`
    post_norm: Option<K::Vector>,
    /// Index of the rotary embedding.
    rotation: Option<usize>,
}

/// Buffers of a forward pass, reused by all layers and all passes.
struct Buffers<K: Kernels> {
    stream: Stream<K>,
    q: K::Rows,         // [rows, heads * head_dim]
    k: K::Rows,         // [rows, kv_heads * head_dim]
    v: K::Rows,         // [rows, kv_heads * head_dim]
    attention: K::Rows, // [rows, heads * head_dim]
    feed_forward: FeedForwardBuffers<K>,
    last: K::Rows,   // [1, hidden]: the last row, whose logits are computed
    logits: K::Rows, // [1, vocab]
}

/// What stays the same for all layers of a pass.
#[derive(Clone, Copy)]
struct Pass {
    rows: usize,
    position: usize,
    hidden: usize,
    epsilon: f32,
}

impl<K: Kernels> Decoder<K> {
    /// Takes the weights from the checkpoint and reserves cache and buffers. The first `extra_mlp` layers compute their feed-forward
    /// part twice.
    pub(super) fn load(
        kernels: K,
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        batch: usize,
        extra_mlp: usize,
    ) -> Result<Self, EngineError> {
        let spec = checkpoint.spec()?.clone();
        let hidden = spec.hidden;
        let buffers = Buffers::new(&kernels, &spec, extra_mlp > 0)?;
        let source = Source { kernels: &kernels, checkpoint };
        let embedding = source.matrix("token_embd.weight", spec.vocab, hidden)?;
        let lm_head = if spec.tied_embeddings {
            Linear { weight: embedding.clone(), bias: None }
        } else {
            source.linear("output", spec.vocab, hidden, false)?
        };
        let ropes = distinct_ropes(&spec);
        let rotation = |(rope, head_dim): &(&Rope, usize)| kernels.rotation(rope, *head_dim);
        let rotations = ropes.iter().map(rotation).collect::<Result<_, _>>()?;
        let block = |(at, layer): (usize, &Layer)| -> Result<Block<K>, EngineError> {
            let rope = layer.attention.rope.as_ref();
            let rotation = rope.and_then(|rope| ropes.iter().position(|(known, _)| *known == rope));
            Ok(Block {
                attention: AttentionWeights::load(&source, at, layer, rotation)?,
                feed_forward: FeedForwardWeights::load(&source, at, layer)?,
                cache: kernels.cache(&layer.attention)?,
            })
        };
        let blocks = spec.layers.iter().enumerate().map(block).collect::<Result<_, _>>()?;
        let output_norm = source.norm("output_norm.weight", hidden)?;
        let (context, kv) = (options.context, options.kv_type.cache_types());
        Ok(Self {
            kernels,
            spec,
            embedding,
            blocks,
            output_norm,
            lm_head,
            rotations,
            buffers,
            position: 0,
            written: 0,
            context,
            kv,
            batch,
            extra_mlp,
        })
    }

    /// Appends tokens to the context and runs them in batches; afterwards the logits are those of the last one.
    pub(super) fn forward(&mut self, tokens: &[u32]) -> Result<(), EngineError> {
        let batches = tokens.len().div_ceil(self.batch);
        for (index, batch) in tokens.chunks(self.batch).enumerate() {
            self.pass(batch, index + 1 == batches)?;
        }
        Ok(())
    }

    /// Runs one batch through all layers, and computes its logits if requested.
    fn pass(&mut self, tokens: &[u32], with_logits: bool) -> Result<(), EngineError> {
        self.written = self.written.max(self.position + tokens.len());
        let Self { kernels, spec, buffers: b, .. } = self;
        let (rows, hidden, epsilon) = (tokens.len(), spec.hidden, spec.norm_eps);
        let pass = Pass { rows, position: self.position, hidden, epsilon };
        {
            let _op = op!("embed", NO_LAYER, [rows, hidden]);
            kernels.embed(&self.embedding, tokens, &mut b.stream.x)?;
            if let Some(factor) = spec.embedding_scale {
                kernels.scale(&mut b.stream.x, factor)?;
            }
        }
        for (at, (layer, block)) in spec.layers.iter().zip(&mut self.blocks).enumerate() {
            let rotation = block.attention.rotation.map(|index| &mut self.rotations[index]);
            pass.attention(kernels, at, &layer.attention, &block.attention, rotation, &mut block.cache, b)?;
            let (place, twice) = (Place { at, rows, hidden, epsilon }, at < self.extra_mlp);
            let Buffers { stream, feed_forward, .. } = b;
            block.feed_forward.run(kernels, place, &layer.feed_forward, twice, stream, feed_forward)?;
        }
        self.position += rows;
        if with_logits {
            {
                let _op = op!("output_norm", NO_LAYER, [1, hidden]);
                kernels.last(&b.stream.x, &mut b.last)?;
                kernels.norm(&b.last, &self.output_norm, epsilon, &mut b.stream.h)?;
            }
            {
                let _op = op!("lm_head", NO_LAYER, [1, hidden, spec.vocab]);
                kernels.linear(&mut b.stream.h, &self.lm_head, &mut b.logits)?;
            }
        }
        Ok(())
    }

    /// Logits of the last token, `[vocab]`.
    pub(super) fn logits(&self) -> Result<Cow<'_, [f32]>, EngineError> {
        self.kernels.read(&self.buffers.logits)
    }

    /// Number of tokens in the context.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Clears the context. The cache is not cleared: positions after the context are never read.
    pub(super) fn reset(&mut self) {
        (self.position, self.written) = (0, 0);
    }

    /// Drops what follows the first `tokens` tokens; `false` if a sliding window has overwritten what the next token reads.
    pub(super) fn rewind(&mut self, tokens: usize) -> bool {
        let (written, context, batch) = (self.written, self.context, self.batch);
        let keeps = |attention: &Attention| {
            attention.cache_still_has(tokens, written, attention.cache_capacity(context, batch))
        };
        let possible = tokens <= self.position && self.spec.attentions().all(keeps);
        if possible {
            self.position = tokens;
        }
        possible
    }

    /// Bytes of the KV cache.
    pub(super) fn kv_bytes(&self) -> KvBytes {
        let bytes = |tokens| self.spec.kv_bytes(self.kv, tokens, self.batch).get();
        KvBytes { used: bytes(self.position), reserved: bytes(self.context) }
    }

    /// Memory of the device's allocator.
    pub(super) fn device_memory(&self) -> Option<crate::DeviceMemory> {
        self.kernels.device_memory()
    }

    /// To be called before a request whose marks are recorded.
    pub(super) fn prepare_recording(&mut self) {
        self.kernels.prepare_recording();
    }

    /// Waits until the device is done.
    pub(super) fn sync(&mut self) -> Result<(), EngineError> {
        self.kernels.sync()
    }
}

impl<K: Kernels> Buffers<K> {
    fn new(kernels: &K, spec: &Spec, discards: bool) -> Result<Self, EngineError> {
        let first = spec.layers.first().ok_or_else(|| failed("load", "the model has no layers"))?;
        let widths = |layer: &Layer| [layer.attention.q_width(), layer.attention.kv_width()];
        let [q_width, kv_width] = widths(first);
        // Buffers are shared by all layers.
        if let Some(other) = spec.layers.iter().position(|layer| widths(layer) != widths(first)) {
            let what = format!("attention of different widths (layer {other} differs from layer 0)");
            return Err(EngineError::unsupported(super::NAME, what, "use another engine, such as llama-cpp"));
        }
        Ok(Self {
            stream: Stream::new(kernels, spec.hidden)?,
            q: kernels.rows(q_width)?,
            k: kernels.rows(kv_width)?,
            v: kernels.rows(kv_width)?,
            attention: kernels.rows(q_width)?,
            feed_forward: FeedForwardBuffers::new(kernels, spec, discards)?,
            last: kernels.rows(spec.hidden)?,
            logits: kernels.rows(spec.vocab)?,
        })
    }
}

/// The rotary embeddings of a model with the width of the heads that they rotate, each once.
fn distinct_ropes(spec: &Spec) -> Vec<(&Rope, usize)> {
    let mut ropes: Vec<(&Rope, usize)> = Vec::new();
    for attention in spec.attentions() {
        if let Some(rope) = &attention.rope
            && !ropes.contains(&(rope, attention.head_dim))
        {
            ropes.push((rope, attention.head_dim));
        }
    }
    ropes
}

impl Pass {
    /// The attention part of layer `at`.
    #[allow(clippy::too_many_arguments, reason = "the parts of the decoder, borrowed separately")]
    fn attention<K: Kernels>(
        self,
        kernels: &mut K,
        at: usize,
        attention: &Attention,
        weights: &AttentionWeights<K>,
        rotation: Option<&mut K::Rotation>,
        cache: &mut K::Cache,
        b: &mut Buffers<K>,
    ) -> Result<(), EngineError> {
        let Self { rows, position, hidden, epsilon } = self;
        let (q_width, kv_width, s) = (attention.q_width(), attention.kv_width(), &mut b.stream);
        let end = position + rows;
        let seen = attention.window.map_or(end, |window| end.min(window));
        {
            let _op = op!("attn_norm", at, [rows, hidden]);
            kernels.norm(&s.x, &weights.norm, epsilon, &mut s.h)?;
        }
        {
            let _op = op!("q_proj", at, [rows, hidden, q_width]);
            kernels.linear(&mut s.h, &weights.q, &mut b.q)?;
        }
        {
            let _op = op!("k_proj", at, [rows, hidden, kv_width]);
            kernels.linear(&mut s.h, &weights.k, &mut b.k)?;
        }
        {
            let _op = op!("v_proj", at, [rows, hidden, kv_width]);
            kernels.linear(&mut s.h, &weights.v, &mut b.v)?;
        }
        if let Some([q_norm, k_norm]) = &weights.head_norms {
            {
                let _op = op!("q_norm", at, [rows, q_width]);
                kernels.norm_heads(&mut b.q, q_norm, epsilon)?;
            }
            let _op = op!("k_norm", at, [rows, kv_width]);
            kernels.norm_heads(&mut b.k, k_norm, epsilon)?;
        }
        if let Some(rotation) = rotation {
            let _op = op!("rope", at, [rows, q_width + kv_width]);
            kernels.rope(&mut b.q, rotation, position)?;
            kernels.rope(&mut b.k, rotation, position)?;
            if let Some(temperature) = attention.temperature {
                kernels.scale_by_position(&mut b.q, temperature, position)?;
            }
        }
        {
            let _op = op!("kv_write", at, [rows, kv_width]);
            kernels.store(cache, &b.k, &b.v, position)?;
        }
        {
            let _op = op!("attention", at, [rows, seen, attention.heads]);
            kernels.attend(&b.q, cache, attention, weights.sinks.as_ref(), position, &mut b.attention)?;
        }
        {
            let _op = op!("o_proj", at, [rows, q_width, hidden]);
            kernels.linear(&mut b.attention, &weights.o, &mut s.h)?;
        }
        if let Some(norm) = &weights.post_norm {
            let _op = op!("attn_post_norm", at, [rows, hidden]);
            kernels.norm(&s.h, norm, epsilon, &mut s.normed)?;
        }
        let _op = op!("attn_residual", at, [rows, hidden]);
        kernels.add(&mut s.x, if weights.post_norm.is_some() { &s.normed } else { &s.h })
    }
}

impl<K: Kernels> AttentionWeights<K> {
    fn load(source: &Source<'_, K>, at: usize, layer: &Layer, rotation: Option<usize>) -> Result<Self, EngineError> {
        let (attention, hidden) = (&layer.attention, source.spec()?.hidden);
        let (q_width, kv_width, biased) = (attention.q_width(), attention.kv_width(), attention.qkv_bias);
        let name = |part: &str| format!("blk.{at}.{part}");
        let head_norm = |part: &str| source.norm(&name(part), attention.head_dim);
        let has_post_norm = layer.norms == NormPlacement::BeforeAndAfter;
        Ok(Self {
            norm: source.norm(&name("attn_norm.weight"), hidden)?,
            q: source.linear(&name("attn_q"), q_width, hidden, biased)?,
            k: source.linear(&name("attn_k"), kv_width, hidden, biased)?,
            v: source.linear(&name("attn_v"), kv_width, hidden, biased)?,
            o: source.linear(&name("attn_output"), hidden, q_width, attention.output_bias)?,
            sinks: match attention.sinks {
                true => Some(source.vector(&name("attn_sinks.weight"), attention.heads)?),
                false => None,
            },
            head_norms: match attention.qk_norm {
                true => Some([head_norm("attn_q_norm.weight")?, head_norm("attn_k_norm.weight")?]),
                false => None,
            },
            post_norm: has_post_norm.then(|| source.norm(&name("post_attention_norm.weight"), hidden)).transpose()?,
            rotation,
        })
    }
}
