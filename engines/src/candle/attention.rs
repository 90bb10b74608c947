//! Attention of a layer, with its cache.

use models::{Attention, LatentAttention, Mixer, Rope, Spec};
use traces::op;

use super::NAME;
use super::kernels::{HeadPart, Kernels, Linear, Memory};
use super::source::Source;
use super::stream::{Place, Stream};
use crate::EngineError;

/// The weights of attention in one layer, and its cache.
pub(super) struct AttentionPart<K: Kernels> {
    attention: Attention,
    /// `[heads * head_dim, hidden]`; with an output gate `[heads * 2 * head_dim, hidden]`, of each head the query and the gate
    q: Linear<K>,
    k: Linear<K>, // [kv_heads * head_dim, hidden]
    v: Linear<K>, // [kv_heads * head_dim, hidden]
    o: Linear<K>, // [hidden, heads * head_dim]
    /// `[heads]`
    sinks: Option<K::Vector>,
    /// Norms of the heads of q and k, each `[head_dim]`.
    head_norms: Option<[K::Vector; 2]>,
    /// Index in [`Rotations`].
    rotation: Option<usize>,
    cache: K::Cache,
}

/// Buffers of attention, shared by all layers.
pub(super) struct AttentionBuffers<M: Memory> {
    q: M::Rows,      // [rows, heads * head_dim]
    k: M::Rows,      // [rows, kv_heads * head_dim]
    v: M::Rows,      // [rows, kv_heads * head_dim]
    output: M::Rows, // [rows, heads * head_dim]
    /// Of a model with output gates.
    gated: Option<GatedBuffers<M>>,
}

/// Buffers of queries with an output gate.
struct GatedBuffers<M: Memory> {
    both: M::Rows, // [rows, heads * 2 * head_dim]
    gate: M::Rows, // [rows, heads * head_dim]
}

/// The rotary embeddings of a model, each once.
pub(super) struct Rotations<M: Memory> {
    /// Each with the part of the heads that it rotates.
    ropes: Vec<(Rope, HeadPart)>,
    tables: Vec<M::Rotation>,
}

/// The parts of the heads of the queries of latent attention, and of the rows of its cache, that are rotated.
pub(super) fn rotated_parts(attention: &LatentAttention) -> [HeadPart; 2] {
    let rope = attention.rope.dim;
    [
        HeadPart { width: attention.query_dim(), first: attention.key_dim, taken: rope },
        HeadPart { width: attention.cache_width(), first: attention.rank, taken: rope },
    ]
}

impl<M: Memory> Rotations<M> {
    pub(super) fn new(memory: &M, spec: &Spec) -> Result<Self, EngineError> {
        let mut rotations = Self { ropes: Vec::new(), tables: Vec::new() };
        for layer in &spec.layers {
            let parts = match &layer.mixer {
                Mixer::Attention(attention) => vec![HeadPart::whole(attention.head_dim)],
                Mixer::LatentAttention(attention) => rotated_parts(attention).to_vec(),
                Mixer::ShortConvolution(_) | Mixer::GatedDeltaNet(_) => Vec::new(),
            };
            let Some(rope) = layer.mixer.rope() else { continue };
            for part in parts {
                if rotations.of(rope, part).is_none() {
                    rotations.tables.push(memory.rotation(rope, part)?);
                    rotations.ropes.push((rope.clone(), part));
                }
            }
        }
        Ok(rotations)
    }

    /// The index of a rotary embedding of a part of heads.
    pub(super) fn of(&self, rope: &Rope, part: HeadPart) -> Option<usize> {
        self.ropes.iter().position(|known| (&known.0, known.1) == (rope, part))
    }

    /// The rotary embedding of this index.
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut M::Rotation> {
        self.tables.get_mut(index)
    }
}

impl<K: Kernels> AttentionPart<K> {
    /// Takes the weights of layer `at` and reserves its cache.
    pub(super) fn load(
        source: &Source<'_, K>,
        at: usize,
        attention: &Attention,
        rotations: &Rotations<K>,
    ) -> Result<Self, EngineError> {
        let hidden = source.spec()?.hidden;
        let (q_width, kv_width, biased) = (attention.q_width(), attention.kv_width(), attention.qkv_bias);
        let name = |part: &str| format!("blk.{at}.{part}");
        let head_norm = |part: &str| source.norm(&name(part), attention.head_dim);
        Ok(Self {
            q: source.linear(&name("attn_q"), attention.q_outputs(), hidden, biased)?,
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
            rotation: attention.rope.as_ref().and_then(|rope| rotations.of(rope, HeadPart::whole(attention.head_dim))),
            cache: source.kernels.cache(attention)?,
            attention: attention.clone(),
        })
    }

