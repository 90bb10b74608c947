//! The decoder of all models on MLX's operations: embedding, blocks of attention and SwiGLU, norm, output projection.
//!
//! A forward pass builds a graph and computes nothing, except while marks are recorded: then it waits for each operation inside its
//! mark. Names and shapes of the marks are those of the cost model.

use mlx_rs::fast::rope;
use mlx_rs::ops::indexing::TryIndexOp;
use mlx_rs::ops::sigmoid;
use mlx_rs::transforms::eval;
use mlx_rs::{Array, Dtype};
use models::{Checkpoint, RopeLayout, Spec};
use traces::op;
use traces::record::NO_LAYER;

use super::attention::{Cache, Mask};
use super::device;
use super::settings::Settings;
use super::weight::{Linear, Matrix, Norm, Source};
use super::{at, int};
use crate::{Device, EngineError, KvBytes, KvType, LoadOptions};

/// A model with its weights and its KV cache.
pub(super) struct Decoder {
    spec: Spec,
    embedding: Matrix, // [vocab, hidden]
    blocks: Vec<Block>,
    output_norm: Norm,
    /// `[vocab, hidden]`; `None`: the embedding table itself.
    lm_head: Option<Linear>,
    caches: Vec<Cache>,
    /// Capacity of each cache in positions.
    capacity: usize,
    kv_type: KvType,
    /// The type of activations.
    activations: Dtype,
    /// Positions per radian, `[dim / 2]`: MLX divides by them.
    periods: Array,
    /// Number of tokens in the context: the position of the next one.
    position: usize,
    /// Maximum number of tokens per forward pass.
    batch: usize,
    /// Whether to wait for each operation.
    waits: bool,
}

/// The weights of one layer.
struct Block {
    attn_norm: Norm,
    q: Linear, // [heads * head_dim, hidden]
    k: Linear, // [kv_heads * head_dim, hidden]
    v: Linear, // [kv_heads * head_dim, hidden]
    o: Linear, // [hidden, heads * head_dim]
    ffn_norm: Norm,
    gate: Linear, // [ffn, hidden]
    up: Linear,   // [ffn, hidden]
    down: Linear, // [hidden, ffn]
}

impl Decoder {
    /// Copies the weights and reserves the cache.
    pub(super) fn load(
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        default_batch: usize,
    ) -> Result<Self, EngineError> {
        let settings = Settings::new(&options.settings)?;
        let spec = checkpoint.spec().clone();
        let batch = options.batch.unwrap_or(default_batch).clamp(1, options.context.max(1));
        let activations = match settings.activations {
            Some(requested) => requested,
            None => activations(&options.device, checkpoint)?,
        };
        let (hidden, q_width, kv_width, epsilon) = (spec.hidden, spec.q_width(), spec.kv_width(), spec.norm_eps);
        let source = Source { checkpoint, activations, dequantise: settings.dequantise };
        let block = |layer: usize| -> Result<Block, EngineError> {
            let name = |part: &str| format!("blk.{layer}.{part}");
            Ok(Block {
                attn_norm: source.norm(&name("attn_norm.weight"), hidden, epsilon)?,
                q: source.linear(&name("attn_q"), q_width, hidden, spec.qkv_bias)?,
                k: source.linear(&name("attn_k"), kv_width, hidden, spec.qkv_bias)?,
                v: source.linear(&name("attn_v"), kv_width, hidden, spec.qkv_bias)?,
                o: source.linear(&name("attn_output"), hidden, q_width, false)?,
                ffn_norm: source.norm(&name("ffn_norm.weight"), hidden, epsilon)?,
                gate: source.linear(&name("ffn_gate"), spec.ffn, hidden, false)?,
                up: source.linear(&name("ffn_up"), spec.ffn, hidden, false)?,
                down: source.linear(&name("ffn_down"), hidden, spec.ffn, false)?,
            })
        };
        // With a window, a batch must not overwrite positions that are visible to its first row.
        let capacity = spec.window.map_or(options.context, |window| options.context.min(window + batch - 1));
        let kv_dtype = match options.kv_type {
            KvType::F16 => Dtype::Float16,
            KvType::F32 => Dtype::Float32,
        };
        let cache = |_| Cache::new(kv_dtype, spec.kv_heads, capacity, spec.head_dim);
        let periods: Vec<f32> = spec.inverse_frequencies().iter().map(|frequency| 1.0 / frequency).collect();
        let lm_head = || source.linear("output", spec.vocab, hidden, false);
        Ok(Self {
            embedding: source.matrix("token_embd.weight", spec.vocab, hidden)?,
            blocks: (0..spec.layers).map(block).collect::<Result<_, _>>()?,
            output_norm: source.norm("output_norm.weight", hidden, epsilon)?,
            lm_head: (!spec.tied_embeddings).then(lm_head).transpose()?,
            caches: (0..spec.layers).map(cache).collect::<Result<_, _>>()?,
            capacity,
            kv_type: options.kv_type,
            activations,
            periods: Array::from_slice(&periods, &[int(periods.len())?]),
            position: 0,
            batch,
            waits: false,
            spec,
        })
    }

