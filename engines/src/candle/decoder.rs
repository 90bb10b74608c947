//! The decoder of all models: embedding, layers of token mixers and feed-forward parts, norm, output projection. What a layer has beyond
//! that follows from its description ([`models::Layer`]). Its parts are in `mixer` and `feed_forward`.
//!
//! It is independent of the device: [`Kernels`] does the arithmetic. Every operation is marked with its layer and its shape:
//! `[rows, inputs, outputs]` of a product, `[rows, positions visible to the last row, heads]` of attention, `[rows, width]` of other
//! operations.

use std::borrow::Cow;

use models::{CacheTypes, Checkpoint, Layer, Spec};
use traces::op;
use traces::record::NO_LAYER;

use super::attention::Rotations;
use super::feed_forward::{FeedForwardBuffers, FeedForwardWeights};
use super::kernels::{Kernels, Linear};
use super::layer_inputs::{LayerInputPart, LayerInputs};
use super::mixer::{MixerBuffers, MixerPart};
use super::source::Source;
use super::stream::{Place, Stream};
use crate::{EngineError, KvBytes, LoadOptions};

/// A model with its weights, its KV cache, its recurrent states and the buffers of a forward pass.
pub(super) struct Decoder<K: Kernels> {
    kernels: K,
    spec: Spec,
    embedding: K::Weight, // [vocab, hidden]
    layer_inputs: Option<LayerInputs<K>>,
    blocks: Vec<Block<K>>,
    output_norm: K::Vector, // [hidden]
    lm_head: Linear<K>,     // [vocab, hidden]; the embedding table itself where they are tied
    rotations: Rotations<K>,
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

/// The weights of one layer, and what it keeps of the tokens before.
struct Block<K: Kernels> {
    mixer: MixerPart<K>,
    feed_forward: FeedForwardWeights<K>,
    input: Option<LayerInputPart<K>>,
    /// Factor of the output.
    scale: Option<f32>,
}

/// Buffers of a forward pass, reused by all layers and all passes.
struct Buffers<K: Kernels> {
    stream: Stream<K>,
    mixer: MixerBuffers<K>,
    feed_forward: FeedForwardBuffers<K>,
    last: K::Rows,   // [1, hidden]: the last row, whose logits are computed
    logits: K::Rows, // [1, vocab]
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
        let layer_inputs = LayerInputs::load(&source)?;
        let rotations = Rotations::new(&kernels, &spec)?;
        let block = |(at, layer): (usize, &Layer)| -> Result<Block<K>, EngineError> {
            Ok(Block {
                mixer: MixerPart::load(&source, at, layer, &rotations)?,
                feed_forward: FeedForwardWeights::load(&source, at, layer)?,
                input: LayerInputPart::load(&source, at)?,
                scale: match layer.output_scale {
                    true => source.numbers(&format!("blk.{at}.layer_output_scale.weight"), 1)?.first().copied(),
                    false => None,
                },
            })
        };
        let blocks = spec.layers.iter().enumerate().map(block).collect::<Result<_, _>>()?;
        let output_norm = source.norm("output_norm.weight", hidden)?;
        let (context, kv) = (options.context, options.kv_type.cache_types());
        Ok(Self {
            kernels,
            spec,
            embedding,
            layer_inputs,
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
        {
            let _op = op!("embed", NO_LAYER, [rows, hidden]);
            kernels.embed(&self.embedding, tokens, &mut b.stream.x)?;
            if let Some(factor) = spec.embedding_scale {
                kernels.scale(&mut b.stream.x, factor)?;
            }
        }
        let layers = spec.layers.len();
        let place = |at| Place { at, rows, position: self.position, hidden, epsilon };
        if let Some(inputs) = &mut self.layer_inputs {
            inputs.compute(kernels, tokens, layers, place(0), &mut b.stream.x)?;
        }
        for (at, layer) in spec.layers.iter().enumerate() {
            let (place, twice) = (place(at), at < self.extra_mlp);
            let (before, rest) = self.blocks.split_at_mut(at);
            let Some(block) = rest.first_mut() else { break };
            let Buffers { stream, mixer, feed_forward, .. } = b;
            let shared = layer.mixer.attention().and_then(|attention| before.get(attention.cache_of?)?.mixer.cache());
            block.mixer.run(kernels, place, shared, &mut self.rotations, stream, mixer)?;
            block.feed_forward.run(kernels, place, &layer.feed_forward, twice, stream, feed_forward)?;
            if let (Some(part), Some(inputs)) = (&block.input, &mut self.layer_inputs) {
                part.run(kernels, place, layers, stream, inputs)?;
            }
            if let Some(factor) = block.scale {
                let _op = op!("layer_scale", at, [rows, hidden]);
                kernels.scale(&mut stream.x, factor)?;
            }
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
            if let Some(cap) = spec.logit_cap {
                let _op = op!("logit_cap", NO_LAYER, [1, spec.vocab]);
                kernels.cap(&mut b.logits, cap)?;
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

    /// Clears the context. The cache is not cleared: positions after the context are never read. A recurrent state is cleared when it
    /// reads the first token.
    pub(super) fn reset(&mut self) {
        (self.position, self.written) = (0, 0);
    }

    /// Drops what follows the first `tokens` tokens; `false` if a sliding window or a state has overwritten what the next
    /// token reads.
    pub(super) fn rewind(&mut self, tokens: usize) -> bool {
        let Self { position, written, context, batch, .. } = *self;
        let keeps = |layer: &Layer| layer.mixer.can_rewind(tokens, position, written, context, batch);
        let possible = tokens <= position && self.spec.layers.iter().all(keeps);
        if possible {
            self.position = tokens;
        }
        possible
    }

    /// Bytes of the KV cache, without recurrent states.
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
        Ok(Self {
            stream: Stream::new(kernels, spec.hidden)?,
            mixer: MixerBuffers::new(kernels, spec)?,
            feed_forward: FeedForwardBuffers::new(kernels, spec, discards)?,
            last: kernels.rows(spec.hidden)?,
            logits: kernels.rows(spec.vocab)?,
        })
    }
}