    /// The output of attention to `s.h`, in `s.h`.
    pub(super) fn run(
        &mut self,
        kernels: &mut K,
        place: Place,
        rotations: &mut Rotations<K>,
        s: &mut Stream<K>,
        b: &mut AttentionBuffers<K>,
    ) -> Result<(), EngineError> {
        let Place { at, rows, position, hidden, epsilon } = place;
        let attention = &self.attention;
        let (q_width, kv_width) = (attention.q_width(), attention.kv_width());
        let end = position + rows;
        let seen = attention.window.map_or(end, |window| end.min(window));
        {
            let _op = op!("q_proj", at, [rows, hidden, attention.q_outputs()]);
            match &mut b.gated {
                Some(gated) if attention.output_gate => {
                    kernels.linear(&mut s.h, &self.q, &mut gated.both)?;
                    kernels.split_pairs(&gated.both, attention.head_dim, &mut b.q, &mut gated.gate)?;
                }
                _ => kernels.linear(&mut s.h, &self.q, &mut b.q)?,
            }
        }
        {
            let _op = op!("k_proj", at, [rows, hidden, kv_width]);
            kernels.linear(&mut s.h, &self.k, &mut b.k)?;
        }
        {
            let _op = op!("v_proj", at, [rows, hidden, kv_width]);
            kernels.linear(&mut s.h, &self.v, &mut b.v)?;
        }
        if let Some([q_norm, k_norm]) = &self.head_norms {
            {
                let _op = op!("q_norm", at, [rows, q_width]);
                kernels.norm_heads(&mut b.q, q_norm, epsilon)?;
            }
            let _op = op!("k_norm", at, [rows, kv_width]);
            kernels.norm_heads(&mut b.k, k_norm, epsilon)?;
        }
        if let Some(rotation) = self.rotation.and_then(|index| rotations.get_mut(index)) {
            let _op = op!("rope", at, [rows, q_width + kv_width]);
            kernels.rope(&mut b.q, rotation, position)?;
            kernels.rope(&mut b.k, rotation, position)?;
            if let Some(temperature) = attention.temperature {
                kernels.scale_by_position(&mut b.q, temperature, position)?;
            }
        }
        {
            let _op = op!("kv_write", at, [rows, kv_width]);
            kernels.store(&mut self.cache, &b.k, &b.v, position)?;
        }
        {
            let _op = op!("attention", at, [rows, seen, attention.heads]);
            kernels.attend(&b.q, &self.cache, attention, self.sinks.as_ref(), position, &mut b.output)?;
        }
        if let Some(gated) = b.gated.as_ref().filter(|_| attention.output_gate) {
            let _op = op!("output_gate", at, [rows, q_width]);
            kernels.multiply_by_sigmoid(&mut b.output, &gated.gate)?;
        }
        let _op = op!("o_proj", at, [rows, q_width, hidden]);
        kernels.linear(&mut b.output, &self.o, &mut s.h)
    }
}

impl<M: Memory> AttentionBuffers<M> {
    /// Buffers for the attention of all layers; `None` of a model without attention.
    pub(super) fn new(memory: &M, spec: &Spec) -> Result<Option<Self>, EngineError> {
        let widths = |attention: &Attention| [attention.q_width(), attention.kv_width()];
        let of_layers =
            || spec.layers.iter().enumerate().filter_map(|(at, layer)| Some((at, widths(layer.mixer.attention()?))));
        let Some((first, [q_width, kv_width])) = of_layers().next() else { return Ok(None) };
        // Buffers are shared by all layers.
        if let Some((other, _)) = of_layers().find(|(_, widths)| *widths != [q_width, kv_width]) {
            let what = format!("attention of different widths (layer {other} differs from layer {first})");
            return Err(EngineError::unsupported(NAME, what, "use another engine, such as llama-cpp"));
        }
        Ok(Some(Self {
            q: memory.rows(q_width)?,
            k: memory.rows(kv_width)?,
            v: memory.rows(kv_width)?,
            output: memory.rows(q_width)?,
            gated: match spec.attentions().any(|attention| attention.output_gate) {
                true => Some(GatedBuffers { both: memory.rows(2 * q_width)?, gate: memory.rows(q_width)? }),
                false => None,
            },
        }))
    }
}