    /// Sets whether to wait for each operation.
    pub(super) fn wait_for_ops(&mut self, waits: bool) {
        self.waits = waits;
    }

    /// Appends tokens to the context and runs them in batches: the logits `[1, vocab]` of the last one, not computed yet.
    pub(super) fn forward(&mut self, tokens: &[u32]) -> Result<Array, EngineError> {
        let last = tokens.len().saturating_sub(1) / self.batch;
        for batch in tokens.chunks(self.batch).take(last) {
            self.pass(&Array::from_slice(batch, &[int(batch.len())?]))?;
            // The next batch needs only keys and values: nothing else is computed, and the graph does not grow.
            eval(self.caches.iter().flat_map(|cache| [&cache.keys, &cache.values])).map_err(at("prefill"))?;
        }
        let batch = &tokens[last * self.batch..];
        self.step(&Array::from_slice(batch, &[int(batch.len())?]))
    }

    /// Runs at most a batch of tokens, possibly not computed yet: the logits `[1, vocab]` of the last one.
    pub(super) fn step(&mut self, tokens: &Array) -> Result<Array, EngineError> {
        let x = self.pass(tokens)?;
        let (hidden, vocab) = (self.spec.hidden, self.spec.vocab);
        let h = {
            let _op = op!("output_norm", NO_LAYER, [1, hidden]);
            let last = x.try_index((-1.., ..));
            self.done("output_norm", last.and_then(|last| self.output_norm.apply(&last)))?
        };
        let _op = op!("lm_head", NO_LAYER, [1, hidden, vocab]);
        let logits = match &self.lm_head {
            Some(head) => head.apply(&h),
            None => self.embedding.apply(&h),
        };
        self.done("lm_head", logits.and_then(|logits| logits.as_dtype(Dtype::Float32)))
    }

    /// Runs one batch through all layers: `[rows, hidden]`.
    fn pass(&mut self, tokens: &Array) -> Result<Array, EngineError> {
        let (rows, position) = (tokens.size(), self.position);
        let Spec { hidden, heads, kv_heads, head_dim, ffn, .. } = self.spec;
        let (q_width, kv_width) = (self.spec.q_width(), self.spec.kv_width());
        let seen = self.spec.window.map_or(position + rows, |window| (position + rows).min(window));
        let slots = (position + rows).min(self.capacity);
        #[allow(clippy::cast_precision_loss, reason = "a width is far below 2^23")]
        let scale = 1.0 / (head_dim as f32).sqrt();
        let mask = Mask::new(rows, position, self.spec.window, self.capacity)?;
        let mut caches = std::mem::take(&mut self.caches);
        let mut run_layers = || {
            let mut x = {
                let _op = op!("embed", NO_LAYER, [rows, hidden]);
                self.done("embed", self.embedding.lookup(tokens, self.activations))?
            };
            for (layer, (block, cache)) in self.blocks.iter().zip(&mut caches).enumerate() {
                let h = {
                    let _op = op!("attn_norm", layer, [rows, hidden]);
                    self.done("attn_norm", block.attn_norm.apply(&x))?
                };
                let q = {
                    let _op = op!("q_proj", layer, [rows, hidden, q_width]);
                    self.done("q_proj", block.q.apply(&h))?
                };
                let k = {
                    let _op = op!("k_proj", layer, [rows, hidden, kv_width]);
                    self.done("k_proj", block.k.apply(&h))?
                };
                let v = {
                    let _op = op!("v_proj", layer, [rows, hidden, kv_width]);
                    self.done("v_proj", block.v.apply(&h))?
                };
                let (q, k) = {
                    let _op = op!("rope", layer, [rows, q_width + kv_width]);
                    let (q, k) = (self.rotated(&q, heads)?, self.rotated(&k, kv_heads)?);
                    self.wait("rope", [&q, &k])?;
                    (q, k)
                };
                {
                    let _op = op!("kv_write", layer, [rows, kv_width]);
                    let v = self.heads(&v, kv_heads)?;
                    cache.store(&k, &v, position)?;
                    self.wait("kv_write", [&cache.keys, &cache.values])?;
                }
                let attention = {
                    let _op = op!("attention", layer, [rows, seen, heads]);
                    let attention = cache.attend(&q, slots, scale, &mask)?;
                    self.done("attention", flat(&attention, int(rows)?, int(q_width)?))?
                };
                let h = {
                    let _op = op!("o_proj", layer, [rows, q_width, hidden]);
                    self.done("o_proj", block.o.apply(&attention))?
                };
                x = {
                    let _op = op!("attn_residual", layer, [rows, hidden]);
                    self.done("attn_residual", x.add(&h))?
                };
                let h = {
                    let _op = op!("ffn_norm", layer, [rows, hidden]);
                    self.done("ffn_norm", block.ffn_norm.apply(&x))?
                };
                let gate = {
                    let _op = op!("gate_proj", layer, [rows, hidden, ffn]);
                    self.done("gate_proj", block.gate.apply(&h))?
                };
                let up = {
                    let _op = op!("up_proj", layer, [rows, hidden, ffn]);
                    self.done("up_proj", block.up.apply(&h))?
                };
                let inner = {
                    let _op = op!("silu_mul", layer, [rows, ffn]);
                    self.done("silu_mul", silu_mul(&gate, &up))?
                };
                let h = {
                    let _op = op!("down_proj", layer, [rows, ffn, hidden]);
                    self.done("down_proj", block.down.apply(&inner))?
                };
                x = {
                    let _op = op!("ffn_residual", layer, [rows, hidden]);
                    self.done("ffn_residual", x.add(&h))?
                };
            }
            Ok(x)
        };
        let x = run_layers();
        self.caches = caches;
        self.position = position + if x.is_ok() { rows } else { 0 };
        x
    }

