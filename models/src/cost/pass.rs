//! The cost of one pass over the decoder: `T` tokens at once, the first of them at position `P` (a prefill, or a chunk of one;
//! a decode is `T = 1`).
//!
//! Letters: `H` hidden, `F` ffn, `V` vocab, `d` head_dim, `q = heads d`, `kv = kv_heads d`, `r` rotary width, `W` window, `E` experts,
//! of which a token uses `K`, `C` channels and `L` tokens of a convolution.

use super::experts::{ExpertBytes, expert_bytes};
use super::op::OpCost;
use super::weight_types::WeightTypes;
use crate::dtype::DType;
use crate::op_kind::OpKind;
use crate::spec::{
    Activation, Attention, CacheTypes, Experts, FeedForward, Gated, GatedDeltaNet, LatentAttention, Mixer,
    NormPlacement, STATE, SharedExpert, ShortConvolution, Spec,
};
use crate::units::{Bytes, Flops};

/// Bytes of an activation (f32).
const ACTIVATION: u64 = 4;

/// The ops of a prefill of `tokens` tokens, the first at `position`, with a KV cache of the types `kv`. The output head runs for the last
/// token only, as engines do that need one next token. Without tokens there are no ops.
#[must_use]
pub fn prefill_ops(
    spec: &Spec,
    types: &WeightTypes,
    kv: impl Into<CacheTypes>,
    tokens: usize,
    position: usize,
) -> Vec<OpCost> {
    let kv = kv.into();
    if tokens == 0 { Vec::new() } else { Pass { spec, types, kv, tokens, position }.ops() }
}

/// The ops of a prefill in passes of at most `batch` tokens (at least one), as engines run it: each pass reads all weights of the
/// blocks and the cache of the tokens before it; the output head runs after the last pass only.
///
/// ```text
/// passes = ceil(tokens / batch);  pass i is prefill_ops of min(batch, tokens - i batch) tokens at position + i batch
/// ```
#[must_use]
pub fn batched_prefill_ops(
    spec: &Spec,
    types: &WeightTypes,
    kv: impl Into<CacheTypes>,
    tokens: usize,
    position: usize,
    batch: usize,
) -> Vec<OpCost> {
    let kv = kv.into();
    let batch = batch.max(1);
    let mut ops = Vec::new();
    for start in (0..tokens).step_by(batch) {
        let pass = prefill_ops(spec, types, kv, batch.min(tokens - start), position + start);
        let is_last = start + batch >= tokens;
        let is_of_head = |kind| matches!(kind, OpKind::OutputNorm | OpKind::LmHead | OpKind::LogitCap);
        ops.extend(pass.into_iter().filter(|op| is_last || !is_of_head(op.kind)));
    }
    ops
}

/// As [`batched_prefill_ops`], for an engine that skips unused results: after the token mixer of the last block, it computes only the
/// last token.
///
/// ```text
/// ops of the last block after the projection of the mixer: those of one token in the last pass, none in the passes before it
/// ```
#[must_use]
pub fn pruned_prefill_ops(
    spec: &Spec,
    types: &WeightTypes,
    kv: impl Into<CacheTypes>,
    tokens: usize,
    position: usize,
    batch: usize,
) -> Vec<OpCost> {
    let kv = kv.into();
    let last_block = spec.layers.len().checked_sub(1);
    let is_skipped = |op: &OpCost| op.layer == last_block && AFTER_MIXER.contains(&op.kind);
    let mut ops = batched_prefill_ops(spec, types, kv, tokens, position, batch);
    ops.retain(|op| !is_skipped(op));
    if tokens > 0 {
        ops.extend(decode_ops(spec, types, kv, position + tokens - 1).into_iter().filter(is_skipped));
    }
    ops
}

/// The same ops for an engine that computes some projections of one input in one product, because a file stores their matrices in one:
/// q, k and v as `qkv_proj`, gate and up as `gate_up_proj`, if `is_joined` of that op. The input is read once.
#[must_use]
pub fn joined_ops(ops: Vec<OpCost>, is_joined: impl Fn(OpKind) -> bool) -> Vec<OpCost> {
    let mut joined: Vec<OpCost> = Vec::with_capacity(ops.len());
    for op in ops {
        let whole = match op.kind {
            OpKind::QProj | OpKind::KProj | OpKind::VProj => OpKind::QkvProj,
            OpKind::GateProj | OpKind::UpProj => OpKind::GateUpProj,
            other => other,
        };
        if whole == op.kind || !is_joined(whole) {
            joined.push(op);
            continue;
        }
        match joined.last_mut().filter(|last| (last.kind, last.layer) == (whole, op.layer)) {
            None => joined.push(OpCost { kind: whole, ..op }),
            Some(last) => {
                let [rows, _, outputs] = op.shape;
                last.flops += op.flops;
                last.weight_bytes += op.weight_bytes;
                last.activation_bytes += Bytes(ACTIVATION * (rows * outputs) as u64);
                last.shape[2] += outputs;
            }
        }
    }
    joined
}

/// The ops of a block after its token mixer, in which rows are independent of each other.
const AFTER_MIXER: [OpKind; 29] = [
    OpKind::AttnPostNorm,
    OpKind::AttnResidual,
    OpKind::FfnNorm,
    OpKind::Router,
    OpKind::ExpertChoice,
    OpKind::GateUpProj,
    OpKind::GateProj,
    OpKind::UpProj,
    OpKind::ExpertsGateUp,
    OpKind::SiluMul,
    OpKind::GeluMul,
    OpKind::ClampedSwiglu,
    OpKind::DownProj,
    OpKind::ExpertsDown,
    OpKind::ExpertsSum,
    OpKind::SharedExpert,
    OpKind::FfnPostNorm,
    OpKind::FfnResidual,
    OpKind::DenseNorm,
    OpKind::RouterNorm,
    OpKind::ExpertsNorm,
    OpKind::ExpertsPostNorm,
    OpKind::DenseSum,
    OpKind::PerLayerGate,
    OpKind::PerLayerMul,
    OpKind::PerLayerProj,
    OpKind::PerLayerNorm,
    OpKind::PerLayerResidual,
    OpKind::LayerScale,
];

