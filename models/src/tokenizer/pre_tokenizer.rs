//! Pre-tokenizers of byte-level BPE: splitting a text into words before merging.
//!
//! A GGUF names its pre-tokenizer in `tokenizer.ggml.pre`; the expressions are those that llama.cpp uses for the name
//! (src/llama-vocab.cpp there), written for a Unicode regex engine. They are applied in order, each to all pieces that the previous
//! one produced; text between matches becomes a piece too.

use std::path::Path;

use crate::error::{Error, Mismatch};

/// One kind of pre-tokenizer.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    /// The names that GGUF files give it.
    pub(super) names: &'static [&'static str],
    /// Expressions, applied in order.
    pub(super) expressions: &'static [&'static str],
    /// A word that is a token is encoded as that token, independent of the merges.
    pub(super) ignore_merges: bool,
    /// Whether BOS is added, unless the file sets it.
    pub(super) add_bos: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// All supported pre-tokenizers.
pub(super) const PRE_TOKENIZERS: &[PreTokenizer] = &[
    PreTokenizer {
        names: &["default"],
        expressions: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer { names: &["gpt-2"], expressions: &[GPT2], ignore_merges: false, add_bos: false },
    PreTokenizer {
        names: &["llama-bpe", "llama-v3", "llama3", "lfm2"],
        expressions: &[LLAMA3],
        ignore_merges: true,
        add_bos: true,
    },
    PreTokenizer { names: &["qwen2", "deepseek-r1-qwen"], expressions: &[QWEN2], ignore_merges: false, add_bos: false },
    PreTokenizer {
        names: &["smollm", "starcoder", "refact"],
        expressions: &[r"\p{N}", GPT2],
        ignore_merges: false,
        add_bos: false,
    },
];

/// The pre-tokenizer that a file names; `default` if it names none.
pub(super) fn find(file: &Path, name: Option<&str>) -> Result<&'static PreTokenizer, Error> {
    let name = name.unwrap_or("default");
    PRE_TOKENIZERS.iter().find(|pre| pre.names.contains(&name)).ok_or_else(|| {
        let known: Vec<_> = PRE_TOKENIZERS.iter().flat_map(|pre| pre.names).map(|name| format!("`{name}`")).collect();
        Error::Tokenizer(Mismatch::at(
            file,
            "tokenizer.ggml.pre",
            format!("one of {}", known.join(", ")),
            format!("`{name}`"),
            "take a model with one of these pre-tokenizers, or its Hugging Face folder with a tokenizer.json",
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_expressions_compile() {
        let mut names: Vec<_> = PRE_TOKENIZERS.iter().flat_map(|pre| pre.names).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for expression in PRE_TOKENIZERS.iter().flat_map(|pre| pre.expressions) {
            assert!(tokenizers::utils::SysRegex::new(expression).is_ok(), "{expression}");
        }
    }

    #[test]
    fn the_error_of_an_unknown_name_lists_the_known_ones() {
        let error = find("m.gguf".as_ref(), Some("tekken")).unwrap_err().to_string();
        assert!(error.contains("found `tekken`") && error.contains("`llama-bpe`"), "{error}");
        assert!(find("m.gguf".as_ref(), None).unwrap().names.contains(&"default"));
    }
}