    /// Rows `[rows, heads * head_dim]` as `[1, heads, rows, head_dim]`.
    fn heads(&self, rows: &Array, heads: usize) -> Result<Array, EngineError> {
        let shape = [1, rows.dim(0), int(heads)?, int(self.spec.head_dim)?];
        rows.reshape(&shape).and_then(|rows| rows.transpose_axes(&[0, 2, 1, 3])).map_err(at("heads"))
    }

    /// As [`Decoder::heads`], with each head rotated by its position.
    fn rotated(&self, rows: &Array, heads: usize) -> Result<Array, EngineError> {
        let heads = self.heads(rows, heads)?;
        let pairs_are_neighbours = self.spec.rope.layout == RopeLayout::Interleaved;
        let (dim, position) = (int(self.spec.rope.dim)?, int(self.position)?);
        let rotated = rope(&heads, dim, pairs_are_neighbours, None, 1.0, position, &self.periods);
        rotated.and_then(|rotated| rotated.as_dtype(rows.dtype())).map_err(at("rope"))
    }

    /// The result of an op, computed if the decoder waits for ops.
    fn done(&self, place: &'static str, result: mlx_rs::error::Result<Array>) -> Result<Array, EngineError> {
        let array = result.map_err(at(place))?;
        self.wait(place, [&array])?;
        Ok(array)
    }

    fn wait<const N: usize>(&self, place: &'static str, arrays: [&Array; N]) -> Result<(), EngineError> {
        if self.waits { eval(arrays).map_err(at(place)) } else { Ok(()) }
    }

    /// Number of tokens in the context.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Size of the vocabulary.
    pub(super) fn vocab(&self) -> usize {
        self.spec.vocab
    }

    /// Removes all tokens after the first `position`. The cache is not cleared: positions after the context are never read.
    pub(super) fn rewind(&mut self, position: usize) {
        self.position = position;
    }

    /// Bytes of the KV cache.
    pub(super) fn kv_bytes(&self) -> KvBytes {
        let per_token = 2 * self.spec.layers * self.spec.kv_width() * self.kv_type.bytes();
        let bytes = |tokens: usize| (tokens * per_token) as u64;
        KvBytes { used: bytes(self.position.min(self.capacity)), reserved: bytes(self.capacity) }
    }
}

/// The default type of activations: on the GPU that of the weights, as in MLX's own models; on the CPU, which has no 16-bit float
/// arithmetic, f32.
fn activations(device: &Device, checkpoint: &Checkpoint) -> Result<Dtype, EngineError> {
    if !device::is_gpu(device) {
        return Ok(Dtype::Float32);
    }
    let quantised = checkpoint.tensor("blk.0.attn_q.scales");
    let typical = quantised.or_else(|_| checkpoint.tensor("blk.0.attn_q.weight"))?;
    Ok(match typical.info().dtype {
        models::DType::F32 => Dtype::Float32,
        models::DType::BF16 => Dtype::Bfloat16,
        _ => Dtype::Float16,
    })
}

/// `[1, heads, rows, head_dim]` as `[rows, heads * head_dim]`
fn flat(heads: &Array, rows: i32, width: i32) -> mlx_rs::error::Result<Array> {
    heads.transpose_axes(&[0, 2, 1, 3])?.reshape(&[rows, width])
}

/// `silu(gate) * up`
fn silu_mul(gate: &Array, up: &Array) -> mlx_rs::error::Result<Array> {
    gate.multiply(sigmoid(gate)?)?.multiply(up)
}