/// The ops of the decode of one token at `position` (the number of tokens in the cache).
#[must_use]
pub fn decode_ops(spec: &Spec, types: &WeightTypes, kv: impl Into<CacheTypes>, position: usize) -> Vec<OpCost> {
    prefill_ops(spec, types, kv, 1, position)
}

/// The number of pairs of a query and a position that it attends to, for queries at `P .. P + T`:
///
/// ```text
/// sum over p = P .. P + T - 1 of min(p + 1, W)
/// ```
///
/// Unit: pairs. Source: causal attention, Vaswani et al., arXiv:1706.03762, 3.2.3; sliding window, Mistral 7B, arXiv:2310.06825, 2.
/// In closed form: a triangle for the queries below the window, `W` for each of the others.
#[must_use]
pub fn attended_pairs(tokens: usize, position: usize, window: Option<usize>) -> u64 {
    let (first, end) = (position as u64, position as u64 + tokens as u64);
    // Sum of p + 1 over first .. end.
    let triangle =
        |end: u64| (u128::from(end) * (u128::from(end) + 1) / 2) - (u128::from(first) * (u128::from(first) + 1) / 2);
    let pairs = match window.map(|window| window as u64) {
        Some(window) if end > window => {
            let growing = window.max(first);
            triangle(growing) + u128::from(end - growing) * u128::from(window)
        }
        _ => triangle(end),
    };
    u64::try_from(pairs).unwrap_or(u64::MAX)
}

/// The op of an activation, and its operations per element, see [`Pass::elementwise`].
const fn activation_cost(activation: Activation) -> (OpKind, u64) {
    match activation {
        Activation::Silu => (OpKind::SiluMul, 5),
        Activation::GeluTanh => (OpKind::GeluMul, 10),
        Activation::ClampedSwiglu => (OpKind::ClampedSwiglu, 9),
    }
}

/// One pass.
struct Pass<'a> {
    spec: &'a Spec,
    types: &'a WeightTypes,
    kv: CacheTypes,
    tokens: usize,
    position: usize,
}

