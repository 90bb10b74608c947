//! The feed-forward part of a layer: one gated part, or a mixture of experts.

use models::cost::ExpertBytes;
use models::{Activation, Experts, FeedForward, Gated, Layer, NormPlacement, SharedExpert, Spec};
use traces::op;
use traces::record::OpGuard;

use super::NAME;
use super::kernels::{Kernels, Linear, Memory, PairInput};
use super::routing::Routing;
use super::source::Source;
use super::stream::{Place, Stream};
use crate::EngineError;

/// The weights of a feed-forward part.
pub(super) struct FeedForwardWeights<K: Kernels> {
    norm: K::Vector, // [hidden]
    part: PartWeights<K>,
    /// `[hidden]`
    post_norm: Option<K::Vector>,
}

enum PartWeights<K: Kernels> {
    Dense(GatedWeights<K>),
    Experts(ExpertWeights<K>),
}

/// The weights of a gated part.
struct GatedWeights<K: Kernels> {
    gate: Linear<K>, // [width, hidden]
    up: Linear<K>,   // [width, hidden]
    down: Linear<K>, // [hidden, width]
}

/// The weights of a mixture of experts.
struct ExpertWeights<K: Kernels> {
    router: Linear<K>,    // [experts, hidden]
    gate: Vec<Linear<K>>, // of each expert [width, hidden]
    up: Vec<Linear<K>>,   // of each expert [width, hidden]
    down: Vec<Linear<K>>, // of each expert [hidden, width]
    /// `[experts]`: added to the scores for the choice.
    choice_bias: Option<Vec<f32>>,
    /// `[experts]`: factors of the weights.
    factors: Option<Vec<f32>>,
    dense: Option<DenseWeights<K>>,
    shared: Option<SharedWeights<K>>,
    /// Bytes of one expert, as stored.
    bytes: ExpertBytes,
}

/// The weights of a dense part beside experts, and the norms that go with it.
struct DenseWeights<K: Kernels> {
    part: GatedWeights<K>,
    width: usize,
    /// After the dense part, `[hidden]`.
    norm: K::Vector,
    /// Before the router; with its factors divided by the root of the width, `[hidden]`.
    router_norm: K::Vector,
    /// Before and after the experts, each `[hidden]`.
    experts_norm: K::Vector,
    experts_post_norm: K::Vector,
}

/// The weights of an expert that all tokens use.
struct SharedWeights<K: Kernels> {
    part: GatedWeights<K>,
    /// `[hidden]`
    gate: Option<K::Vector>,
}

/// Buffers of a gated part.
struct GatedBuffers<M: Memory> {
    gate: M::Rows, // [rows, width]
    up: M::Rows,   // [rows, width]
}

/// Buffers of a mixture of experts; a pair is a token and one of the experts that it uses.
struct ExpertBuffers<M: Memory> {
    scores: M::Rows, // [rows, experts]
    gate: M::Rows,   // [pairs, width]
    up: M::Rows,     // [pairs, width]
    out: M::Rows,    // [pairs, hidden]
    routing: Routing,
    shared: Option<GatedBuffers<M>>,
    /// Of a dense part beside them, with its output, `[rows, hidden]`.
    dense: Option<(GatedBuffers<M>, M::Rows)>,
}

/// Buffers of the feed-forward parts, shared by all layers.
pub(super) struct FeedForwardBuffers<M: Memory> {
    /// Of dense parts, each with its width.
    dense: Vec<(usize, GatedBuffers<M>)>,
    experts: Option<ExpertBuffers<M>>,
    /// The output of additional work that is discarded, `[rows, hidden]`.
    discarded: Option<M::Rows>,
}

impl<K: Kernels> FeedForwardWeights<K> {
    /// Takes the weights of layer `at`.
    pub(super) fn load(source: &Source<'_, K>, at: usize, layer: &Layer) -> Result<Self, EngineError> {
        let hidden = source.spec()?.hidden;
        let name = |part: &str| format!("blk.{at}.{part}");
        let has_post_norm = layer.norms == NormPlacement::BeforeAndAfter;
        Ok(Self {
            norm: source.norm(&name("ffn_norm.weight"), hidden)?,
            part: match &layer.feed_forward {
                FeedForward::Dense(gated) => PartWeights::Dense(GatedWeights::load(
                    source,
                    ["ffn_gate", "ffn_up", "ffn_down"].map(name),
                    gated.width,
                )?),
                FeedForward::Experts(experts) => PartWeights::Experts(ExpertWeights::load(source, at, experts, name)?),
            },
            post_norm: has_post_norm.then(|| source.norm(&name("post_ffw_norm.weight"), hidden)).transpose()?,
        })
    }

