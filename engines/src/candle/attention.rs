//! Attention of a layer, with its cache.

use models::{Attention, LatentAttention, Mixer, Rope, Spec};
use traces::op;

use super::failed;
use super::kernels::{HeadPart, Kernels, Linear, Memory};
use super::source::Source;
use super::stream::{Place, Stream};
use crate::EngineError;

/// The weights of attention in one layer, and its cache.
pub(super) struct AttentionPart<K: Kernels> {
    attention: Attention,
    /// `[heads * head_dim, hidden]`; with an output gate `[heads * 2 * head_dim, hidden]`, of each head the query and the gate
    q: Linear<K>,
    o: Linear<K>, // [hidden, heads * head_dim]
    /// `[heads]`
    sinks: Option<K::Vector>,
    /// Norm of the heads of q, `[head_dim]`.
    q_norm: Option<K::Vector>,
    /// Index in [`Rotations`].
    rotation: Option<usize>,
    /// `None` of a layer that attends to the keys and values of another one.
    own: Option<KeysAndValues<K>>,
}

/// The weights of keys and values in one layer, and its cache.
struct KeysAndValues<K: Kernels> {
    k: Linear<K>, // [kv_heads * head_dim, hidden]
    /// `[kv_heads * head_dim, hidden]`; `None`: the values are the keys before their norm.
    v: Option<Linear<K>>,
    /// Norms of the heads of k and v, each `[head_dim]`.
    k_norm: Option<K::Vector>,
    v_norm: Option<K::Vector>,
    cache: K::Cache,
}

/// Buffers of attention, shared by all layers of the same widths.
pub(super) struct AttentionBuffers<M: Memory> {
    /// Each with the widths of queries and of keys.
    of_widths: Vec<([usize; 2], WidthBuffers<M>)>,
}

