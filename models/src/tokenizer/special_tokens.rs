//! Special tokens: finding them in a text, and which of them end a generation.
//!
//! Both follow llama.cpp (`tokenizer_st_partition` and `llama_vocab::impl::load` in src/llama-vocab.cpp), so that a text has the same
//! ids and a generation ends at the same token.

use std::collections::{BTreeSet, HashMap};

use super::vocabulary::{SpecialIds, TokenKind};

/// Texts of tokens that end a generation, independent of the file's keys.
const END_TEXTS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Texts of the fill-in-the-middle tokens, in the order of [`SpecialIds::fim`]; the first one found becomes a control token.
const FIM_TEXTS: [&[&str]; 6] = [
    &[
        "<|fim_prefix|>",
        "<fim-prefix>",
        "<fim_prefix>",
        "<｜fim▁begin｜>",
        "<PRE>",
        "▁<PRE>",
        "<|code_prefix|>",
        "<|prefix|>",
    ],
    &[
        "<|fim_suffix|>",
        "<fim-suffix>",
        "<fim_suffix>",
        "<｜fim▁hole｜>",
        "<SUF>",
        "▁<SUF>",
        "<|code_suffix|>",
        "<|suffix|>",
    ],
    &[
        "<|fim_middle|>",
        "<fim-middle>",
        "<fim_middle>",
        "<｜fim▁end｜>",
        "<MID>",
        "▁<MID>",
        "<|code_middle|>",
        "<|middle|>",
    ],
    &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"],
    &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"],
    &["<|file_sep|>"],
];

/// The tokens that end a generation, sorted. Tokens that are found by their text become control tokens, whatever their type in the
/// file.
pub(super) fn end_of_generation(tokens: &[String], kinds: &mut [TokenKind], ids: &SpecialIds) -> Vec<u32> {
    let by_text: HashMap<&str, u32> = tokens.iter().map(String::as_str).zip(0..).collect();
    let mut ends: BTreeSet<u32> = BTreeSet::new();
    for (place, texts) in FIM_TEXTS.iter().enumerate() {
        let id = ids.fim[place].or_else(|| {
            let found = texts.iter().find_map(|text| by_text.get(text).copied());
            found.inspect(|id| kinds[*id as usize] = TokenKind::Control)
        });
        // Padding, repository and file separator end a generation; prefix, suffix and middle do not.
        ends.extend(id.filter(|_| place >= 3));
    }
    for id in END_TEXTS.iter().filter_map(|text| by_text.get(text).copied()) {
        kinds[id as usize] = TokenKind::Control;
        ends.insert(id);
    }
    ends.extend([ids.eos, ids.eot, ids.eom].into_iter().flatten());
    ends.into_iter().collect()
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fragment<'a> {
    /// Ordinary text, not empty.
    Text(&'a str),
    /// A special token.
    Token(u32),
}

/// The special tokens of a vocabulary.
#[derive(Debug)]
pub(super) struct SpecialTokens {
    /// Text, id, and whether the token is user-defined; sorted by descending length, then by id.
    tokens: Vec<(Box<str>, u32, bool)>,
}

impl SpecialTokens {
    pub(super) fn new(texts: &[String], kinds: &[TokenKind]) -> Self {
        let mut tokens: Vec<_> = (0u32..)
            .zip(texts.iter().zip(kinds))
            .filter(|(_, (_, kind))| matches!(kind, TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown))
            .map(|(id, (text, kind))| (text.as_str().into(), id, *kind == TokenKind::UserDefined))
            .collect();
        tokens.sort_by_key(|(text, id, _): &(Box<str>, u32, bool)| (usize::MAX - text.len(), *id));
        Self { tokens }
    }

    /// Splits a text at its special tokens: the longest first, each from left to right. User-defined tokens are always recognised,
    /// control and unknown tokens only if `parse` is set.
    pub(super) fn partition<'a>(&self, text: &'a str, parse: bool) -> Vec<Fragment<'a>> {
        let mut fragments = Vec::new();
        if !text.is_empty() {
            fragments.push(Fragment::Text(text));
        }
        for (token, id, _) in self.tokens.iter().filter(|(_, _, user_defined)| parse || *user_defined) {
            let holds = |fragment: &Fragment<'_>| matches!(fragment, Fragment::Text(text) if text.contains(&**token));
            if !fragments.iter().any(holds) {
                continue;
            }
            let mut split = Vec::with_capacity(fragments.len() + 2);
            for fragment in fragments {
                match fragment {
                    Fragment::Text(text) => {
                        for (index, part) in text.split(&**token).enumerate() {
                            if index > 0 {
                                split.push(Fragment::Token(*id));
                            }
                            if !part.is_empty() {
                                split.push(Fragment::Text(part));
                            }
                        }
                    }
                    Fragment::Token(_) => split.push(fragment),
                }
            }
            fragments = split;
        }
        fragments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn the_longest_token_is_found_first_and_control_tokens_only_when_parsed() {
        let texts = strings(&["<a>", "<a>b", "x", "U"]);
        let kinds = [TokenKind::Control, TokenKind::Control, TokenKind::Normal, TokenKind::UserDefined];
        let specials = SpecialTokens::new(&texts, &kinds);
        assert_eq!(
            specials.partition("x<a>b<a>U", true),
            [Fragment::Text("x"), Fragment::Token(1), Fragment::Token(0), Fragment::Token(3)]
        );
        assert_eq!(specials.partition("x<a>U", false), [Fragment::Text("x<a>"), Fragment::Token(3)]);
        assert_eq!(specials.partition("", true), []);
    }

    #[test]
    fn end_tokens_are_found_by_key_and_by_text_and_become_control() {
        let texts = strings(&["</s>", "a", "<|im_end|>", "<fim_prefix>", "<reponame>", "END"]);
        let mut kinds = vec![TokenKind::Normal; 6];
        let ids = SpecialIds { eos: Some(5), ..SpecialIds::default() };
        assert_eq!(end_of_generation(&texts, &mut kinds, &ids), [0, 2, 4, 5]);
        let control: Vec<_> = kinds.iter().map(|kind| *kind == TokenKind::Control).collect();
        assert_eq!(control, [true, false, true, true, true, false]);
    }
}
