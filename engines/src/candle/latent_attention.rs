//! Latent attention of a layer, in its absorbed form, with its cache: one row for all heads.

use models::{LatentAttention, Spec};
use traces::op;

use super::NAME;
use super::attention::{Rotations, rotated_parts};
use super::kernels::{HeadPart, Kernels, Linear, Memory, PairInput};
use super::routing::Routing;
use super::source::Source;
use super::stream::{Place, Stream};
use crate::EngineError;

/// The weights of latent attention in one layer, and its cache.
pub(super) struct LatentAttentionPart<K: Kernels> {
    attention: LatentAttention,
    query: QueryWeights<K>,
    kv_a: Linear<K>,      // [rank + rope, hidden]
    kv_a_norm: K::Vector, // [rank]
    k_b: Vec<Linear<K>>,  // of each head [rank, key_dim]
    v_b: Vec<Linear<K>>,  // of each head [value_dim, rank]
    o: Linear<K>,         // [hidden, heads * value_dim]
    /// Indices in [`Rotations`]: of the queries, and of the rows of the cache.
    rotations: [Option<usize>; 2],
    cache: K::Cache,
}

/// The projections of the queries.
enum QueryWeights<K: Kernels> {
    /// `[heads * query_dim, hidden]`
    Direct(Linear<K>),
    /// Through a row of the width `query_rank`.
    Low {
        query_rank: usize,
        a: Linear<K>,    // [query_rank, hidden]
        norm: K::Vector, // [query_rank]
        b: Linear<K>,    // [heads * query_dim, query_rank]
    },
}

/// Buffers of latent attention, shared by all layers.
pub(super) struct LatentAttentionBuffers<M: Memory> {
    /// The row before the queries and its norm, each `[rows, query_rank]`.
    low: Option<[M::Rows; 2]>,
    q: M::Rows,       // [rows, heads * query_dim]
    latent: M::Rows,  // [rows, rank + rope]: what the cache keeps
    key: M::Rows,     // [heads, rows, key_dim]: the part of the queries without position
    rotated: M::Rows, // [heads, rows, rope]: the rest of the queries
    ranked: M::Rows,  // [heads, rows, rank]: queries for the latent; then the output of attention
    query: M::Rows,   // [rows, heads * (rank + rope)]
    output: M::Rows,  // [rows, heads * rank]
    values: M::Rows,  // [heads, rows, value_dim]
    joined: M::Rows,  // [rows, heads * value_dim]
    /// Every head multiplies every row with its own weight.
    heads: Routing,
}