    /// Adds the part of a layer to the residual stream. With `twice` it is computed twice, and one result is discarded.
    pub(super) fn run(
        &self,
        kernels: &mut K,
        place: Place,
        part: &FeedForward,
        twice: bool,
        s: &mut Stream<K>,
        b: &mut FeedForwardBuffers<K>,
    ) -> Result<(), EngineError> {
        let Place { at, rows, hidden, epsilon, .. } = place;
        {
            let _op = op!("ffn_norm", at, [rows, hidden]);
            kernels.norm(&s.x, &self.norm, epsilon, &mut s.h)?;
        }
        match (&self.part, part, b) {
            (PartWeights::Dense(weights), FeedForward::Dense(gated), FeedForwardBuffers { dense, discarded, .. }) => {
                let b = dense.iter_mut().find(|(width, _)| *width == gated.width).map(|(_, b)| b);
                let b = b.ok_or_else(|| super::failed("feed-forward", "no buffers were reserved for its width"))?;
                if let Some(out) = discarded.as_mut().filter(|_| twice) {
                    let _op = op!("extra_mlp", at, [rows, hidden, gated.width]);
                    weights.run_unmarked(kernels, gated.activation, &mut s.h, b, out)?;
                }
                weights.run(kernels, place, gated, &mut s.h, b)?;
            }
            (
                PartWeights::Experts(weights),
                FeedForward::Experts(experts),
                FeedForwardBuffers { experts: Some(b), .. },
            ) => {
                weights.run(kernels, place, experts, s, b)?;
            }
            _ => return Err(super::failed("feed-forward", "weights, description and buffers are of different kinds")),
        }
        if let Some(norm) = &self.post_norm {
            let _op = op!("ffn_post_norm", at, [rows, hidden]);
            kernels.norm(&s.h, norm, epsilon, &mut s.normed)?;
        }
        let _op = op!("ffn_residual", at, [rows, hidden]);
        kernels.add(&mut s.x, if self.post_norm.is_some() { &s.normed } else { &s.h })
    }
}

impl<K: Kernels> GatedWeights<K> {
    fn load(source: &Source<'_, K>, [gate, up, down]: [String; 3], width: usize) -> Result<Self, EngineError> {
        let hidden = source.spec()?.hidden;
        Ok(Self {
            gate: source.linear(&gate, width, hidden, false)?,
            up: source.linear(&up, width, hidden, false)?,
            down: source.linear(&down, hidden, width, false)?,
        })
    }

    /// `h = down(activation(gate h) * up h)`, each step marked.
    fn run(
        &self,
        kernels: &mut K,
        place: Place,
        &Gated { width, activation }: &Gated,
        h: &mut K::Rows,
        b: &mut GatedBuffers<K>,
    ) -> Result<(), EngineError> {
        let Place { at, rows, hidden, .. } = place;
        {
            let _op = op!("gate_proj", at, [rows, hidden, width]);
            kernels.linear(h, &self.gate, &mut b.gate)?;
        }
        {
            let _op = op!("up_proj", at, [rows, hidden, width]);
            kernels.linear(h, &self.up, &mut b.up)?;
        }
        {
            let _op = activation_op(activation, at, [rows, width]);
            kernels.activate(activation, &mut b.gate, &b.up)?;
        }
        let _op = op!("down_proj", at, [rows, width, hidden]);
        kernels.linear(&mut b.gate, &self.down, h)
    }

    /// `out = down(activation(gate h) * up h)` without marks of its own.
    fn run_unmarked(
        &self,
        kernels: &mut K,
        activation: Activation,
        h: &mut K::Rows,
        b: &mut GatedBuffers<K>,
        out: &mut K::Rows,
    ) -> Result<(), EngineError> {
        kernels.linear(h, &self.gate, &mut b.gate)?;
        kernels.linear(h, &self.up, &mut b.up)?;
        kernels.activate(activation, &mut b.gate, &b.up)?;
        kernels.linear(&mut b.gate, &self.down, out)
    }
}

