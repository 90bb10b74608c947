//! Mistral 7B: Llama with a sliding window in v0.1. Its GGUF files say `llama` and do not carry the window, which then comes from
//! the registry ([`crate::Checkpoint::with_window`]).

use super::{Family, fields};
use crate::spec::Arch;

pub(super) const FAMILY: Family = Family {
    gguf: None,
    config: "mistral",
    class: "MistralForCausalLM",
    // Never reached: no GGUF file names this architecture.
    from_gguf: |metadata, _| Err(metadata.fault("general.architecture", "llama", "mistral")),
    from_config: |config| {
        let window = config.count("sliding_window")?.filter(|window| *window > 0);
        fields::read(config, Arch::Mistral).map(|spec| spec.with_window(window))
    },
};
