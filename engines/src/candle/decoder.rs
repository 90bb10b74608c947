//! The decoder of all models: embedding, blocks of attention and SwiGLU, norm, output projection.
//!
//! It is independent of the device: [`Kernels`] does the arithmetic. Every operation is marked with its layer and its shape: `[rows, inputs, outputs]` of a
//! product, `[rows, positions visible to the last row, heads]` of attention, `[rows, width]` of other operations.

use std::borrow::Cow;

use models::{Checkpoint, Spec, TensorView};
use traces::op;
use traces::record::NO_LAYER;

use super::failed;
use super::kernels::{Kernels, Linear};
use crate::{EngineError, KvBytes};

/// A model with its weights, its KV cache and the buffers of a forward pass.
pub(super) struct Decoder<K: Kernels> {
    kernels: K,
    spec: Spec,
    embedding: K::Weight, // [vocab, hidden]
    blocks: Vec<Block<K>>,
    output_norm: K::Vector, // [hidden]
    lm_head: Linear<K>,     // [vocab, hidden]; the embedding table itself where they are tied
    caches: Vec<K::Cache>,
    buffers: Buffers<K>,
    /// Number of tokens in the context: the position of the next one.
    position: usize,
    /// Maximum number of tokens per forward pass.
    batch: usize,
    extra: Option<Extra<K>>,
}

/// Additional feed-forward work whose result is discarded.
struct Extra<K: Kernels> {
    /// Number of layers that do it, from the first.
    layers: usize,
    out: K::Rows, // [rows, hidden]
}

/// The weights of one layer.
struct Block<K: Kernels> {
    attn_norm: K::Vector, // [hidden]
    q: Linear<K>,         // [heads * head_dim, hidden]
    k: Linear<K>,         // [kv_heads * head_dim, hidden]
    v: Linear<K>,         // [kv_heads * head_dim, hidden]
    o: Linear<K>,         // [hidden, heads * head_dim]
    ffn_norm: K::Vector,  // [hidden]
    gate: Linear<K>,      // [ffn, hidden]
    up: Linear<K>,        // [ffn, hidden]
    down: Linear<K>,      // [hidden, ffn]
}

/// Buffers of a forward pass, reused by all layers and all passes.
struct Buffers<K: Kernels> {
    x: K::Rows,         // [rows, hidden]: the residual stream
    h: K::Rows,         // [rows, hidden]: its norm; the output of attention and feed-forward
    q: K::Rows,         // [rows, heads * head_dim]
    k: K::Rows,         // [rows, kv_heads * head_dim]
    v: K::Rows,         // [rows, kv_heads * head_dim]
    attention: K::Rows, // [rows, heads * head_dim]
    gate: K::Rows,      // [rows, ffn]
    up: K::Rows,        // [rows, ffn]
    last: K::Rows,      // [1, hidden]: the last row, whose logits are computed
    logits: K::Rows,    // [1, vocab]
}