impl<K: Kernels> ExpertWeights<K> {
    fn load(
        source: &Source<'_, K>,
        at: usize,
        experts: &Experts,
        name: impl Fn(&str) -> String,
    ) -> Result<Self, EngineError> {
        let &Experts { count, biased, .. } = experts;
        let (hidden, width) = (source.spec()?.hidden, experts.expert.width);
        let shared = |SharedExpert { width, gated }: SharedExpert| -> Result<_, EngineError> {
            let gate = || source.vector(&name("ffn_gate_inp_shexp.weight"), hidden);
            let names = ["ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"].map(&name);
            Ok(SharedWeights { part: GatedWeights::load(source, names, width)?, gate: gated.then(gate).transpose()? })
        };
        #[allow(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
        let root = (hidden as f32).sqrt();
        let dense = |width: usize| -> Result<_, EngineError> {
            Ok(DenseWeights {
                part: GatedWeights::load(source, ["ffn_gate", "ffn_up", "ffn_down"].map(&name), width)?,
                width,
                norm: source.norm(&name("post_ffw_norm_1.weight"), hidden)?,
                router_norm: source.changed_vector(&name("ffn_gate_inp.scale"), hidden, |factor| factor / root)?,
                experts_norm: source.norm(&name("pre_ffw_norm_2.weight"), hidden)?,
                experts_post_norm: source.norm(&name("post_ffw_norm_2.weight"), hidden)?,
            })
        };
        let weights = Self {
            router: source.linear(&name("ffn_gate_inp"), count, hidden, biased)?,
            gate: source.experts(&name("ffn_gate_exps"), width, hidden, biased)?,
            up: source.experts(&name("ffn_up_exps"), width, hidden, biased)?,
            down: source.experts(&name("ffn_down_exps"), hidden, width, biased)?,
            choice_bias: match experts.gating.choice_bias {
                true => Some(source.numbers(&name("exp_probs_b.bias"), count)?),
                false => None,
            },
            factors: match experts.gating.expert_factors {
                true => Some(source.numbers(&name("ffn_down_exps.scale"), count)?),
                false => None,
            },
            dense: experts.dense_width.map(dense).transpose()?,
            shared: experts.shared.map(shared).transpose()?,
            bytes: source.expert_bytes(experts, at)?,
        };
        let found = [&weights.gate, &weights.up, &weights.down].map(Vec::len);
        if found != [count; 3] {
            return Err(super::failed(&name("ffn_gate_exps"), format!("expected {count} experts, found {found:?}")));
        }
        Ok(weights)
    }

    /// The weighted sum of the chosen experts of `s.h`, in `s.h`.
    fn run(
        &self,
        kernels: &mut K,
        place: Place,
        experts: &Experts,
        s: &mut Stream<K>,
        b: &mut ExpertBuffers<K>,
    ) -> Result<(), EngineError> {
        let Place { at, rows, hidden, epsilon, .. } = place;
        let &Experts { count, used, expert: Gated { width, activation }, .. } = experts;
        if let (Some(dense), Some((buffers, out))) = (&self.dense, &mut b.dense) {
            dense.part.run(kernels, place, &Gated { width: dense.width, activation }, &mut s.h, buffers)?;
            {
                let _op = op!("dense_norm", at, [rows, hidden]);
                kernels.norm(&s.h, &dense.norm, epsilon, out)?;
            }
            let _op = op!("router_norm", at, [rows, hidden]);
            kernels.norm(&s.x, &dense.router_norm, epsilon, &mut s.h)?;
        }
        {
            let _op = op!("router", at, [rows, hidden, count]);
            kernels.linear(&mut s.h, &self.router, &mut b.scores)?;
        }
        {
            let _op = op!("expert_choice", at, [rows, count]);
            b.routing.choose(&kernels.read(&b.scores)?, self.choice_bias.as_deref(), experts);
            if let Some(factors) = &self.factors {
                b.routing.scale_by_expert(factors);
            }
        }
        if let Some(dense) = &self.dense {
            let _op = op!("experts_norm", at, [rows, hidden]);
            kernels.norm(&s.x, &dense.experts_norm, epsilon, &mut s.h)?;
        }
        b.routing.record(at);
        {
            let mut op = op!("experts_gate_up", at, [rows, hidden, used * 2 * width]);
            op.state_cost(b.routing.cost(self.bytes.gate_up, rows * (hidden + used * 2 * width)));
            kernels.expert_linear(&mut s.h, PairInput::Tokens, &self.gate, &b.routing, &mut b.gate)?;
            kernels.expert_linear(&mut s.h, PairInput::Tokens, &self.up, &b.routing, &mut b.up)?;
        }
        {
            let _op = activation_op(activation, at, [rows * used, width]);
            kernels.activate(activation, &mut b.gate, &b.up)?;
        }
        {
            let mut op = op!("experts_down", at, [rows, width, used * hidden]);
            op.state_cost(b.routing.cost(self.bytes.down, rows * used * (width + hidden)));
            kernels.expert_linear(&mut b.gate, PairInput::Pairs, &self.down, &b.routing, &mut b.out)?;
        }
        {
            let _op = op!("experts_sum", at, [rows, hidden]);
            kernels.sum_experts(&b.out, &b.routing, &mut s.normed)?;
        }
        if let (Some(dense), Some((_, out))) = (&self.dense, &b.dense) {
            {
                let _op = op!("experts_post_norm", at, [rows, hidden]);
                kernels.norm(&s.normed, &dense.experts_post_norm, epsilon, &mut s.h)?;
            }
            let _op = op!("dense_sum", at, [rows, hidden]);
            return kernels.add(&mut s.h, out);
        }
        if let (Some(shared), Some(b), Some(SharedExpert { width, .. })) = (&self.shared, &mut b.shared, experts.shared)
        {
            let _op = op!("shared_expert", at, [rows, hidden, width]);
            let SharedWeights { part, gate } = shared;
            kernels.linear(&mut s.h, &part.gate, &mut b.gate)?;
            kernels.linear(&mut s.h, &part.up, &mut b.up)?;
            kernels.activate(activation, &mut b.gate, &b.up)?;
            match gate {
                None => kernels.linear(&mut b.gate, &part.down, &mut s.h)?,
                Some(gate) => {
                    // The projection is linear: scaling its input by the gate scales its output.
                    kernels.scale_by_gate(&mut b.gate, &s.h, gate)?;
                    kernels.linear(&mut b.gate, &part.down, &mut s.h)?;
                }
            }
            return kernels.add(&mut s.h, &s.normed);
        }
        std::mem::swap(&mut s.h, &mut s.normed);
        Ok(())
    }
}

