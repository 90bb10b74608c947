//! Mistral 7B: Llama with a sliding window in v0.1. Its GGUF files say `llama` and lack the window, which then comes from the registry
//! ([`crate::Checkpoint::with_window`]).

use super::architecture::Architecture;
use crate::container::gguf::Value;

pub(super) const MISTRAL: Architecture = Architecture {
    gguf: None,
    from_config: |config, spec| {
        let window = config.count("sliding_window")?.filter(|window| *window > 0);
        Ok(spec.with_window(window))
    },
    gguf_keys: |spec| {
        // A window beyond the range of the type is as good as none: contexts are shorter.
        let number = |window: usize| Value::U32(u32::try_from(window).unwrap_or(u32::MAX));
        let window = spec.smallest_window();
        window.map(|window| ("attention.sliding_window".to_owned(), number(window))).into_iter().collect()
    },
    ..Architecture::plain("mistral", "MistralForCausalLM")
};