/// Buffers of attention of one width.
struct WidthBuffers<M: Memory> {
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
        let own = || -> Result<KeysAndValues<K>, EngineError> {
            let values = || source.linear(&name("attn_v"), kv_width, hidden, biased);
            Ok(KeysAndValues {
                k: source.linear(&name("attn_k"), kv_width, hidden, biased)?,
                v: attention.projects_values().then(values).transpose()?,
                k_norm: attention.qk_norm.then(|| head_norm("attn_k_norm.weight")).transpose()?,
                v_norm: attention.v_norm.then(|| source.kernels.ones(attention.head_dim)).transpose()?,
                cache: source.kernels.cache(attention)?,
            })
        };
        Ok(Self {
            q: source.linear(&name("attn_q"), attention.q_outputs(), hidden, biased)?,
            o: source.linear(&name("attn_output"), hidden, q_width, attention.output_bias)?,
            sinks: match attention.sinks {
                true => Some(source.vector(&name("attn_sinks.weight"), attention.heads)?),
                false => None,
            },
            q_norm: attention.qk_norm.then(|| head_norm("attn_q_norm.weight")).transpose()?,
            rotation: attention.rope.as_ref().and_then(|rope| rotations.of(rope, HeadPart::whole(attention.head_dim))),
            own: attention.has_own_cache().then(own).transpose()?,
            attention: attention.clone(),
        })
    }

    /// The keys and values that it keeps.
    pub(super) const fn cache(&self) -> Option<&K::Cache> {
        match &self.own {
            Some(own) => Some(&own.cache),
            None => None,
        }
    }

    /// The output of attention to `s.h`, in `s.h`. `shared` is the cache of another layer, if it attends to that.
    pub(super) fn run(
        &mut self,
        kernels: &mut K,
        place: Place,
        shared: Option<&K::Cache>,
        rotations: &mut Rotations<K>,
        s: &mut Stream<K>,
        b: &mut AttentionBuffers<K>,
    ) -> Result<(), EngineError> {
        let Place { at, rows, position, hidden, epsilon } = place;
        let attention = &self.attention;
        let b = b.of(attention)?;
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
        if let Some(own) = &self.own {
            {
                let _op = op!("k_proj", at, [rows, hidden, kv_width]);
                kernels.linear(&mut s.h, &own.k, &mut b.k)?;
                if own.v.is_none() {
                    // A copy, before the norm.
                    kernels.split_heads(&b.k, HeadPart::whole(kv_width), &mut b.v)?;
                }
            }
            if let Some(v) = &own.v {
                let _op = op!("v_proj", at, [rows, hidden, kv_width]);
                kernels.linear(&mut s.h, v, &mut b.v)?;
            }
        }
        if let Some(norm) = &self.q_norm {
            let _op = op!("q_norm", at, [rows, q_width]);
            kernels.norm_heads(&mut b.q, norm, epsilon)?;
        }
        if let Some(norm) = self.own.as_ref().and_then(|own| own.k_norm.as_ref()) {
            let _op = op!("k_norm", at, [rows, kv_width]);
            kernels.norm_heads(&mut b.k, norm, epsilon)?;
        }
        if let Some(norm) = self.own.as_ref().and_then(|own| own.v_norm.as_ref()) {
            let _op = op!("v_norm", at, [rows, kv_width]);
            kernels.norm_heads(&mut b.v, norm, epsilon)?;
        }
        if let Some(rotation) = self.rotation.and_then(|index| rotations.get_mut(index)) {
            let keys = if self.own.is_some() { kv_width } else { 0 };
            let _op = op!("rope", at, [rows, q_width + keys]);
            kernels.rope(&mut b.q, rotation, position)?;
            if self.own.is_some() {
                kernels.rope(&mut b.k, rotation, position)?;
            }
            if let Some(temperature) = attention.temperature {
                kernels.scale_by_position(&mut b.q, temperature, position)?;
            }
        }
        if let Some(own) = &mut self.own {
            let _op = op!("kv_write", at, [rows, kv_width]);
            kernels.store(&mut own.cache, &b.k, &b.v, position)?;
        }
        {
            let _op = op!("attention", at, [rows, seen, attention.heads]);
            let cache = self.own.as_ref().map(|own| &own.cache).or(shared);
            let cache = cache.ok_or_else(|| failed("attention", format!("layer {at} has no keys and values")))?;
            kernels.attend(&b.q, cache, attention, self.sinks.as_ref(), position, &mut b.output)?;
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
    /// Buffers for the attention of all layers.
    pub(super) fn new(memory: &M, spec: &Spec) -> Result<Self, EngineError> {
        let mut of_widths: Vec<([usize; 2], WidthBuffers<M>)> = Vec::new();
        for attention in spec.attentions() {
            let widths = widths(attention);
            if of_widths.iter().any(|(known, _)| *known == widths) {
                continue;
            }
            let [q_width, kv_width] = widths;
            let has_gate = spec.attentions().any(|attention| attention.output_gate);
            let buffers = WidthBuffers {
                q: memory.rows(q_width)?,
                k: memory.rows(kv_width)?,
                v: memory.rows(kv_width)?,
                output: memory.rows(q_width)?,
                gated: match has_gate {
                    true => Some(GatedBuffers { both: memory.rows(2 * q_width)?, gate: memory.rows(q_width)? }),
                    false => None,
                },
            };
            of_widths.push((widths, buffers));
        }
        Ok(Self { of_widths })
    }

    /// Those of a layer.
    fn of(&mut self, attention: &Attention) -> Result<&mut WidthBuffers<M>, EngineError> {
        let widths = widths(attention);
        let found = self.of_widths.iter_mut().find(|(known, _)| *known == widths);
        found.map(|(_, buffers)| buffers).ok_or_else(|| failed("attention", "no buffers were reserved for its widths"))
    }
}

/// Widths of queries and of keys.
const fn widths(attention: &Attention) -> [usize; 2] {
    [attention.q_width(), attention.kv_width()]
}
