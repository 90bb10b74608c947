//! Phi-3, Phi-3.5 and Phi-4-mini: Llama with q, k and v in one matrix, gate and up in another, and, for long contexts, LongRoPE on a part
//! of each head (arXiv:2404.14219, arXiv:2503.01743).

use super::architecture::Architecture;
use super::stored::{FUSED_QKV, Stored};
use crate::container::gguf::Value;
use crate::spec::Spec;

pub(super) const PHI3: Architecture = Architecture {
    stored: &[FUSED_QKV, Stored { file: "ffn_up", parts: &["ffn_gate", "ffn_up"] }],
    // llama.cpp does not apply the window, which the files state.
    from_gguf: |metadata, spec| Ok(with_window(spec, metadata.count("phi3.attention.sliding_window")?)),
    from_config: |config, spec| {
        let window = config.count("sliding_window")?;
        Ok(with_window(spec, window))
    },
    gguf_keys: |spec| {
        // 0 in files of models without a window, as llama.cpp's converter writes it.
        let window = spec.smallest_window().and_then(|window| u32::try_from(window).ok()).unwrap_or(0);
        vec![("attention.sliding_window".to_owned(), Value::U32(window))]
    },
    ..Architecture::plain("phi3", "Phi3ForCausalLM")
};

/// A window that is not smaller than the longest context, as in Phi-4-mini, hides nothing.
fn with_window(spec: Spec, window: Option<usize>) -> Spec {
    let window = window.filter(|window| (1..spec.context_length).contains(window));
    spec.with_window(window)
}
