//! The decoder of all models on MLX's operations: embedding, layers of attention and gated feed-forward parts, norm, output projection.
//! What a layer has beyond that follows from its description ([`models::Layer`]).
//!
//! A forward pass builds a graph and computes nothing, except while marks are recorded: then it waits for each operation inside its
//! mark. Names and shapes of the marks are those of the cost model.

use mlx_rs::fast::rope;
use mlx_rs::ops::indexing::TryIndexOp;
use mlx_rs::ops::{sigmoid, tanh};
use mlx_rs::transforms::eval;
use mlx_rs::{Array, Dtype};
use models::{Activation, Attention, Checkpoint, Gated, Layer, NormPlacement, Rope, RopeLayout, Spec};
use traces::op;
use traces::record::NO_LAYER;

use super::attention::{Cache, Mask, Masks};
use super::device;
use super::settings::Settings;
use super::weight::{Linear, Matrix, Norm, Source};
use super::{NAME, at, int};
use crate::{Device, EngineError, KvBytes, KvType, KvTypes, LoadOptions, kv_cache};

/// The types of a KV cache.
pub(super) const KV_TYPES: [(KvType, Dtype); 2] = [(KvType::F16, Dtype::Float16), (KvType::F32, Dtype::Float32)];

/// A model with its weights and its KV cache.
pub(super) struct Decoder {
    spec: Spec,
    embedding: Matrix, // [vocab, hidden]
    blocks: Vec<Block>,
    output_norm: Norm,
    /// `[vocab, hidden]`; `None`: the embedding table itself.
    lm_head: Option<Linear>,
    caches: Vec<Cache>,
    /// Capacity of the context in tokens.
    context: usize,
    kv_type: KvTypes,
    /// The type of activations.
    activations: Dtype,
    /// Number of tokens in the context: the position of the next one.
    position: usize,
    /// Number of positions that the caches have had since the last reset.
    written: usize,
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
    /// Norms of the heads of q and k.
    head_norms: Option<[Norm; 2]>,
    /// Norms after attention and after the feed-forward part.
    post_norms: Option<[Norm; 2]>,
    rotation: Option<Rotation>,
    ffn_norm: Norm,
    gate: Linear, // [width, hidden]
    up: Linear,   // [width, hidden]
    down: Linear, // [hidden, width]
}

/// The rotary embedding of a layer.
struct Rotation {
    /// Positions per radian, `[dim / 2]`: MLX divides by them.
    periods: Array,
    dim: i32,
    pairs_are_neighbours: bool,
    /// Multiplier of cosines and sines, which is one of the rotated elements.
    magnitude: f32,
}

impl Rotation {
    fn new(rope: &Rope, context: usize) -> Result<Self, EngineError> {
        let periods: Vec<f32> = rope.inverse_frequencies(context).iter().map(|frequency| 1.0 / frequency).collect();
        Ok(Self {
            periods: Array::from_slice(&periods, &[int(periods.len())?]),
            dim: int(rope.dim)?,
            pairs_are_neighbours: rope.layout == RopeLayout::Interleaved,
            magnitude: rope.magnitude(),
        })
    }
}

