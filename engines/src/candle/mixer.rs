//! The token mixer of a layer, of any kind, with the norms around it and the residual.

use models::{Layer, Mixer, NormPlacement, Spec};
use traces::op;

use super::attention::{AttentionBuffers, AttentionPart, Rotations};
use super::failed;
use super::gated_delta_net::{GatedDeltaNetBuffers, GatedDeltaNetPart};
use super::kernels::{Kernels, Memory};
use super::latent_attention::{LatentAttentionBuffers, LatentAttentionPart};
use super::short_convolution::{ShortConvolutionBuffers, ShortConvolutionPart};
use super::source::Source;
use super::stream::{Place, Stream};
use crate::EngineError;

/// The weights of a token mixer, and what it keeps of the tokens before.
pub(super) struct MixerPart<K: Kernels> {
    norm: K::Vector, // [hidden]
    part: Part<K>,
    /// `[hidden]`
    post_norm: Option<K::Vector>,
}

enum Part<K: Kernels> {
    Attention(AttentionPart<K>),
    LatentAttention(LatentAttentionPart<K>),
    ShortConvolution(ShortConvolutionPart<K>),
    GatedDeltaNet(GatedDeltaNetPart<K>),
}

/// Buffers of the token mixers, shared by all layers; `None` of a kind that the model does not have.
pub(super) struct MixerBuffers<M: Memory> {
    attention: AttentionBuffers<M>,
    latent_attention: Option<LatentAttentionBuffers<M>>,
    short_convolution: Option<ShortConvolutionBuffers<M>>,
    gated_delta_net: Option<GatedDeltaNetBuffers<M>>,
}

impl<K: Kernels> MixerPart<K> {
    /// Takes the weights of layer `at` and reserves its cache or state.
    pub(super) fn load(
        source: &Source<'_, K>,
        at: usize,
        layer: &Layer,
        rotations: &Rotations<K>,
    ) -> Result<Self, EngineError> {
        let hidden = source.spec()?.hidden;
        let name = |part: &str| format!("blk.{at}.{part}");
        let has_post_norm = layer.norms == NormPlacement::BeforeAndAfter;
        Ok(Self {
            norm: source.norm(&name("attn_norm.weight"), hidden)?,
            part: match &layer.mixer {
                Mixer::Attention(attention) => Part::Attention(AttentionPart::load(source, at, attention, rotations)?),
                Mixer::LatentAttention(attention) => {
                    Part::LatentAttention(LatentAttentionPart::load(source, at, attention, rotations)?)
                }
                Mixer::ShortConvolution(convolution) => {
                    Part::ShortConvolution(ShortConvolutionPart::load(source, at, *convolution)?)
                }
                Mixer::GatedDeltaNet(net) => Part::GatedDeltaNet(GatedDeltaNetPart::load(source, at, *net)?),
            },
            post_norm: has_post_norm.then(|| source.norm(&name("post_attention_norm.weight"), hidden)).transpose()?,
        })
    }

    /// The keys and values that its attention keeps.
    pub(super) fn cache(&self) -> Option<&K::Cache> {
        match &self.part {
            Part::Attention(part) => part.cache(),
            Part::LatentAttention(_) | Part::ShortConvolution(_) | Part::GatedDeltaNet(_) => None,
        }
    }

    /// Adds the token mixer of a layer to the residual stream. `shared` is the cache of another layer, if it attends to that.
    pub(super) fn run(
        &mut self,
        kernels: &mut K,
        place: Place,
        shared: Option<&K::Cache>,
        rotations: &mut Rotations<K>,
        s: &mut Stream<K>,
        b: &mut MixerBuffers<K>,
    ) -> Result<(), EngineError> {
        let Place { at, rows, hidden, epsilon, .. } = place;
        {
            let _op = op!("attn_norm", at, [rows, hidden]);
            kernels.norm(&s.x, &self.norm, epsilon, &mut s.h)?;
        }
        match &mut self.part {
            Part::Attention(part) => part.run(kernels, place, shared, rotations, s, &mut b.attention)?,
            Part::LatentAttention(part) => {
                part.run(kernels, place, rotations, s, reserved(&mut b.latent_attention)?)?;
            }
            Part::ShortConvolution(part) => part.run(kernels, place, s, reserved(&mut b.short_convolution)?)?,
            Part::GatedDeltaNet(part) => part.run(kernels, place, s, reserved(&mut b.gated_delta_net)?)?,
        }
        if let Some(norm) = &self.post_norm {
            let _op = op!("attn_post_norm", at, [rows, hidden]);
            kernels.norm(&s.h, norm, epsilon, &mut s.normed)?;
        }
        let _op = op!("attn_residual", at, [rows, hidden]);
        kernels.add(&mut s.x, if self.post_norm.is_some() { &s.normed } else { &s.h })
    }
}

impl<M: Memory> MixerBuffers<M> {
    pub(super) fn new(memory: &M, spec: &Spec) -> Result<Self, EngineError> {
        Ok(Self {
            attention: AttentionBuffers::new(memory, spec)?,
            latent_attention: LatentAttentionBuffers::new(memory, spec)?,
            short_convolution: ShortConvolutionBuffers::new(memory, spec)?,
            gated_delta_net: GatedDeltaNetBuffers::new(memory, spec)?,
        })
    }
}

/// The buffers of a kind of mixer that a layer has.
fn reserved<B>(buffers: &mut Option<B>) -> Result<&mut B, EngineError> {
    buffers.as_mut().ok_or_else(|| failed("token mixer", "no buffers were reserved for its kind"))
}
