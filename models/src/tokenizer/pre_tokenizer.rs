//! Pre-tokenizers of byte-level BPE: splitting a text into words before merging.
//!
//! A GGUF names its pre-tokenizer in `tokenizer.ggml.pre`; the expressions split as llama.cpp does for the name (src/llama-vocab.cpp and
//! src/unicode.cpp there), written for a Unicode regex engine. They are applied in order, each to all pieces that the previous one
//! produced; text between matches becomes a piece too. Where llama.cpp differs from the model's tokenizer.json (it has one class for
//! letters of any case outside ASCII), llama.cpp is followed.

use std::path::Path;

use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{Error as TokenizersError, SplitDelimiterBehavior};

use crate::error::{Error, Mismatch};

/// One kind of pre-tokenizer.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    /// The names that GGUF files give it.
    pub(super) names: &'static [&'static str],
    /// Expressions, applied in order.
    expressions: &'static [&'static str],
    /// A word that is a token is encoded as that token, independent of the merges.
    pub(super) ignore_merges: bool,
    /// Whether BOS is added, unless the file sets it.
    pub(super) add_bos: bool,
}

impl PreTokenizer {
    /// One that neither ignores merges nor adds BOS.
    const fn new(names: &'static [&'static str], expressions: &'static [&'static str]) -> Self {
        Self { names, expressions, ignore_merges: false, add_bos: false }
    }

    const fn ignoring_merges(self) -> Self {
        Self { ignore_merges: true, ..self }
    }

    const fn adding_bos(self) -> Self {
        Self { add_bos: true, ..self }
    }

    /// The steps that split a text, in order.
    pub(super) fn steps(&self) -> impl Iterator<Item = Result<Split, TokenizersError>> {
        let isolated = |expression: &&str| {
            Split::new(SplitPattern::Regex((*expression).to_owned()), SplitDelimiterBehavior::Isolated, false)
        };
        self.expressions.iter().map(isolated)
    }
}

/// English contractions in any case.
macro_rules! contraction {
    () => {
        "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
    };
}

/// A word of letters with at most one other character before it.
macro_rules! word {
    () => {
        r"[^\r\n\p{L}\p{N}]?\p{L}+"
    };
}

/// Other characters with the line ends after them.
macro_rules! symbols {
    () => {
        r" ?[^\s\p{L}\p{N}]+[\r\n]*"
    };
}

/// Other characters with the line ends and slashes after them.
macro_rules! symbols_and_slashes {
    () => {
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
    };
}

/// White space: up to the last line end; up to the last character before a word; all.
macro_rules! space {
    () => {
        r"\s*[\r\n]+|\s+(?!\S)|\s+"
    };
}

/// A word whose small letters follow its capital letters; outside ASCII, all letters count as both.
macro_rules! cased_word {
    ($suffix:expr) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{L}--a-z]*[\p{L}--A-Z]+",
            $suffix,
            r"|[^\r\n\p{L}\p{N}]?[\p{L}--a-z]+[\p{L}--A-Z]*",
            $suffix
        )
    };
}

/// Digits in groups of three from the right, the first with the text before it.
const DIGITS_FROM_RIGHT: &str = r"\P{N}*\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))";
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = concat!(contraction!(), "|", word!(), r"|\p{N}{1,3}|", symbols!(), "|", space!());
const QWEN2: &str = concat!(contraction!(), "|", word!(), r"|\p{N}|", symbols!(), "|", space!());
const QWEN35: &str =
    concat!(contraction!(), r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|", space!());
const GPT_4O: &str =
    concat!(cased_word!(concat!(contraction!(), "?")), r"|\p{N}{1,3}|", symbols_and_slashes!(), "|", space!());
const TEKKEN: &str = concat!(cased_word!(""), r"|\p{N}|", symbols_and_slashes!(), "|", space!());
/// Words of letters and marks.
const MARKED_WORDS: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
    contraction!(),
    r"?|\p{N}{1,3}|",
    symbols_and_slashes!(),
    "|",
    space!()
);
/// Words, punctuation and white space after numbers and Chinese and Japanese characters were split off.
const DEEPSEEK_V3: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"##,
    space!()
);
/// Chinese and Japanese characters.
const CJK: &str = "[一-龥぀-ゟ゠-ヿ]+";
/// Chinese, Korean and other characters without white space, which llama.cpp replaces before it matches.
const CJK_AND_OTHERS: &str = r"[[一-龥ࠀ-一가-퟿]--\s]+";
/// Characters of Asian scripts.
const ASIAN: &str = "[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+";
/// Letters of alphabets that have cases.
const CASED_LETTERS: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
/// Punctuation in ASCII (with the letters between), of full width, and of Chinese.
const CHINESE_PUNCTUATION: &str = r"\s?[!-/:-~！-／：-～‘-‟、-。]+";
const NOT_PUNCTUATION: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";

