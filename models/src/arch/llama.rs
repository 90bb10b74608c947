//! Llama: Llama 2, Llama 3.x, SmolLM2, and every GGUF file that says `llama` (Mistral's do).

use super::{Family, fields, keys};
use crate::spec::{Arch, RopeLayout};

pub(super) const FAMILY: Family = Family {
    gguf: Some("llama"),
    config: "llama",
    class: "LlamaForCausalLM",
    // The converter permutes the rows of q and k of this architecture, so that pairs lie side by side.
    from_gguf: |metadata, lookup| keys::read(metadata, lookup, Arch::Llama, RopeLayout::Interleaved),
    from_config: |config| {
        let mut spec = fields::read(config, Arch::Llama)?;
        spec.qkv_bias = config.flag("attention_bias")?.unwrap_or(false);
        Ok(spec)
    },
};