impl Pass<'_> {
    fn ops(&self) -> Vec<OpCost> {
        let Spec { hidden, vocab, .. } = *self.spec;
        let mut ops = Vec::with_capacity(3 + 20 * self.spec.layers.len());
        ops.push(self.embed());
        ops.extend(self.spec.per_layer_width.into_iter().flat_map(|width| self.layer_inputs(width)));
        for layer in 0..self.spec.layers.len() {
            self.mixer_part(layer, &mut ops);
            self.feed_forward_part(layer, &mut ops);
            self.after_feed_forward(layer, &mut ops);
        }
        ops.push(self.norm(OpKind::OutputNorm, None, 1, hidden));
        ops.push(self.matmul(OpKind::LmHead, None, [1, hidden, vocab], false));
        // A quotient, a hyperbolic tangent and a product.
        ops.extend(self.spec.logit_cap.map(|_| self.in_place(OpKind::LogitCap, None, [1, vocab], 3)));
        ops
    }

    fn mixer_part(&self, at: usize, ops: &mut Vec<OpCost>) {
        let (layer, hidden, tokens, at) = (&self.spec.layers[at], self.spec.hidden, self.tokens, Some(at));
        ops.push(self.norm(OpKind::AttnNorm, at, tokens, hidden));
        match &layer.mixer {
            Mixer::Attention(attention) => self.attention_ops(attention, at, ops),
            Mixer::LatentAttention(attention) => self.latent_attention_ops(attention, at, ops),
            Mixer::ShortConvolution(convolution) => self.short_convolution_ops(convolution, at, ops),
            Mixer::GatedDeltaNet(net) => self.gated_delta_net_ops(net, at, ops),
        }
        if layer.norms == NormPlacement::BeforeAndAfter {
            ops.push(self.norm(OpKind::AttnPostNorm, at, tokens, hidden));
        }
        ops.push(self.elementwise(OpKind::AttnResidual, at, [tokens, hidden], 1));
    }

    fn attention_ops(&self, attention: &Attention, at: Option<usize>, ops: &mut Vec<OpCost>) {
        let (hidden, tokens) = (self.spec.hidden, self.tokens);
        let (q, kv, biased) = (attention.q_width(), attention.kv_width(), attention.qkv_bias);
        ops.push(self.matmul(OpKind::QProj, at, [tokens, hidden, attention.q_outputs()], biased));
        let has_cache = attention.has_own_cache();
        if has_cache {
            ops.push(self.matmul(OpKind::KProj, at, [tokens, hidden, kv], biased));
        }
        if attention.projects_values() {
            ops.push(self.matmul(OpKind::VProj, at, [tokens, hidden, kv], biased));
        }
        if attention.qk_norm {
            ops.push(self.head_norm(OpKind::QNorm, at, attention.heads, attention.head_dim));
            if has_cache {
                ops.push(self.head_norm(OpKind::KNorm, at, attention.kv_heads, attention.head_dim));
            }
        }
        if attention.v_norm && has_cache {
            ops.push(self.norm_of_values(attention, at));
        }
        ops.extend(self.rope(attention, at));
        if has_cache {
            ops.push(self.kv_write(attention, at));
        }
        ops.push(self.attention(attention, at));
        if attention.output_gate {
            ops.push(self.elementwise(OpKind::OutputGate, at, [tokens, q], 5));
        }
        ops.push(self.matmul(OpKind::OProj, at, [tokens, q, hidden], attention.output_bias));
    }

    fn gated_delta_net_ops(&self, net: &GatedDeltaNet, at: Option<usize>, ops: &mut Vec<OpCost>) {
        let (hidden, tokens) = (self.spec.hidden, self.tokens);
        let (channels, values) = (net.channels(), net.value_width());
        ops.push(self.matmul(OpKind::DeltaQkvProj, at, [tokens, hidden, channels], false));
        ops.push(self.matmul(OpKind::DeltaGateProj, at, [tokens, hidden, values], false));
        ops.extend(self.delta_rates(net, at));
        ops.push(OpCost {
            state_bytes: STATE.row_bytes(net.convolution_state_elements()) * 2,
            activation_bytes: Bytes(ACTIVATION * 2 * (tokens * channels) as u64),
            ..self.op(OpKind::StateUpdate, at, [tokens, channels, 0])
        });
        // The products and sums of the kernel, then SiLU (4 operations).
        let elements = (tokens * channels) as u64;
        ops.push(OpCost {
            flops: Flops(elements * (2 * net.kernel as u64 - 1 + 4)),
            weight_bytes: self.types.of_op(OpKind::Convolution, at).row_bytes(net.kernel) * channels as u64,
            activation_bytes: Bytes(ACTIVATION * 2 * elements),
            ..self.op(OpKind::Convolution, at, [tokens, channels, 0])
        });
        ops.push(self.delta_rule(net, at));
        let norm = self.norm(OpKind::DeltaNorm, at, tokens * net.value_heads, net.head_dim);
        let gate = self.elementwise(OpKind::DeltaNorm, at, [tokens, values], 5);
        ops.push(OpCost {
            flops: norm.flops + gate.flops,
            activation_bytes: gate.activation_bytes,
            shape: [tokens, values, 0],
            ..norm
        });
        ops.push(self.matmul(OpKind::DeltaOutProj, at, [tokens, values, hidden], false));
    }

    /// The rate of learning and the decay of each of `h` value heads of a gated delta net: a projection each, and functions of its outputs.
    ///
    /// ```text
    /// beta   FLOP t h (2 H + 4)    sigmoid: negate, exp, sum, quotient       weight bytes h row(H)
    /// decay  FLOP t h (2 H + 5)    softplus of a sum: 3; product, exp        weight bytes h row(H) + 2 row(h) in F32
    /// activation bytes 4 t (H + h) of each
    /// ```
    ///
    /// Source: arXiv:2412.06464, equation 10; transformers, `Qwen3_5GatedDeltaNet`.
    fn delta_rates(&self, net: &GatedDeltaNet, layer: Option<usize>) -> [OpCost; 2] {
        let (heads, elements) = (net.value_heads, (self.tokens * net.value_heads) as u64);
        let of = |kind, per_element, vectors: u64| {
            let product = self.matmul(kind, layer, [self.tokens, self.spec.hidden, heads], false);
            OpCost {
                flops: product.flops + Flops(elements * per_element),
                weight_bytes: product.weight_bytes + DType::F32.row_bytes(heads) * vectors,
                ..product
            }
        };
        [of(OpKind::BetaProj, 4, 0), of(OpKind::DecayProj, 5, 2)]
    }

    /// The delta rule of `h` value heads of width `d`, token by token, with the lengths of `q` and `k` of `g` key heads:
    ///
    /// ```text
    /// FLOP t (2 g 3 d + h (7 d^2 + 3 d))    of a head: S d (d^2), S k (2 d^2), the difference and its rate (2 d), S + u k^T (2 d^2),
    ///                                       S q (2 d^2) and its scale (d)
    /// state bytes 2 x 4 h d^2  (read and written once per pass; it stays on chip between tokens)
    /// activation bytes 4 t (C + 2 h + h d)  (q, k, v and the rates read, output written)
    /// ```
    ///
    /// Unit: the form by tokens, as decoders compute it; forms by chunks have more operations. Source: as [`Pass::delta_rates`].
    fn delta_rule(&self, net: &GatedDeltaNet, layer: Option<usize>) -> OpCost {
        let (tokens, d) = (self.tokens as u64, net.head_dim as u64);
        let (heads, key_heads, channels) = (net.value_heads as u64, net.key_heads as u64, net.channels() as u64);
        OpCost {
            flops: Flops(tokens * (6 * key_heads * d + heads * (7 * d * d + 3 * d))),
            state_bytes: STATE.row_bytes(net.head_state_elements()) * 2,
            activation_bytes: Bytes(ACTIVATION * tokens * (channels + 2 * heads + heads * d)),
            ..self.op(OpKind::DeltaRule, layer, [self.tokens, net.value_width(), 0])
        }
    }

    fn latent_attention_ops(&self, attention: &LatentAttention, at: Option<usize>, ops: &mut Vec<OpCost>) {
        let (hidden, tokens) = (self.spec.hidden, self.tokens);
        let &LatentAttention { query_rank, rank, key_dim, value_dim, .. } = attention;
        let q = attention.q_width();
        match query_rank {
            None => ops.push(self.matmul(OpKind::QProj, at, [tokens, hidden, q], false)),
            Some(low) => {
                ops.push(self.matmul(OpKind::QAProj, at, [tokens, hidden, low], false));
                ops.push(self.norm(OpKind::QANorm, at, tokens, low));
                ops.push(self.matmul(OpKind::QBProj, at, [tokens, low, q], false));
            }
        }
        ops.push(self.matmul(OpKind::KvAProj, at, [tokens, hidden, attention.cache_width()], false));
        ops.push(self.norm(OpKind::KvANorm, at, tokens, rank));
        ops.push(self.latent_rope(attention, at));
        ops.push(self.latent_write(attention, at));
        ops.push(self.head_products(OpKind::KBProj, attention, at, [key_dim, rank]));
        ops.push(self.latent_attention(attention, at));
        ops.push(self.head_products(OpKind::VBProj, attention, at, [rank, value_dim]));
        ops.push(self.matmul(OpKind::OProj, at, [tokens, attention.v_width(), hidden], false));
    }

    fn short_convolution_ops(&self, convolution: &ShortConvolution, at: Option<usize>, ops: &mut Vec<OpCost>) {
        let (hidden, tokens, channels) = (self.spec.hidden, self.tokens, convolution.channels);
        ops.push(self.matmul(OpKind::ConvInProj, at, [tokens, hidden, 3 * channels], false));
        ops.push(self.state_update(convolution, at));
        ops.push(self.convolution(convolution, at));
        ops.push(self.matmul(OpKind::ConvOutProj, at, [tokens, channels, hidden], false));
    }

    fn feed_forward_part(&self, at: usize, ops: &mut Vec<OpCost>) {
        let (layer, hidden, tokens) = (&self.spec.layers[at], self.spec.hidden, self.tokens);
        ops.push(self.norm(OpKind::FfnNorm, Some(at), tokens, hidden));
        match &layer.feed_forward {
            FeedForward::Dense(gated) => self.dense(gated, Some(at), ops),
            FeedForward::Experts(experts) => self.experts(experts, at, ops),
        }
        let at = Some(at);
        if layer.norms == NormPlacement::BeforeAndAfter {
            ops.push(self.norm(OpKind::FfnPostNorm, at, tokens, hidden));
        }
        ops.push(self.elementwise(OpKind::FfnResidual, at, [tokens, hidden], 1));
    }

    /// What follows the feed-forward part: the input that the layer has of its own, of width `w`, and the factor of its output.
    ///
    /// ```text
    /// gate and projection   as any product, H to w and w to H; the norm as any norm
    /// GELU and product      FLOP t w 10 (as the activation of a feed-forward part)    activation bytes 4 t 3 w
    /// factor                FLOP t H    weight bytes row(1)    activation bytes 4 t 2 H
    /// ```
    ///
    /// Source: [`Spec::per_layer_width`].
    fn after_feed_forward(&self, at: usize, ops: &mut Vec<OpCost>) {
        let (layer, hidden, tokens, at) = (&self.spec.layers[at], self.spec.hidden, self.tokens, Some(at));
        if let Some(width) = self.spec.per_layer_width {
            let (_, per_element) = activation_cost(Activation::GeluTanh);
            ops.push(self.matmul(OpKind::PerLayerGate, at, [tokens, hidden, width], false));
            ops.push(self.elementwise(OpKind::PerLayerMul, at, [tokens, width], per_element));
            ops.push(self.matmul(OpKind::PerLayerProj, at, [tokens, width, hidden], false));
            ops.push(self.norm(OpKind::PerLayerNorm, at, tokens, hidden));
            ops.push(self.elementwise(OpKind::PerLayerResidual, at, [tokens, hidden], 1));
        }
        if layer.output_scale {
            ops.push(OpCost {
                weight_bytes: self.types.of_op(OpKind::LayerScale, at).row_bytes(1),
                ..self.in_place(OpKind::LayerScale, at, [tokens, hidden], 1)
            });
        }
    }

    /// The inputs of `L` layers, `w` elements of each: a row of a table, and a projection of the embedding with a norm.
    ///
    /// ```text
    /// row          FLOP t L w (the factor)      weight bytes t row(L w)     activation bytes 4 t L w (written)
    /// projection   as any product, H to L w
    /// inputs       FLOP t L (7 w + 3)    a factor before the norm, the norm (4 w + 3), the sum and its factor
    ///              weight bytes row(w)   activation bytes 4 t 3 L w
    /// ```
    ///
    /// A token reads its own row of the table alone. Source: [`Spec::per_layer_width`].
    fn layer_inputs(&self, width: usize) -> [OpCost; 3] {
        let (tokens, all) = (self.tokens as u64, self.spec.per_layer_inputs());
        let row = OpCost {
            flops: Flops(tokens * all as u64),
            weight_bytes: self.types.of_op(OpKind::PerLayerEmbed, None).row_bytes(all) * tokens,
            activation_bytes: Bytes(ACTIVATION * tokens * all as u64),
            ..self.op(OpKind::PerLayerEmbed, None, [self.tokens, all, 0])
        };
        let projection = self.matmul(OpKind::PerLayerModelProj, None, [self.tokens, self.spec.hidden, all], false);
        let rows = self.tokens * self.spec.layers.len();
        let norm = self.norm(OpKind::PerLayerInputs, None, rows, width);
        let sum = self.elementwise(OpKind::PerLayerInputs, None, [self.tokens, all], 3);
        [row, projection, OpCost { weight_bytes: norm.weight_bytes, flops: norm.flops + sum.flops, ..sum }]
    }

    /// The RMS norm without weight of each head of the values: `T kv_heads` rows of `d` elements.
    ///
    /// ```text
    /// FLOP T kv_heads (3 d + 3)    as a norm, with one product per element    activation bytes 4 T 2 kv
    /// ```
    fn norm_of_values(&self, attention: &Attention, layer: Option<usize>) -> OpCost {
        let (tokens, kv) = (self.tokens as u64, attention.kv_width());
        OpCost {
            flops: Flops(tokens * attention.kv_heads as u64 * (3 * attention.head_dim as u64 + 3)),
            activation_bytes: Bytes(ACTIVATION * tokens * 2 * kv as u64),
            ..self.op(OpKind::VNorm, layer, [self.tokens, kv, 0])
        }
    }

    fn dense(&self, gated: &Gated, at: Option<usize>, ops: &mut Vec<OpCost>) {
        let (width, hidden, tokens) = (gated.width, self.spec.hidden, self.tokens);
        ops.push(self.matmul(OpKind::GateProj, at, [tokens, hidden, width], false));
        ops.push(self.matmul(OpKind::UpProj, at, [tokens, hidden, width], false));
        ops.push(self.activation(gated, at, tokens));
        ops.push(self.matmul(OpKind::DownProj, at, [tokens, width, hidden], false));
    }

    fn experts(&self, experts: &Experts, layer: usize, ops: &mut Vec<OpCost>) {
        let (tokens, hidden, at) = (self.tokens, self.spec.hidden, Some(layer));
        // A dense part beside them: its norm, and those of the router and of the experts.
        if let Some(width) = experts.dense_width {
            self.dense(&Gated { width, ..experts.expert }, at, ops);
            for norm in [OpKind::DenseNorm, OpKind::RouterNorm, OpKind::ExpertsNorm, OpKind::ExpertsPostNorm] {
                ops.push(self.norm(norm, at, tokens, hidden));
            }
            ops.push(self.elementwise(OpKind::DenseSum, at, [tokens, hidden], 1));
        }
        ops.push(self.matmul(OpKind::Router, at, [tokens, self.spec.hidden, experts.count], experts.biased));
        ops.push(self.expert_choice(experts, at));
        let bytes = expert_bytes(self.spec.hidden, experts, self.types, layer);
        ops.extend(self.expert_products(experts, bytes, at));
        ops.push(self.experts_sum(experts, at));
        ops.extend(experts.shared.map(|shared| self.shared_expert(&shared, experts.expert.activation, at)));
    }

    /// The choice of `K` of `E` experts for each token, and their weights, from the scores of the router:
    ///
    /// ```text
    /// FLOP t (5 E + 2 K)    softmax: maximum, difference, exponential, sum, quotient; a sigmoid has fewer; normalising: sum and
    ///                       quotient. The comparisons of the choice are not counted. With a bias of the choice t E more, with factors
    ///                       of experts t K more
    /// weight bytes          row(E) of the bias, and of the factors
    /// activation bytes 4 t (E + 2 K)    scores read; indices and weights written
    /// ```
    ///
    /// Source: arXiv:1701.06538, equations 3 to 5, without noise.
    fn expert_choice(&self, experts: &Experts, layer: Option<usize>) -> OpCost {
        let (tokens, count, used) = (self.tokens as u64, experts.count as u64, experts.used as u64);
        let biases = if experts.gating.choice_bias { experts.count } else { 0 };
        let (factors, products) = if experts.gating.expert_factors { (experts.count, used) } else { (0, 0) };
        OpCost {
            flops: Flops(tokens * (5 * count + 2 * used + biases as u64 + products)),
            weight_bytes: DType::F32.row_bytes(biases) + DType::F32.row_bytes(factors),
            activation_bytes: Bytes(ACTIVATION * tokens * (count + 2 * used)),
            ..self.op(OpKind::ExpertChoice, layer, [self.tokens, experts.count, 0])
        }
    }

    /// The products of the chosen experts and the activation between them: gate and up of `t K` pairs of a token and an expert, then
    /// down.
    ///
    /// ```text
    /// gate and up   FLOP 2 t K H 2 F  (+ 2 t K F with biases)    activation bytes 4 t (H + 2 K F)
    /// down          FLOP 2 t K F H    (+ t K H with a bias)      activation bytes 4 t K (F + H)
    /// weight bytes  D x those of one expert, D = E (1 - (1 - K / E)^t) distinct experts, K for one token
    /// ```
    ///
    /// `D` is exact for one token; for several it is an estimate, see [`Experts::expected_distinct`]. Source: arXiv:1701.06538, 2.
    fn expert_products(&self, experts: &Experts, bytes: ExpertBytes, layer: Option<usize>) -> [OpCost; 3] {
        let (tokens, hidden, width, used) = (self.tokens, self.spec.hidden, experts.expert.width, experts.used);
        let (pairs, biases) = ((tokens * used) as u64, u64::from(experts.biased));
        let [inner, outer] = [width as u64, hidden as u64];
        let weight_bytes = |of_one: Bytes| Bytes((of_one.as_f64() * experts.expected_distinct(tokens)).round() as u64);
        let gate_up = OpCost {
            flops: Flops(pairs * 2 * inner * (2 * outer + biases)),
            weight_bytes: weight_bytes(bytes.gate_up),
            activation_bytes: Bytes(ACTIVATION * (tokens as u64 * outer + pairs * 2 * inner)),
            ..self.op(OpKind::ExpertsGateUp, layer, [tokens, hidden, used * 2 * width])
        };
        let down = OpCost {
            flops: Flops(pairs * outer * (2 * inner + biases)),
            weight_bytes: weight_bytes(bytes.down),
            activation_bytes: Bytes(ACTIVATION * pairs * (inner + outer)),
            ..self.op(OpKind::ExpertsDown, layer, [tokens, width, used * hidden])
        };
        [gate_up, self.activation(&experts.expert, layer, tokens * used), down]
    }

    /// The weighted sum of the outputs of the chosen experts:
    ///
    /// ```text
    /// FLOP t K 2 H    a product and a sum    activation bytes 4 t (K H + H)
    /// ```
    fn experts_sum(&self, experts: &Experts, layer: Option<usize>) -> OpCost {
        let (tokens, hidden, used) = (self.tokens as u64, self.spec.hidden as u64, experts.used as u64);
        OpCost {
            flops: Flops(tokens * used * 2 * hidden),
            activation_bytes: Bytes(ACTIVATION * tokens * (used + 1) * hidden),
            ..self.op(OpKind::ExpertsSum, layer, [self.tokens, self.spec.hidden, 0])
        }
    }

    /// An expert of width `S` that all tokens use, its activation and the sum with the other experts:
    ///
    /// ```text
    /// FLOP t (6 H S + activation S + H)    with a gate: t (2 H + 3 + H) more
    /// weight bytes as those of gate, up and down    activation bytes 4 t (H + 2 S, 3 S, S + H, 2 H)
    /// ```
    ///
    /// Source: arXiv:2401.06066, section 3.2.
    fn shared_expert(&self, shared: &SharedExpert, activation: Activation, layer: Option<usize>) -> OpCost {
        let (tokens, hidden, width) = (self.tokens as u64, self.spec.hidden, shared.width);
        let [gate, up, down] = self.types.of_shared_expert(layer);
        let (h, s) = (hidden as u64, width as u64);
        let gate_vector = if shared.gated { DType::F32.row_bytes(hidden) } else { Bytes(0) };
        let gate_flops = if shared.gated { 3 * h + 3 } else { 0 };
        let (_, per_element) = activation_cost(activation);
        OpCost {
            flops: Flops(tokens * (6 * h * s + per_element * s + h + gate_flops)),
            weight_bytes: (gate.row_bytes(hidden) + up.row_bytes(hidden)) * s + down.row_bytes(width) * h + gate_vector,
            activation_bytes: Bytes(ACTIVATION * tokens * (4 * h + 6 * s)),
            ..self.op(OpKind::SharedExpert, layer, [self.tokens, hidden, width])
        }
    }

    /// The activation of a gated part on `rows` rows.
    fn activation(&self, gated: &Gated, layer: Option<usize>, rows: usize) -> OpCost {
        let (kind, per_element) = activation_cost(gated.activation);
        self.elementwise(kind, layer, [rows, gated.width], per_element)
    }

    /// Looking up `T` rows of the embedding table:
    ///
    /// ```text
    /// FLOP 0, with a factor T H    weight bytes T row(H)    activation bytes 4 T H (written)
    /// ```
    ///
    /// Source: the definition; dequantising is not counted.
    fn embed(&self) -> OpCost {
        let (tokens, hidden) = (self.tokens as u64, self.spec.hidden);
        OpCost {
            flops: Flops(if self.spec.embedding_scale.is_some() { tokens * hidden as u64 } else { 0 }),
            weight_bytes: self.types.of_op(OpKind::Embed, None).row_bytes(hidden) * tokens,
            activation_bytes: Bytes(ACTIVATION * tokens * hidden as u64),
            ..self.op(OpKind::Embed, None, [self.tokens, hidden, 0])
        }
    }

    /// RMS norm of `t` rows of `n` elements, `y = x / sqrt(mean(x^2) + eps) w`:
    ///
    /// ```text
    /// FLOP t (4 n + 3)    n squares, n - 1 sums, then mean, epsilon, root and reciprocal, then 2 n products
    /// weight bytes row(n)    activation bytes 4 t 2 n (read, written)
    /// ```
    ///
    /// Source: Zhang and Sennrich, arXiv:1910.07467, equation 4.
    fn norm(&self, kind: OpKind, layer: Option<usize>, rows: usize, width: usize) -> OpCost {
        let (rows_u64, elements) = (rows as u64, width as u64);
        OpCost {
            flops: Flops(rows_u64 * (4 * elements + 3)),
            weight_bytes: self.types.of_op(kind, layer).row_bytes(width),
            activation_bytes: Bytes(ACTIVATION * rows_u64 * 2 * elements),
            ..self.op(kind, layer, [rows, width, 0])
        }
    }

    /// RMS norm of each head: `T heads` rows of `d` elements that share one weight.
    fn head_norm(&self, kind: OpKind, layer: Option<usize>, heads: usize, head_dim: usize) -> OpCost {
        let norm = self.norm(kind, layer, self.tokens * heads, head_dim);
        OpCost { shape: [self.tokens, heads * head_dim, 0], ..norm }
    }

    /// `[t, in] x [out, in]^T + bias -> [t, out]`:
    ///
    /// ```text
    /// FLOP 2 t in out  (+ t out with a bias)
    /// weight bytes out row(in)  (+ row(out) with a bias)    activation bytes 4 t (in + out)
    /// ```
    ///
    /// Source: Kaplan et al., arXiv:2001.08361, 2.1 (a multiply-add is two operations).
    fn matmul(&self, kind: OpKind, layer: Option<usize>, shape: [usize; 3], biased: bool) -> OpCost {
        let [rows, inputs, outputs] = shape;
        let (rows, outputs_u64) = (rows as u64, outputs as u64);
        let bias = if biased { self.types.of_bias(kind, layer).row_bytes(outputs) } else { Bytes(0) };
        OpCost {
            flops: Flops(rows * outputs_u64 * (2 * inputs as u64 + u64::from(biased))),
            weight_bytes: self.types.of_op(kind, layer).row_bytes(inputs) * outputs_u64 + bias,
            activation_bytes: Bytes(ACTIVATION * rows * (inputs as u64 + outputs_u64)),
            ..self.op(kind, layer, shape)
        }
    }

    /// Rotating q and k, pair by pair: `a' = a cos - b sin`, `b' = a sin + b cos`:
    ///
    /// ```text
    /// FLOP 3 T (heads + kv_heads) r    6 operations per pair, r / 2 pairs per head
    /// activation bytes 4 T 2 (q + kv)  (read, written)
    /// ```
    ///
    /// Source: RoFormer, arXiv:2104.09864, equation 34. Sines and cosines are taken from a table, which is not counted.
    ///
    /// A factor of the queries that depends on their position takes `T q` more. A layer that attends to the keys of another one
    /// rotates queries alone.
    fn rope(&self, attention: &Attention, layer: Option<usize>) -> Option<OpCost> {
        let key_heads = if attention.has_own_cache() { attention.kv_heads } else { 0 };
        let (heads, tokens) = ((attention.heads + key_heads) as u64, self.tokens as u64);
        let width = attention.q_width() + key_heads * attention.head_dim;
        let rotated = attention.rope.as_ref()?.dim as u64;
        let scaled = if attention.temperature.is_some() { attention.q_width() as u64 } else { 0 };
        Some(OpCost {
            flops: Flops(tokens * (3 * heads * rotated + scaled)),
            activation_bytes: Bytes(ACTIVATION * tokens * 2 * width as u64),
            ..self.op(OpKind::Rope, layer, [self.tokens, width, 0])
        })
    }

    /// Appending `T` rows of k and v to the cache, in its type:
    ///
    /// ```text
    /// FLOP 0    KV bytes T row(kv) of keys and of values (written)    activation bytes 4 T 2 kv (read)
    /// ```
    ///
    /// Source: the definition; rounding to the type of the cache is not counted.
    fn kv_write(&self, attention: &Attention, layer: Option<usize>) -> OpCost {
        let (tokens, kv) = (self.tokens as u64, attention.kv_width());
        OpCost {
            kv_bytes: self.kv.row_bytes(kv) * tokens,
            activation_bytes: Bytes(ACTIVATION * tokens * 2 * kv as u64),
            ..self.op(OpKind::KvWrite, layer, [self.tokens, kv, 0])
        }
    }

    /// Scores, softmax and weighted sum over the positions that each query sees, `A` pairs in total ([`attended_pairs`]):
    ///
    /// ```text
    /// FLOP A heads (4 d + 5)    2 d for q k, 2 d for p v; scale, maximum, difference, exponential, sum; the last
    ///                           division (T q) is left out
    /// KV bytes R row(kv) of keys and of values, R = min(P + T, W + T - 1) rows that at least one query sees (read once)
    /// activation bytes 4 T 2 q  (q read, output written; scores stay on chip)
    /// ```
    ///
    /// With sinks, `T heads 4` operations more (maximum, difference, exponential, sum) and their weights are read.
    ///
    /// Unit: the masked half of a prefill's scores is not counted, though some kernels compute it. Source: FlashAttention,
    /// arXiv:2205.14135, 2.2 and 3 (what is read and what stays on chip).
    fn attention(&self, attention: &Attention, layer: Option<usize>) -> OpCost {
        let &Attention { heads, head_dim, window, .. } = attention;
        let end = self.position + self.tokens;
        let rows = attention.cached_rows(self.tokens, self.position);
        let pairs = attended_pairs(self.tokens, self.position, window);
        let sinks = if attention.sinks { heads } else { 0 };
        let of_pairs = pairs.saturating_mul(heads as u64 * (4 * head_dim as u64 + 5));
        OpCost {
            flops: Flops(of_pairs.saturating_add(self.tokens as u64 * sinks as u64 * 4)),
            weight_bytes: self.types.of_sinks(layer).row_bytes(sinks),
            kv_bytes: self.kv.row_bytes(attention.kv_width()) * rows as u64,
            activation_bytes: Bytes(ACTIVATION * self.tokens as u64 * 2 * attention.q_width() as u64),
            ..self.op(OpKind::Attention, layer, [self.tokens, window.map_or(end, |window| end.min(window)), heads])
        }
    }

    /// Rotating a part of each query head, and of the row of the cache, as [`Pass::rope`]:
    ///
    /// ```text
    /// FLOP 3 T (heads + 1) r    activation bytes 4 T 2 (heads + 1) r
    /// ```
    fn latent_rope(&self, attention: &LatentAttention, layer: Option<usize>) -> OpCost {
        let rotated = (attention.heads + 1) * attention.rope.dim;
        let elements = (self.tokens * rotated) as u64;
        OpCost {
            flops: Flops(3 * elements),
            activation_bytes: Bytes(ACTIVATION * 2 * elements),
            ..self.op(OpKind::Rope, layer, [self.tokens, rotated, 0])
        }
    }

    /// Appending `T` rows of `c` elements (the latent and the rotated part of the key) to the cache, in the type of keys:
    ///
    /// ```text
    /// FLOP 0    KV bytes T row(c)    activation bytes 4 T c
    /// ```
    fn latent_write(&self, attention: &LatentAttention, layer: Option<usize>) -> OpCost {
        let width = attention.cache_width();
        OpCost {
            kv_bytes: self.kv.keys.row_bytes(width) * self.tokens as u64,
            activation_bytes: Bytes(ACTIVATION * (self.tokens * width) as u64),
            ..self.op(OpKind::KvWrite, layer, [self.tokens, width, 0])
        }
    }

    /// A product of each head with a matrix of its own, from `n` to `m` elements:
    ///
    /// ```text
    /// FLOP 2 T heads n m    weight bytes heads m row(n)    activation bytes 4 T heads (n + m)
    /// ```
    ///
    /// Source: arXiv:2405.04434, appendix C: products with the latent instead of keys and values.
    fn head_products(
        &self,
        kind: OpKind,
        attention: &LatentAttention,
        layer: Option<usize>,
        [inputs, outputs]: [usize; 2],
    ) -> OpCost {
        let heads = attention.heads;
        OpCost {
            activation_bytes: Bytes(ACTIVATION * (self.tokens * heads * (inputs + outputs)) as u64),
            ..self.matmul(kind, layer, [self.tokens, inputs, heads * outputs], false)
        }
    }

    /// As [`Pass::attention`], with one key of `c` elements for all heads, whose first `l` elements are the value:
    ///
    /// ```text
    /// FLOP A heads (2 c + 2 l + 5)    KV bytes (P + T) row(c), each row once    activation bytes 4 T heads (c + l)
    /// ```
    ///
    /// Source: arXiv:2405.04434, section 2.1.
    fn latent_attention(&self, attention: &LatentAttention, layer: Option<usize>) -> OpCost {
        let (heads, width, rank) = (attention.heads as u64, attention.cache_width(), attention.rank as u64);
        let end = self.position + self.tokens;
        let pairs = attended_pairs(self.tokens, self.position, None);
        OpCost {
            flops: Flops(pairs.saturating_mul(heads * (2 * width as u64 + 2 * rank + 5))),
            kv_bytes: self.kv.keys.row_bytes(width) * end as u64,
            activation_bytes: Bytes(ACTIVATION * self.tokens as u64 * heads * (width as u64 + rank)),
            ..self.op(OpKind::Attention, layer, [self.tokens, end, attention.heads])
        }
    }

    /// The inputs `B x` of a short convolution, and its state, which keeps the last `L - 1` of them:
    ///
    /// ```text
    /// FLOP t C    state bytes 2 x 4 (L - 1) C  (read for the first outputs, written once per pass)
    /// activation bytes 4 t 3 C  (B and x read, inputs written)
    /// ```
    ///
    /// Source: arXiv:2511.23404, section 2; transformers, `Lfm2ShortConv`.
    fn state_update(&self, convolution: &ShortConvolution, layer: Option<usize>) -> OpCost {
        let elements = (self.tokens * convolution.channels) as u64;
        OpCost {
            flops: Flops(elements),
            state_bytes: STATE.row_bytes(convolution.state_elements()) * 2,
            activation_bytes: Bytes(ACTIVATION * 3 * elements),
            ..self.op(OpKind::StateUpdate, layer, [self.tokens, convolution.channels, 0])
        }
    }

    /// The sums of the last `L` inputs of each channel, weighted by its kernel, times `C`:
    ///
    /// ```text
    /// FLOP t C 2 L    L products, L - 1 sums, and the product with the gate
    /// weight bytes C row(L)    activation bytes 4 t 3 C  (inputs and gate read, output written)
    /// ```
    ///
    /// Source: as [`Pass::state_update`].
    fn convolution(&self, convolution: &ShortConvolution, layer: Option<usize>) -> OpCost {
        let &ShortConvolution { channels, kernel } = convolution;
        let elements = (self.tokens * channels) as u64;
        OpCost {
            flops: Flops(elements * 2 * kernel as u64),
            weight_bytes: self.types.of_op(OpKind::Convolution, layer).row_bytes(kernel) * channels as u64,
            activation_bytes: Bytes(ACTIVATION * 3 * elements),
            ..self.op(OpKind::Convolution, layer, [self.tokens, channels, 0])
        }
    }

    /// An op on two inputs `[t, width]`, element by element:
    ///
    /// ```text
    /// FLOP t width per_element    residual 1 (a sum); silu(g) u = g / (1 + exp(-g)) u: 5 (negate, exp, sum, quotient, product);
    ///                           the gate of an output x sigmoid(g): 5, as silu;  GELU by
    ///                           tanh: 10 (square, cube, product, sum, product, tanh, sum, two products, product with u); clamped
    ///                           SwiGLU: 9 (three bounds, product, exp, sum, quotient; sum with 1, product)
    /// activation bytes 4 t 3 width (two read, one written)
    /// ```
    ///
    /// Source: the definition; SwiGLU, Shazeer, arXiv:2002.05202, equation 6.
    fn elementwise(&self, kind: OpKind, layer: Option<usize>, [rows, width]: [usize; 2], per_element: u64) -> OpCost {
        let elements = rows as u64 * width as u64;
        OpCost {
            flops: Flops(elements * per_element),
            activation_bytes: Bytes(ACTIVATION * 3 * elements),
            ..self.op(kind, layer, [rows, width, 0])
        }
    }

    /// An op on one input `[t, width]`, element by element: as [`Pass::elementwise`], with one input read.
    fn in_place(&self, kind: OpKind, layer: Option<usize>, [rows, width]: [usize; 2], per_element: u64) -> OpCost {
        let elements = rows as u64 * width as u64;
        OpCost {
            flops: Flops(elements * per_element),
            activation_bytes: Bytes(ACTIVATION * 2 * elements),
            ..self.op(kind, layer, [rows, width, 0])
        }
    }

    /// An op with costs of zero.
    const fn op(&self, kind: OpKind, layer: Option<usize>, shape: [usize; 3]) -> OpCost {
        let none = Bytes(0);
        OpCost {
            kind,
            layer,
            flops: Flops(0),
            weight_bytes: none,
            kv_bytes: none,
            state_bytes: none,
            activation_bytes: none,
            shape,
        }
    }
}