/// All supported pre-tokenizers.
pub(super) const PRE_TOKENIZERS: &[PreTokenizer] = &[
    PreTokenizer::new(&["default"], &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
    PreTokenizer::new(&["falcon"], &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"]),
    PreTokenizer::new(
        &[
            "gpt-2",
            "a.x-4.0",
            "exaone4",
            "gigachat",
            "granite-docling",
            "jais",
            "mellum",
            "modern-bert",
            "mpt",
            "olmo",
            "phi-2",
            "trillion",
        ],
        &[GPT2],
    ),
    PreTokenizer::new(
        &["smollm", "codeshell", "command-r", "exaone", "minerva-7b", "refact", "starcoder"],
        &[r"\p{N}", GPT2],
    ),
    PreTokenizer::new(
        &["llama-bpe", "falcon-h1", "falcon3", "lfm2", "llama-v3", "llama3", "midm-2.0", "pixtral"],
        &[LLAMA3],
    )
    .ignoring_merges()
    .adding_bos(),
    PreTokenizer::new(&["glm4"], &[LLAMA3]).ignoring_merges(),
    PreTokenizer::new(&["smaug-bpe", "chatglm-bpe", "dbrx"], &[LLAMA3]),
    PreTokenizer::new(
        &["qwen2", "deepseek-r1-qwen", "grok-2", "hunyuan", "kormo", "megrez", "solar-open", "stablelm2"],
        &[QWEN2],
    ),
    PreTokenizer::new(&["qwen35"], &[QWEN35]),
    PreTokenizer::new(&["gpt-4o", "kanana2", "llama4", "minimax-m2"], &[GPT_4O]),
    PreTokenizer::new(&["tekken"], &[TEKKEN]).ignoring_merges().adding_bos(),
    PreTokenizer::new(
        &["deepseek-llm"],
        &[r"[\r\n]", CASED_LETTERS, CHINESE_PUNCTUATION, r"\s+$", CJK_AND_OTHERS, r"\p{N}+"],
    ),
    PreTokenizer::new(&["deepseek-coder"], &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK_AND_OTHERS, r"\p{N}"]),
    PreTokenizer::new(&["deepseek-v3", "hunyuan-dense", "joyai-llm"], &[r"\p{N}{1,3}", CJK, DEEPSEEK_V3]),
    PreTokenizer::new(&["afmoe"], &[DIGITS_FROM_RIGHT, ASIAN, DEEPSEEK_V3]),
    PreTokenizer::new(&["tiny_aya"], &[DIGITS_FROM_RIGHT, MARKED_WORDS]),
    PreTokenizer::new(
        &["youtu"],
        &[
            "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
            concat!(
                r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
                contraction!(),
                r"?|\p{N}|",
                symbols_and_slashes!(),
                "|",
                space!()
            ),
        ],
    )
    .ignoring_merges(),
    PreTokenizer::new(
        &["bailingmoe", "bailingmoe2", "llada-moe"],
        &[concat!(
            "'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|",
            word!(),
            r"|\p{N}|",
            symbols!(),
            r"|\s*[\r\n]|\s+(?!\S)|\s+"
        )],
    ),
    PreTokenizer::new(
        &["seed-coder"],
        &[concat!(contraction!(), "|", word!(), r"|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|", space!())],
    ),
    PreTokenizer::new(
        &["exaone-moe"],
        &[concat!(
            contraction!(),
            r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
        )],
    ),
    PreTokenizer::new(
        &["jais-2"],
        &[concat!(
            contraction!(),
            "|",
            word!(),
            r"|\p{N}{1,3}|",
            symbols!(),
            r"|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s"
        )],
    ),
    PreTokenizer::new(&["bloom", "gpt3-finnish", "poro-chat"], &[NOT_PUNCTUATION]),
    PreTokenizer::new(&["viking"], &[NOT_PUNCTUATION, r"\p{N}"]),
    PreTokenizer::new(
        &["chameleon"],
        &["<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", r"[\t\n]|    |  ", r"\p{N}", r"[\p{P}!-/:-@\[-`{-~]", GPT2],
    )
    .adding_bos(),
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
    use std::collections::HashMap;

    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

    use super::*;

    /// Words of the texts, for pre-tokenizers of these names.
    #[derive(serde::Deserialize)]
    struct Group {
        names: Vec<String>,
        words: Vec<Vec<String>>,
    }

    #[derive(serde::Deserialize)]
    struct Oracle {
        texts: Vec<String>,
        groups: Vec<Group>,
    }

    fn words(pre: &PreTokenizer, text: &str) -> Vec<String> {
        let mut pieces = PreTokenizedString::from(text);
        for step in pre.steps() {
            step.unwrap().pre_tokenize(&mut pieces).unwrap();
        }
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(word, ..)| word.to_owned()).collect()
    }

    /// The words that llama.cpp makes of texts in several scripts, of numbers, contractions, white space, line ends and emoji.
    #[test]
    fn words_are_those_of_llama_cpp() {
        let oracle = include_str!("../../tests/fixtures/pre_tokenizers.json");
        let Oracle { texts, groups } = serde_json::from_str(oracle).unwrap();
        assert!(texts.len() >= 100);
        let of: HashMap<&str, &Group> =
            groups.iter().flat_map(|group| group.names.iter().map(move |name| (name.as_str(), group))).collect();
        let mut wrong = Vec::new();
        for pre in PRE_TOKENIZERS {
            for name in pre.names {
                assert_eq!(of[name].words.len(), texts.len());
            }
            for (text, expected) in texts.iter().zip(&of[pre.names[0]].words) {
                let got = words(pre, text);
                if got != *expected {
                    wrong.push(format!("{}: {text:?}\n  {got:?}\n  {expected:?} expected", pre.names[0]));
                }
            }
            for name in &pre.names[1..] {
                assert!(std::ptr::eq(of[name], of[pre.names[0]]), "{name} splits otherwise than {}", pre.names[0]);
            }
        }
        assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
    }

    #[test]
    fn names_are_unique_and_expressions_compile() {
        let mut names: Vec<_> = PRE_TOKENIZERS.iter().flat_map(|pre| pre.names).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for pre in PRE_TOKENIZERS {
            assert!(pre.steps().all(|step| step.is_ok()), "{:?}", pre.names);
        }
    }

    #[test]
    fn the_error_of_an_unknown_name_lists_the_known_ones() {
        let error = find("m.gguf".as_ref(), Some("whitespace")).unwrap_err().to_string();
        assert!(error.contains("found `whitespace`") && error.contains("`llama-bpe`"), "{error}");
        assert!(find("m.gguf".as_ref(), None).unwrap().names.contains(&"default"));
    }
}