impl<K: Kernels> LatentAttentionPart<K> {
    /// Takes the weights of layer `at` and reserves its cache.
    pub(super) fn load(
        source: &Source<'_, K>,
        at: usize,
        attention: &LatentAttention,
        rotations: &Rotations<K>,
    ) -> Result<Self, EngineError> {
        let hidden = source.spec()?.hidden;
        let &LatentAttention { query_rank, rank, key_dim, value_dim, .. } = attention;
        let (q_width, v_width) = (attention.q_width(), attention.v_width());
        let name = |part: &str| format!("blk.{at}.{part}");
        let query = match query_rank {
            None => QueryWeights::Direct(source.linear(&name("attn_q"), q_width, hidden, false)?),
            Some(low) => QueryWeights::Low {
                query_rank: low,
                a: source.linear(&name("attn_q_a"), low, hidden, false)?,
                norm: source.norm(&name("attn_q_a_norm.weight"), low)?,
                b: source.linear(&name("attn_q_b"), q_width, low, false)?,
            },
        };
        Ok(Self {
            query,
            kv_a: source.linear(&name("attn_kv_a_mqa"), attention.cache_width(), hidden, false)?,
            kv_a_norm: source.norm(&name("attn_kv_a_norm.weight"), rank)?,
            k_b: source.experts(&name("attn_k_b"), rank, key_dim, false)?,
            v_b: source.experts(&name("attn_v_b"), value_dim, rank, false)?,
            o: source.linear(&name("attn_output"), hidden, v_width, false)?,
            rotations: rotated_parts(attention).map(|part| rotations.of(&attention.rope, part)),
            cache: source.kernels.latent_cache(attention)?,
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
        b: &mut LatentAttentionBuffers<K>,
    ) -> Result<(), EngineError> {
        let Place { at, rows, position, hidden, epsilon } = place;
        let attention = &self.attention;
        let &LatentAttention { heads, rank, key_dim, value_dim, .. } = attention;
        let (q_width, cache_width, v_width) = (attention.q_width(), attention.cache_width(), attention.v_width());
        b.heads.choose_all(heads, rows);
        match (&self.query, &mut b.low) {
            (QueryWeights::Low { query_rank, a, norm, b: up }, Some([low, normed])) => {
                let width = *query_rank;
                {
                    let _op = op!("q_a_proj", at, [rows, hidden, width]);
                    kernels.linear(&mut s.h, a, low)?;
                }
                {
                    let _op = op!("q_a_norm", at, [rows, width]);
                    kernels.norm(low, norm, epsilon, normed)?;
                }
                let _op = op!("q_b_proj", at, [rows, width, q_width]);
                kernels.linear(normed, up, &mut b.q)?;
            }
            (QueryWeights::Direct(q), _) => {
                let _op = op!("q_proj", at, [rows, hidden, q_width]);
                kernels.linear(&mut s.h, q, &mut b.q)?;
            }
            (QueryWeights::Low { .. }, None) => {
                return Err(super::failed("latent attention", "no buffers were reserved for its queries"));
            }
        }
        {
            let _op = op!("kv_a_proj", at, [rows, hidden, cache_width]);
            kernels.linear(&mut s.h, &self.kv_a, &mut b.latent)?;
        }
        {
            let _op = op!("kv_a_norm", at, [rows, rank]);
            kernels.norm_start(&mut b.latent, &self.kv_a_norm, epsilon)?;
        }
        {
            let _op = op!("rope", at, [rows, (heads + 1) * attention.rope.dim]);
            let [of_queries, of_rows] = self.rotations;
            for (rows, index) in [(&mut b.q, of_queries), (&mut b.latent, of_rows)] {
                if let Some(rotation) = index.and_then(|index| rotations.get_mut(index)) {
                    kernels.rope(rows, rotation, position)?;
                }
            }
        }
        {
            let _op = op!("kv_write", at, [rows, cache_width]);
            kernels.store_latent(&mut self.cache, &b.latent, position)?;
        }
        {
            let _op = op!("k_b_proj", at, [rows, key_dim, heads * rank]);
            let [rotated, _] = rotated_parts(attention);
            kernels.split_heads(&b.q, HeadPart { first: 0, taken: key_dim, ..rotated }, &mut b.key)?;
            kernels.split_heads(&b.q, rotated, &mut b.rotated)?;
            kernels.expert_linear(&mut b.key, PairInput::Pairs, &self.k_b, &b.heads, &mut b.ranked)?;
            kernels.join_heads(&[&b.ranked, &b.rotated], heads, &mut b.query)?;
        }
        {
            let _op = op!("attention", at, [rows, position + rows, heads]);
            kernels.attend_latent(&b.query, &self.cache, attention, position, &mut b.output)?;
        }
        {
            let _op = op!("v_b_proj", at, [rows, rank, heads * value_dim]);
            kernels.split_heads(&b.output, HeadPart { width: rank, first: 0, taken: rank }, &mut b.ranked)?;
            kernels.expert_linear(&mut b.ranked, PairInput::Pairs, &self.v_b, &b.heads, &mut b.values)?;
            kernels.join_heads(&[&b.values], heads, &mut b.joined)?;
        }
        let _op = op!("o_proj", at, [rows, v_width, hidden]);
        kernels.linear(&mut b.joined, &self.o, &mut s.h)
    }
}

impl<M: Memory> LatentAttentionBuffers<M> {
    /// Buffers for the latent attention of all layers; `None` of a model without it.
    pub(super) fn new(memory: &M, spec: &Spec) -> Result<Option<Self>, EngineError> {
        let widths = |attention: &LatentAttention| LatentAttention {
            rope: models::Rope { scaling: None, ..attention.rope.clone() },
            score_scale: None,
            ..attention.clone()
        };
        let of_layers = || {
            spec.layers.iter().enumerate().filter_map(|(at, layer)| Some((at, widths(layer.mixer.latent_attention()?))))
        };
        let Some((first, attention)) = of_layers().next() else { return Ok(None) };
        // Buffers are shared by all layers.
        if let Some((other, _)) = of_layers().find(|(_, widths)| *widths != attention) {
            let what = format!("latent attention of different widths (layer {other} differs from layer {first})");
            return Err(EngineError::unsupported(NAME, what, "use another engine, such as llama-cpp"));
        }
        let &LatentAttention { heads, query_rank, rank, key_dim, value_dim, .. } = &attention;
        let low = |width: usize| Ok::<_, EngineError>([memory.rows(width)?, memory.rows(width)?]);
        Ok(Some(Self {
            low: query_rank.map(low).transpose()?,
            q: memory.rows(attention.q_width())?,
            latent: memory.rows(attention.cache_width())?,
            key: memory.pair_rows(heads, key_dim)?,
            rotated: memory.pair_rows(heads, attention.rope.dim)?,
            ranked: memory.pair_rows(heads, rank)?,
            query: memory.rows(heads * attention.cache_width())?,
            output: memory.rows(heads * rank)?,
            values: memory.pair_rows(heads, value_dim)?,
            joined: memory.rows(attention.v_width())?,
            heads: Routing::default(),
        }))
    }
}
