//! The families of tokenizers.

/// How the tokenizer of a model splits and merges text. Vocabularies of one family differ in their tokens alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenizerFamily {
    /// SentencePiece: pieces with scores, spaces as U+2581.
    SentencePiece,
    /// BPE of plain text: spaces as U+2581, merges within lines, bytes for characters without a token. Gemma 4 has it.
    PlainBpe,
    /// Byte-level BPE with the pre-tokenizer of this name, as GGUF files have it in `tokenizer.ggml.pre`.
    ByteLevelBpe(&'static str),
}

impl Default for TokenizerFamily {
    /// The one of SmolLM2, GPT-2's with single digits, for a shape whose tokenizer is not known.
    fn default() -> Self {
        Self::ByteLevelBpe("smollm")
    }
}