impl Decoder {
    /// Copies the weights and reserves the cache.
    pub(super) fn load(
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        default_batch: usize,
    ) -> Result<Self, EngineError> {
        let settings = Settings::new(&options.settings)?;
        let spec = checkpoint.spec()?.clone();
        let batch = options.batch.unwrap_or(default_batch).clamp(1, options.context.max(1));
        let activations = match settings.activations {
            Some(requested) => requested,
            None => activations(&options.device, checkpoint)?,
        };
        check_layers(&spec)?;
        let (hidden, epsilon) = (spec.hidden, spec.norm_eps);
        let source = Source { checkpoint, activations, dequantise: settings.dequantise };
        let block = |(at, layer): (usize, &Layer)| -> Result<Block, EngineError> {
            let name = |part: &str| format!("blk.{at}.{part}");
            let attention = layer.mixer.attention().ok_or_else(|| missing(layer.mixer.name(), at))?;
            let width = layer.feed_forward.gated().width;
            let (q_width, kv_width, biased) = (attention.q_width(), attention.kv_width(), attention.qkv_bias);
            let norm = |part: &str, width: usize| source.norm(&name(part), width, epsilon);
            Ok(Block {
                head_norms: match attention.qk_norm {
                    true => Some([
                        norm("attn_q_norm.weight", attention.head_dim)?,
                        norm("attn_k_norm.weight", attention.head_dim)?,
                    ]),
                    false => None,
                },
                post_norms: match layer.norms {
                    NormPlacement::BeforeAndAfter => {
                        Some([norm("post_attention_norm.weight", hidden)?, norm("post_ffw_norm.weight", hidden)?])
                    }
                    NormPlacement::Before => None,
                },
                rotation: attention.rope.as_ref().map(|rope| Rotation::new(rope, options.context)).transpose()?,
                attn_norm: source.norm(&name("attn_norm.weight"), hidden, epsilon)?,
                q: source.linear(&name("attn_q"), q_width, hidden, biased)?,
                k: source.linear(&name("attn_k"), kv_width, hidden, biased)?,
                v: source.linear(&name("attn_v"), kv_width, hidden, biased)?,
                o: source.linear(&name("attn_output"), hidden, q_width, attention.output_bias)?,
                ffn_norm: source.norm(&name("ffn_norm.weight"), hidden, epsilon)?,
                gate: source.linear(&name("ffn_gate"), width, hidden, false)?,
                up: source.linear(&name("ffn_up"), width, hidden, false)?,
                down: source.linear(&name("ffn_down"), hidden, width, false)?,
            })
        };
        let kv_dtype = kv_cache::choose(NAME, options.kv_type, &KV_TYPES)?;
        let cache = |attention: &Attention| {
            let capacity = attention.cache_capacity(options.context, batch);
            Cache::new(kv_dtype, attention.kv_heads, capacity, attention.head_dim)
        };
        let lm_head = || source.linear("output", spec.vocab, hidden, false);
        Ok(Self {
            embedding: source.matrix("token_embd.weight", spec.vocab, hidden)?,
            blocks: spec.layers.iter().enumerate().map(block).collect::<Result<_, _>>()?,
            output_norm: source.norm("output_norm.weight", hidden, epsilon)?,
            lm_head: (!spec.tied_embeddings).then(lm_head).transpose()?,
            caches: spec.attentions().map(cache).collect::<Result<_, _>>()?,
            context: options.context,
            kv_type: options.kv_type,
            activations,
            position: 0,
            written: 0,
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
        let (rows, position, hidden) = (tokens.size(), self.position, self.spec.hidden);
        let mut masks = Masks::new(rows, position);
        let mut caches = std::mem::take(&mut self.caches);
        let mut run_layers = || {
            let mut x = {
                let _op = op!("embed", NO_LAYER, [rows, hidden]);
                let embedded = self.embedding.lookup(tokens, self.activations);
                let scaled = embedded.and_then(|embedded| match self.spec.embedding_scale {
                    Some(factor) => scaled(&embedded, factor),
                    None => Ok(embedded),
                });
                self.done("embed", scaled)?
            };
            for (at, (block, cache)) in self.blocks.iter().zip(&mut caches).enumerate() {
                let mixer = &self.spec.layers[at].mixer;
                let attention = mixer.attention().ok_or_else(|| missing(mixer.name(), at))?;
                let mask = masks.of(attention.window, cache.capacity())?;
                x = self.attention(at, attention, block, cache, mask, &x)?;
                x = self.feed_forward(at, block, &x)?;
            }
            Ok(x)
        };
        let x = run_layers();
        self.caches = caches;
        self.written = self.written.max(position + rows);
        self.position = position + if x.is_ok() { rows } else { 0 };
        x
    }

    /// The attention part of layer `at`: the residual stream after it, `[rows, hidden]`.
    fn attention(
        &self,
        at: usize,
        attention: &Attention,
        block: &Block,
        cache: &mut Cache,
        mask: &Mask,
        x: &Array,
    ) -> Result<Array, EngineError> {
        let (hidden, position) = (self.spec.hidden, self.position);
        let &Attention { heads, kv_heads, head_dim, window, .. } = attention;
        let (q_width, kv_width) = (attention.q_width(), attention.kv_width());
        let rows = x.size() / hidden;
        let end = position + rows;
        let (seen, slots) = (window.map_or(end, |window| end.min(window)), end.min(cache.capacity()));
        let h = {
            let _op = op!("attn_norm", at, [rows, hidden]);
            self.done("attn_norm", block.attn_norm.apply(x))?
        };
        let q = {
            let _op = op!("q_proj", at, [rows, hidden, q_width]);
            self.done("q_proj", block.q.apply(&h))?
        };
        let k = {
            let _op = op!("k_proj", at, [rows, hidden, kv_width]);
            self.done("k_proj", block.k.apply(&h))?
        };
        let v = {
            let _op = op!("v_proj", at, [rows, hidden, kv_width]);
            self.done("v_proj", block.v.apply(&h))?
        };
        let (mut q, mut k) = (by_head(&q, heads, head_dim)?, by_head(&k, kv_heads, head_dim)?);
        if let Some([q_norm, k_norm]) = &block.head_norms {
            q = {
                let _op = op!("q_norm", at, [rows, q_width]);
                self.done("q_norm", q_norm.apply(&q))?
            };
            k = {
                let _op = op!("k_norm", at, [rows, kv_width]);
                self.done("k_norm", k_norm.apply(&k))?
            };
        }
        if let Some(rotation) = &block.rotation {
            let _op = op!("rope", at, [rows, q_width + kv_width]);
            (q, k) = (self.rotated(&q, rotation)?, self.rotated(&k, rotation)?);
            if let Some(temperature) = attention.temperature {
                let factors: Vec<f32> = (position..end).map(|position| temperature.factor(position)).collect();
                let factors = Array::from_slice(&factors, &[int(rows)?, 1]).as_dtype(q.dtype());
                q = factors.and_then(|factors| q.multiply(&factors)).map_err(super::at("rope"))?;
            }
            self.wait("rope", [&q, &k])?;
        }
        {
            let _op = op!("kv_write", at, [rows, kv_width]);
            let v = by_head(&v, kv_heads, head_dim)?;
            cache.store(&k, &v, position)?;
            self.wait("kv_write", [&cache.keys, &cache.values])?;
        }
        let output = {
            let _op = op!("attention", at, [rows, seen, heads]);
            let output = cache.attend(&q, slots, attention.score_scale(), mask)?;
            self.done("attention", flat(&output, int(rows)?, int(q_width)?))?
        };
        let mut h = {
            let _op = op!("o_proj", at, [rows, q_width, hidden]);
            self.done("o_proj", block.o.apply(&output))?
        };
        if let Some([norm, _]) = &block.post_norms {
            let _op = op!("attn_post_norm", at, [rows, hidden]);
            h = self.done("attn_post_norm", norm.apply(&h))?;
        }
        let _op = op!("attn_residual", at, [rows, hidden]);
        self.done("attn_residual", x.add(&h))
    }

    /// The feed-forward part of layer `at`: the residual stream after it, `[rows, hidden]`.
    fn feed_forward(&self, at: usize, block: &Block, x: &Array) -> Result<Array, EngineError> {
        let hidden = self.spec.hidden;
        let rows = x.size() / hidden;
        let &Gated { width, activation } = self.spec.layers[at].feed_forward.gated();
        let h = {
            let _op = op!("ffn_norm", at, [rows, hidden]);
            self.done("ffn_norm", block.ffn_norm.apply(x))?
        };
        let gate = {
            let _op = op!("gate_proj", at, [rows, hidden, width]);
            self.done("gate_proj", block.gate.apply(&h))?
        };
        let up = {
            let _op = op!("up_proj", at, [rows, hidden, width]);
            self.done("up_proj", block.up.apply(&h))?
        };
        let inner = match activation {
            Activation::Silu => {
                let _op = op!("silu_mul", at, [rows, width]);
                self.done("silu_mul", silu_mul(&gate, &up))?
            }
            Activation::GeluTanh => {
                let _op = op!("gelu_mul", at, [rows, width]);
                self.done("gelu_mul", gelu_mul(&gate, &up))?
            }
            Activation::ClampedSwiglu => return Err(missing("clamped SwiGLU", at)),
        };
        let mut h = {
            let _op = op!("down_proj", at, [rows, width, hidden]);
            self.done("down_proj", block.down.apply(&inner))?
        };
        if let Some([_, norm]) = &block.post_norms {
            let _op = op!("ffn_post_norm", at, [rows, hidden]);
            h = self.done("ffn_post_norm", norm.apply(&h))?;
        }
        let _op = op!("ffn_residual", at, [rows, hidden]);
        self.done("ffn_residual", x.add(&h))
    }

    /// Heads `[1, heads, rows, head_dim]`, each rotated by its position.
    fn rotated(&self, heads: &Array, rotation: &Rotation) -> Result<Array, EngineError> {
        let Rotation { periods, dim, pairs_are_neighbours, magnitude } = rotation;
        let rotated = rope(heads, *dim, *pairs_are_neighbours, None, 1.0, int(self.position)?, periods);
        let rotated = rotated.and_then(|rotated| match *magnitude {
            1.0 => Ok(rotated),
            factor => scaled(&rotated, factor),
        });
        rotated.and_then(|rotated| rotated.as_dtype(heads.dtype())).map_err(at("rope"))
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

    /// Clears the context. The cache is not cleared: positions after the context are never read.
    pub(super) fn reset(&mut self) {
        (self.position, self.written) = (0, 0);
    }

    /// Drops what follows the first `tokens` tokens; `false` if a sliding window has overwritten what the next token reads.
    pub(super) fn rewind(&mut self, tokens: usize) -> bool {
        let written = self.written;
        let keeps =
            |(attention, cache): (&Attention, &Cache)| attention.cache_still_has(tokens, written, cache.capacity());
        let possible = tokens <= self.position && self.spec.attentions().zip(&self.caches).all(keeps);
        if possible {
            self.position = tokens;
        }
        possible
    }

    /// Bytes of the KV cache.
    pub(super) fn kv_bytes(&self) -> KvBytes {
        let bytes = |tokens| self.spec.kv_bytes(self.kv_type, tokens, self.batch).get();
        KvBytes { used: bytes(self.position), reserved: bytes(self.context) }
    }
}

/// Refuses layers with a part that this decoder does not have. Its rotation multiplies whole heads by the magnitude, also elements that
/// are not rotated.
fn check_layers(spec: &Spec) -> Result<(), EngineError> {
    type HasPart = fn(&Layer) -> bool;
    const MISSING: [(&str, HasPart); 8] = [
        ("a mixture of experts", |layer| layer.feed_forward.experts().is_some()),
        ("clamped SwiGLU", |layer| layer.feed_forward.gated().activation == Activation::ClampedSwiglu),
        ("attention with sinks", |layer| layer.mixer.attention().is_some_and(|attention| attention.sinks)),
        ("a norm of the values", |layer| layer.mixer.attention().is_some_and(|attention| attention.v_norm)),
        ("values that are keys", |layer| layer.mixer.attention().is_some_and(|attention| attention.values_are_keys)),
        ("attention to the cache of another layer", |layer| {
            layer.mixer.attention().is_some_and(|attention| !attention.has_own_cache())
        }),
        ("a factor of the output", |layer| layer.output_scale),
        ("a partial rotary embedding with a magnitude", |layer| {
            let rope = layer.mixer.attention().and_then(|attention| Some((attention, attention.rope.as_ref()?)));
            rope.is_some_and(|(attention, rope)| rope.dim < attention.head_dim && rope.magnitude() != 1.0)
        }),
    ];
    let layers = || spec.layers.iter().enumerate();
    if let Some((at, layer)) = layers().find(|(_, layer)| layer.mixer.attention().is_none()) {
        return Err(missing(layer.mixer.name(), at));
    }
    let found =
        layers().find_map(|(at, layer)| MISSING.iter().find(|(_, has)| has(layer)).map(|(part, _)| (*part, at)));
    if let Some((part, at)) = found {
        return Err(missing(part, at));
    }
    let around_layers = [
        ("layers with inputs of their own", spec.per_layer_width.is_some()),
        ("bounded logits", spec.logit_cap.is_some()),
    ];
    match around_layers.into_iter().find(|(_, has)| *has) {
        Some((part, _)) => Err(EngineError::unsupported(NAME, part, "use the engine candle or llama-cpp")),
        None => Ok(()),
    }
}

/// The error of a part that this decoder does not have.
fn missing(part: &str, layer: usize) -> EngineError {
    EngineError::unsupported(NAME, format!("{part} (layer {layer})"), "use the engine candle or llama-cpp")
}

/// Rows `[rows, heads * head_dim]` as `[1, heads, rows, head_dim]`.
fn by_head(rows: &Array, heads: usize, head_dim: usize) -> Result<Array, EngineError> {
    let shape = [1, rows.dim(0), int(heads)?, int(head_dim)?];
    rows.reshape(&shape).and_then(|rows| rows.transpose_axes(&[0, 2, 1, 3])).map_err(at("heads"))
}

/// `x factor`, in the type of `x`.
fn scaled(x: &Array, factor: f32) -> mlx_rs::error::Result<Array> {
    x.multiply(Array::from_f32(factor).as_dtype(x.dtype())?)
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

/// `gelu(gate) * up` by the approximation with tanh. Source: arXiv:1606.08415, section 2.
fn gelu_mul(gate: &Array, up: &Array) -> mlx_rs::error::Result<Array> {
    let cubed = gate.multiply(gate)?.multiply(gate)?;
    let inner = scaled(&gate.add(scaled(&cubed, 0.044_715)?)?, (2.0 / std::f32::consts::PI).sqrt())?;
    let one = Array::from_f32(1.0).as_dtype(gate.dtype())?;
    scaled(gate, 0.5)?.multiply(tanh(&inner)?.add(one)?)?.multiply(up)
}