impl<K: Kernels> Decoder<K> {
    /// Takes the weights from the checkpoint and reserves cache and buffers. The first `extra_mlp` layers compute their feed-forward
    /// part twice.
    pub(super) fn load(
        kernels: K,
        checkpoint: &Checkpoint,
        batch: usize,
        extra_mlp: usize,
    ) -> Result<Self, EngineError> {
        let spec = checkpoint.spec().clone();
        let (hidden, q_width, kv_width) = (spec.hidden, spec.q_width(), spec.kv_width());
        let source = Source { kernels: &kernels, checkpoint };
        let embedding = source.matrix("token_embd.weight", spec.vocab, hidden)?;
        let lm_head = if spec.tied_embeddings {
            Linear { weight: embedding.clone(), bias: None }
        } else {
            source.linear("output", spec.vocab, hidden, false)?
        };
        let block = |layer: usize| -> Result<Block<K>, EngineError> {
            let name = |part: &str| format!("blk.{layer}.{part}");
            Ok(Block {
                attn_norm: source.vector(&name("attn_norm.weight"), hidden)?,
                q: source.linear(&name("attn_q"), q_width, hidden, spec.qkv_bias)?,
                k: source.linear(&name("attn_k"), kv_width, hidden, spec.qkv_bias)?,
                v: source.linear(&name("attn_v"), kv_width, hidden, spec.qkv_bias)?,
                o: source.linear(&name("attn_output"), hidden, q_width, false)?,
                ffn_norm: source.vector(&name("ffn_norm.weight"), hidden)?,
                gate: source.linear(&name("ffn_gate"), spec.ffn, hidden, false)?,
                up: source.linear(&name("ffn_up"), spec.ffn, hidden, false)?,
                down: source.linear(&name("ffn_down"), hidden, spec.ffn, false)?,
            })
        };
        let blocks = (0..spec.layers).map(block).collect::<Result<_, _>>()?;
        let output_norm = source.vector("output_norm.weight", hidden)?;
        let caches = (0..spec.layers).map(|_| kernels.cache(&spec)).collect::<Result<_, _>>()?;
        let buffers = Buffers {
            x: kernels.rows(hidden)?,
            h: kernels.rows(hidden)?,
            q: kernels.rows(q_width)?,
            k: kernels.rows(kv_width)?,
            v: kernels.rows(kv_width)?,
            attention: kernels.rows(q_width)?,
            gate: kernels.rows(spec.ffn)?,
            up: kernels.rows(spec.ffn)?,
            last: kernels.rows(hidden)?,
            logits: kernels.rows(spec.vocab)?,
        };
        let extra = match extra_mlp {
            0 => None,
            layers => Some(Extra { layers, out: kernels.rows(hidden)? }),
        };
        Ok(Self { kernels, spec, embedding, blocks, output_norm, lm_head, caches, buffers, position: 0, batch, extra })
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
        let Self { kernels, spec, buffers: b, position, extra, .. } = self;
        let (rows, position) = (tokens.len(), *position);
        let (hidden, q_width, kv_width, ffn) = (spec.hidden, spec.q_width(), spec.kv_width(), spec.ffn);
        let seen = spec.window.map_or(position + rows, |window| (position + rows).min(window));
        {
            let _op = op!("embed", NO_LAYER, [rows, hidden]);
            kernels.embed(&self.embedding, tokens, &mut b.x)?;
        }
        for (layer, (block, cache)) in self.blocks.iter().zip(&mut self.caches).enumerate() {
            {
                let _op = op!("attn_norm", layer, [rows, hidden]);
                kernels.norm(&b.x, &block.attn_norm, spec.norm_eps, &mut b.h)?;
            }
            {
                let _op = op!("q_proj", layer, [rows, hidden, q_width]);
                kernels.linear(&mut b.h, &block.q, &mut b.q)?;
            }
            {
                let _op = op!("k_proj", layer, [rows, hidden, kv_width]);
                kernels.linear(&mut b.h, &block.k, &mut b.k)?;
            }
            {
                let _op = op!("v_proj", layer, [rows, hidden, kv_width]);
                kernels.linear(&mut b.h, &block.v, &mut b.v)?;
            }
            {
                let _op = op!("rope", layer, [rows, q_width + kv_width]);
                kernels.rope(&mut b.q, position)?;
                kernels.rope(&mut b.k, position)?;
            }
            {
                let _op = op!("kv_write", layer, [rows, kv_width]);
                kernels.store(cache, &b.k, &b.v, position)?;
            }
            {
                let _op = op!("attention", layer, [rows, seen, spec.heads]);
                kernels.attend(&b.q, cache, position, &mut b.attention)?;
            }
            {
                let _op = op!("o_proj", layer, [rows, q_width, hidden]);
                kernels.linear(&mut b.attention, &block.o, &mut b.h)?;
            }
            {
                let _op = op!("attn_residual", layer, [rows, hidden]);
                kernels.add(&mut b.x, &b.h)?;
            }
            {
                let _op = op!("ffn_norm", layer, [rows, hidden]);
                kernels.norm(&b.x, &block.ffn_norm, spec.norm_eps, &mut b.h)?;
            }
            if let Some(extra) = extra.as_mut().filter(|extra| layer < extra.layers) {
                let _op = op!("extra_mlp", layer, [rows, hidden, ffn]);
                kernels.linear(&mut b.h, &block.gate, &mut b.gate)?;
                kernels.linear(&mut b.h, &block.up, &mut b.up)?;
                kernels.silu_mul(&mut b.gate, &b.up)?;
                kernels.linear(&mut b.gate, &block.down, &mut extra.out)?;
            }
            {
                let _op = op!("gate_proj", layer, [rows, hidden, ffn]);
                kernels.linear(&mut b.h, &block.gate, &mut b.gate)?;
            }
            {
                let _op = op!("up_proj", layer, [rows, hidden, ffn]);
                kernels.linear(&mut b.h, &block.up, &mut b.up)?;
            }
            {
                let _op = op!("silu_mul", layer, [rows, ffn]);
                kernels.silu_mul(&mut b.gate, &b.up)?;
            }
            {
                let _op = op!("down_proj", layer, [rows, ffn, hidden]);
                kernels.linear(&mut b.gate, &block.down, &mut b.h)?;
            }
            {
                let _op = op!("ffn_residual", layer, [rows, hidden]);
                kernels.add(&mut b.x, &b.h)?;
            }
        }
        self.position = position + rows;
        if with_logits {
            {
                let _op = op!("output_norm", NO_LAYER, [1, hidden]);
                kernels.last(&b.x, &mut b.last)?;
                kernels.norm(&b.last, &self.output_norm, spec.norm_eps, &mut b.h)?;
            }
            {
                let _op = op!("lm_head", NO_LAYER, [1, hidden, spec.vocab]);
                kernels.linear(&mut b.h, &self.lm_head, &mut b.logits)?;
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
        self.position = 0;
    }

    /// Bytes of the KV cache.
    pub(super) fn kv_bytes(&self) -> KvBytes {
        self.kernels.kv_bytes(&self.spec, self.position)
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

/// Takes tensors by name and checks their shapes against the spec.
struct Source<'a, K> {
    kernels: &'a K,
    checkpoint: &'a Checkpoint,
}

impl<K: Kernels> Source<'_, K> {
    fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<K::Weight, EngineError> {
        self.kernels.weight(&self.tensor(name, &[rows, columns])?)
    }

    fn vector(&self, name: &str, length: usize) -> Result<K::Vector, EngineError> {
        self.kernels.vector(&self.tensor(name, &[length])?)
    }

    /// `name.weight` and, if the model has one, `name.bias`.
    fn linear(&self, name: &str, outputs: usize, inputs: usize, with_bias: bool) -> Result<Linear<K>, EngineError> {
        let weight = self.matrix(&format!("{name}.weight"), outputs, inputs)?;
        let bias = with_bias.then(|| self.vector(&format!("{name}.bias"), outputs)).transpose()?;
        Ok(Linear { weight, bias })
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<TensorView<'_>, EngineError> {
        let view = self.checkpoint.tensor(name)?;
        if view.info().shape == shape {
            return Ok(view);
        }
        Err(failed(
            name,
            format!("its shape is {:?}, the spec requires {shape:?}: the file is damaged", view.info().shape),
        ))
    }
}
