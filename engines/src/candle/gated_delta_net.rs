//! The gated delta net of a layer, with the states of its convolution and of its heads.

use models::{Activation, DeltaLayout, GatedDeltaNet, Mixer, Spec};
use traces::op;

use super::NAME;
use super::kernels::{Delta, Kernels, Linear, Memory};
use super::recurrent::Recurrent;
use super::source::Source;
use super::stream::{Place, Stream};
use crate::EngineError;

/// The weights of a gated delta net in one layer, and its states.
pub(super) struct GatedDeltaNetPart<K: Kernels> {
    net: GatedDeltaNet,
    qkv: Linear<K>,    // [2 * key_heads * head_dim + value_heads * head_dim, hidden]
    gate: Linear<K>,   // [value_heads * head_dim, hidden]
    beta: Linear<K>,   // [value_heads, hidden]
    alpha: Linear<K>,  // [value_heads, hidden], with dt as its bias
    decays: K::Vector, // [value_heads], negative
    kernel: K::Kernel, // [kernel, channels]
    norm: K::Vector,   // [head_dim]
    out: Linear<K>,    // [hidden, value_heads * head_dim]
    /// The last inputs of the convolution, `[kernel - 1, channels]`.
    inputs: Recurrent<K>,
    /// `[value_heads * head_dim, head_dim]`: rows belong to values.
    heads: Recurrent<K>,
}

/// Buffers of gated delta nets, shared by all layers.
pub(super) struct GatedDeltaNetBuffers<M: Memory> {
    qkv: M::Rows,       // [rows, channels]
    gate: M::Rows,      // [rows, value_heads * head_dim]
    beta: M::Rows,      // [rows, value_heads]
    alpha: M::Rows,     // [rows, value_heads]
    window: M::Rows,    // [kernel - 1 + rows, channels]
    convolved: M::Rows, // [rows, channels]
    output: M::Rows,    // [rows, value_heads * head_dim]
}

impl<K: Kernels> GatedDeltaNetPart<K> {
    /// Takes the weights of layer `at` and reserves its states.
    pub(super) fn load(source: &Source<'_, K>, at: usize, net: GatedDeltaNet) -> Result<Self, EngineError> {
        let (hidden, heads) = (source.spec()?.hidden, net.value_heads);
        let name = |part: &str| format!("blk.{at}.{part}");
        let alpha = Linear {
            weight: source.matrix(&name("ssm_alpha.weight"), heads, hidden)?,
            bias: Some(source.vector(&name("ssm_dt.bias"), heads)?),
        };
        let negative: fn(f32) -> f32 = match net.layout {
            DeltaLayout::Grouped => |logarithm| -logarithm.exp(),
            DeltaLayout::Alternating => |decay| decay,
        };
        Ok(Self {
            net,
            qkv: source.linear(&name("attn_qkv"), net.channels(), hidden, false)?,
            gate: source.linear(&name("attn_gate"), net.value_width(), hidden, false)?,
            beta: source.linear(&name("ssm_beta"), heads, hidden, false)?,
            alpha,
            decays: source.changed_vector(&name("ssm_a"), heads, negative)?,
            kernel: source.kernel(&name("ssm_conv1d.weight"), net.channels(), net.kernel)?,
            // Stored as it is, also where other norms have an offset.
            norm: source.vector(&name("ssm_norm.weight"), net.head_dim)?,
            out: source.linear(&name("ssm_out"), hidden, net.value_width(), false)?,
            inputs: Recurrent::new(source.kernels, net.kernel.saturating_sub(1), net.channels())?,
            heads: Recurrent::new(source.kernels, net.value_width(), net.head_dim)?,
        })
    }

    /// The output of the delta net to `s.h`, in `s.h`.
    pub(super) fn run(
        &mut self,
        kernels: &mut K,
        place: Place,
        s: &mut Stream<K>,
        b: &mut GatedDeltaNetBuffers<K>,
    ) -> Result<(), EngineError> {
        let Place { at, rows, hidden, epsilon, .. } = place;
        let (channels, values, heads) = (self.net.channels(), self.net.value_width(), self.net.value_heads);
        {
            let _op = op!("delta_qkv_proj", at, [rows, hidden, channels]);
            kernels.linear(&mut s.h, &self.qkv, &mut b.qkv)?;
        }
        {
            let _op = op!("delta_gate_proj", at, [rows, hidden, values]);
            kernels.linear(&mut s.h, &self.gate, &mut b.gate)?;
        }
        {
            let _op = op!("beta_proj", at, [rows, hidden, heads]);
            kernels.linear(&mut s.h, &self.beta, &mut b.beta)?;
            kernels.sigmoid(&mut b.beta)?;
        }
        {
            let _op = op!("decay_proj", at, [rows, hidden, heads]);
            kernels.linear(&mut s.h, &self.alpha, &mut b.alpha)?;
            kernels.decay(&mut b.alpha, &self.decays)?;
        }
        {
            let _op = op!("state_update", at, [rows, channels]);
            let state = self.inputs.before(kernels, place)?;
            kernels.extend(&b.qkv, state, &mut b.window)?;
        }
        {
            let _op = op!("convolution", at, [rows, channels]);
            kernels.convolve(&b.window, &self.kernel, &mut b.convolved)?;
            kernels.silu(&mut b.convolved)?;
        }
        {
            let _op = op!("delta_rule", at, [rows, values]);
            let state = self.heads.before(kernels, place)?;
            let delta = Delta { qkv: &mut b.convolved, decays: &b.alpha, rates: &b.beta, epsilon };
            kernels.delta_rule(&self.net, delta, state, &mut b.output)?;
        }
        {
            let _op = op!("delta_norm", at, [rows, values]);
            kernels.norm_heads(&mut b.output, &self.norm, epsilon)?;
            kernels.activate(Activation::Silu, &mut b.gate, &b.output)?;
        }
        let _op = op!("delta_out_proj", at, [rows, values, hidden]);
        kernels.linear(&mut b.gate, &self.out, &mut s.h)
    }
}

impl<M: Memory> GatedDeltaNetBuffers<M> {
    /// Buffers for the delta nets of all layers; `None` of a model without them.
    pub(super) fn new(memory: &M, spec: &Spec) -> Result<Option<Self>, EngineError> {
        let of_layers = || {
            spec.layers.iter().enumerate().filter_map(|(at, layer)| match &layer.mixer {
                Mixer::GatedDeltaNet(net) => Some((at, *net)),
                Mixer::Attention(_) | Mixer::LatentAttention(_) | Mixer::ShortConvolution(_) => None,
            })
        };
        let Some((first, net)) = of_layers().next() else { return Ok(None) };
        // Buffers are shared by all layers.
        if let Some((other, _)) = of_layers().find(|(_, other)| *other != net) {
            let what = format!("gated delta nets of different widths (layer {other} differs from layer {first})");
            return Err(EngineError::unsupported(NAME, what, "use another engine, such as llama-cpp"));
        }
        Ok(Some(Self {
            qkv: memory.rows(net.channels())?,
            gate: memory.rows(net.value_width())?,
            beta: memory.rows(net.value_heads)?,
            alpha: memory.rows(net.value_heads)?,
            window: memory.window_rows(net.kernel.saturating_sub(1), net.channels())?,
            convolved: memory.rows(net.channels())?,
            output: memory.rows(net.value_width())?,
        }))
    }
}