impl<M: Memory> GatedBuffers<M> {
    fn new(memory: &M, width: usize) -> Result<Self, EngineError> {
        Ok(Self { gate: memory.rows(width)?, up: memory.rows(width)? })
    }
}

impl<M: Memory> FeedForwardBuffers<M> {
    /// `discards`: whether the part of some layers is computed twice.
    pub(super) fn new(memory: &M, spec: &Spec, discards: bool) -> Result<Self, EngineError> {
        let (mut dense, mut experts): (Vec<(usize, GatedBuffers<M>)>, Option<&Experts>) = (Vec::new(), None);
        for (at, layer) in spec.layers.iter().enumerate() {
            // Buffers are shared by all layers.
            let is_like_others = match &layer.feed_forward {
                FeedForward::Dense(gated) => {
                    if !dense.iter().any(|(width, _)| *width == gated.width) {
                        dense.push((gated.width, GatedBuffers::new(memory, gated.width)?));
                    }
                    true
                }
                FeedForward::Experts(other) => {
                    let first = experts.get_or_insert(other);
                    let shared = |experts: &Experts| (experts.shared.map(|shared| shared.width), experts.dense_width);
                    (first.count, first.used, first.expert.width, shared(first))
                        == (other.count, other.used, other.expert.width, shared(other))
                }
            };
            if !is_like_others {
                let what = format!("experts of different numbers or widths (layer {at} differs from those before)");
                return Err(EngineError::unsupported(NAME, what, "use another engine, such as llama-cpp"));
            }
        }
        if discards && experts.is_some() {
            let what = "the setting `extra_mlp` with a mixture of experts";
            return Err(EngineError::unsupported(NAME, what, "leave it out, or take a dense model"));
        }
        let of_experts = |experts: &Experts| -> Result<ExpertBuffers<M>, EngineError> {
            let width = experts.expert.width;
            Ok(ExpertBuffers {
                scores: memory.rows(experts.count)?,
                gate: memory.pair_rows(experts.used, width)?,
                up: memory.pair_rows(experts.used, width)?,
                out: memory.pair_rows(experts.used, spec.hidden)?,
                routing: Routing::default(),
                shared: experts.shared.map(|shared| GatedBuffers::new(memory, shared.width)).transpose()?,
                dense: match experts.dense_width {
                    Some(width) => Some((GatedBuffers::new(memory, width)?, memory.rows(spec.hidden)?)),
                    None => None,
                },
            })
        };
        Ok(Self {
            dense,
            experts: experts.map(of_experts).transpose()?,
            discarded: discards.then(|| memory.rows(spec.hidden)).transpose()?,
        })
    }
}

/// Marks the activation.
fn activation_op(activation: Activation, at: usize, [rows, width]: [usize; 2]) -> OpGuard {
    match activation {
        Activation::Silu => op!("silu_mul", at, [rows, width]),
        Activation::GeluTanh => op!("gelu_mul", at, [rows, width]),
        Activation::ClampedSwiglu => op!("clamped_swiglu", at, [rows, width]),
    }
}
