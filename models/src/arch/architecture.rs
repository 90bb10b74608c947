//! [`Architecture`]: what distinguishes one architecture from the plain decoder.

use super::stored::Stored;
use crate::container::gguf::{KeyValues, Metadata};
use crate::container::json::Object;
use crate::error::Error;
use crate::spec::{Activation, RopeLayout, Spec};

/// How one architecture is recognised and read. The keys and fields that all architectures share are read by `gguf_keys` and `config`;
/// `from_gguf` and `from_config` add what is its own to that plain shape, in which all layers are equal.
pub(super) struct Architecture {
    /// Its name in shapes.
    pub(super) arch: &'static str,
    /// `general.architecture` of its GGUF files.
    pub(super) gguf: Option<&'static str>,
    /// `model_type` of its config.json.
    pub(super) model_type: &'static str,
    /// The class in `architectures` of its config.json.
    pub(super) class: &'static str,
    /// The class in `architectures` of models that have it as their text part, beside parts for pictures or sound. The fields of the text
    /// part are in `text_config`.
    pub(super) with_media: Option<&'static str>,
    /// The pairs of rotated elements in its GGUF files.
    pub(super) gguf_layout: RopeLayout,
    /// The activation of its feed-forward part.
    pub(super) activation: Activation,
    /// Whether its feed-forward parts are mixtures of experts, which `from_gguf` and `from_config` then read.
    pub(super) has_experts: bool,
    /// Whether some of its layers have another token mixer than attention, which `from_gguf` and `from_config` then read. Its GGUF files
    /// may state 0 key-value heads for them.
    pub(super) has_other_mixers: bool,
    /// Whether its layers may differ in widths, key-value heads and weights, which `from_gguf` then reads: its GGUF files may state an array
    /// of one number per layer.
    pub(super) has_different_layers: bool,
    /// Whether its attention is latent: its files then state the widths of the row of the cache, or of the rotated part of a head, where
    /// others state those of a head.
    pub(super) has_latent_attention: bool,
    /// What its GGUF files store otherwise than the description lists it.
    pub(super) stored: &'static [Stored],
    /// The default of `tie_word_embeddings` in transformers.
    pub(super) tied_by_default: bool,
    /// The shape from a GGUF header.
    pub(super) from_gguf: fn(&Metadata, Spec) -> Result<Spec, Error>,
    /// The shape from a config.json.
    pub(super) from_config: fn(&Object<'_>, Spec) -> Result<Spec, Error>,
    /// Further keys of its GGUF files, without the prefix. They replace those that all architectures have.
    pub(super) gguf_keys: fn(&Spec) -> KeyValues,
}

impl Architecture {
    /// An architecture without anything of its own.
    pub(super) const fn plain(name: &'static str, class: &'static str) -> Self {
        Self {
            arch: name,
            gguf: Some(name),
            model_type: name,
            class,
            with_media: None,
            gguf_layout: RopeLayout::Halves,
            activation: Activation::Silu,
            has_experts: false,
            has_other_mixers: false,
            has_different_layers: false,
            has_latent_attention: false,
            stored: &[],
            tied_by_default: false,
            from_gguf: |_, spec| Ok(spec),
            from_config: |_, spec| Ok(spec),
            gguf_keys: |_| KeyValues::new(),
        }
    }
}
