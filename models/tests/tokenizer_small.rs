//! Tokenizers of small vocabularies that the tests define.

#![allow(clippy::unwrap_used, reason = "helper functions of tests; only test functions themselves are exempt")]

use models::{EncodeOptions, SpecialIds, TokenKind, Tokenizer, TokenizerData};
use proptest::prelude::*;

const PLAIN: EncodeOptions = EncodeOptions { add_bos: false, parse_special: false };
const SPECIAL: EncodeOptions = EncodeOptions { add_bos: false, parse_special: true };

/// GPT-2's character for a byte.
fn letter(byte: u8) -> char {
    let code = match byte {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => u32::from(byte),
        0x00..=0x20 => 0x100 + u32::from(byte),
        0x7F..=0xA0 => 0x121 + u32::from(byte) - 0x7F,
        0xAD => 0x143,
    };
    char::from_u32(code).unwrap()
}

/// Every byte, five merges, three special tokens.
fn byte_level() -> TokenizerData {
    let mut tokens: Vec<String> = (0..=255).map(|byte| letter(byte).to_string()).collect();
    tokens.extend(["he", "ll", "hell", "Ġw", "hello", "<|bos|>", "<|im_end|>", "[USER]"].map(str::to_owned));
    let mut kinds = vec![TokenKind::Normal; tokens.len()];
    (kinds[261], kinds[262], kinds[263]) = (TokenKind::Control, TokenKind::Control, TokenKind::UserDefined);
    TokenizerData {
        file: "small.gguf".into(),
        model: "gpt2".to_owned(),
        pre: Some("qwen2".to_owned()),
        scores: vec![0.0; tokens.len()],
        kinds,
        tokens,
        merges: ["h e", "l l", "he ll", "Ġ w", "hell o"].map(str::to_owned).to_vec(),
        ids: SpecialIds { bos: Some(261), ..SpecialIds::default() },
        add_bos: None,
        add_space_prefix: None,
    }
}

/// The bytes, some letters, and tokens with different scores.
fn spm() -> TokenizerData {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    let mut kinds = vec![TokenKind::Unknown, TokenKind::Control, TokenKind::Control];
    for byte in 0..=255u8 {
        tokens.push(format!("<0x{byte:02X}>"));
        kinds.push(TokenKind::Byte);
    }
    let mut scores = vec![0.0; tokens.len()];
    for (token, score) in
        [("▁", -9.0), ("a", -9.0), ("b", -9.0), ("c", -9.0), ("ab", -2.0), ("bc", -1.0), ("▁a", -3.0), ("▁abc", -4.0)]
    {
        tokens.push(token.to_owned());
        kinds.push(TokenKind::Normal);
        scores.push(score);
    }
    TokenizerData {
        file: "small.gguf".into(),
        model: "llama".to_owned(),
        pre: None,
        tokens,
        scores,
        kinds,
        merges: Vec::new(),
        ids: SpecialIds::default(),
        add_bos: None,
        add_space_prefix: None,
    }
}

/// The texts of the ids.
fn pieces(tokenizer: &Tokenizer, text: &str, options: EncodeOptions) -> Vec<String> {
    let ids = tokenizer.encode(text, options).unwrap();
    ids.into_iter().map(|id| tokenizer.token_text(id).unwrap().to_owned()).collect()
}

#[test]
fn byte_level_merges_by_rank_within_words() {
    let tokenizer = Tokenizer::new(byte_level()).unwrap();
    assert_eq!(pieces(&tokenizer, "hello hell", PLAIN), ["hello", "Ġ", "hell"]);
    assert_eq!(pieces(&tokenizer, "whello", PLAIN), ["w", "hello"]);
    assert_eq!(pieces(&tokenizer, " wh", PLAIN), ["Ġw", "h"]);
    assert_eq!(pieces(&tokenizer, "é\n", PLAIN), ["Ã", "©", "Ċ"]);
}

#[test]
fn special_tokens_are_recognised_on_request_and_user_defined_ones_always() {
    let tokenizer = Tokenizer::new(byte_level()).unwrap();
    assert_eq!(pieces(&tokenizer, "[USER]hello<|im_end|>", SPECIAL), ["[USER]", "hello", "<|im_end|>"]);
    let plain = tokenizer.encode("[USER]hello<|im_end|>", PLAIN).unwrap();
    assert_eq!((plain[0], plain.contains(&262)), (263, false));
    assert_eq!(tokenizer.decode(&plain).unwrap(), "[USER]hello<|im_end|>");
    assert_eq!(tokenizer.decode(&[262, 104]).unwrap(), "h");
    assert_eq!(tokenizer.decode_with_special(&[262, 104]).unwrap(), "<|im_end|>h");
}

#[test]
fn bos_is_added_once() {
    let mut data = byte_level();
    data.add_bos = Some(true);
    let tokenizer = Tokenizer::new(data).unwrap();
    assert!(tokenizer.add_bos() && tokenizer.wants_bos("h") && !tokenizer.wants_bos("<|bos|>h"));
    for text in ["h", "<|bos|>h"] {
        let options = EncodeOptions { add_bos: tokenizer.wants_bos(text), parse_special: true };
        assert_eq!(tokenizer.encode(text, options).unwrap(), [261, 104]);
    }
    assert!(!Tokenizer::new(byte_level()).unwrap().wants_bos("h"), "qwen2 wants none");
    assert_eq!(tokenizer.end_of_generation(), [262]);
    assert!(tokenizer.ends_generation(262) && !tokenizer.ends_generation(261));
}

#[test]
fn sentencepiece_merges_by_score_not_by_length() {
    let tokenizer = Tokenizer::new(spm()).unwrap();
    // `bc` (-1) is merged before `ab` (-2) and `▁a` (-3), then `▁a`, then `▁abc`.
    assert_eq!(pieces(&tokenizer, "abc", PLAIN), ["▁abc"]);
    assert_eq!(pieces(&tokenizer, "ab", PLAIN), ["▁", "ab"]);
    assert_eq!(pieces(&tokenizer, "cab é", PLAIN), ["▁", "c", "ab", "▁", "<0xC3>", "<0xA9>"]);
}

#[test]
fn sentencepiece_adds_a_space_at_the_start_and_after_special_tokens() {
    let tokenizer = Tokenizer::new(spm()).unwrap();
    assert_eq!(pieces(&tokenizer, "a</s>a", SPECIAL), ["▁a", "</s>", "▁a"]);
    let options = EncodeOptions { add_bos: true, parse_special: true };
    assert_eq!(pieces(&tokenizer, "b</s></s>", options), ["<s>", "▁", "b", "</s>", "</s>"]);
    assert_eq!(tokenizer.decode(&tokenizer.encode("abc a", PLAIN).unwrap()).unwrap(), "abc a");
    let mut data = spm();
    data.add_space_prefix = Some(false);
    assert_eq!(pieces(&Tokenizer::new(data).unwrap(), "a", PLAIN), ["a"]);
}

#[test]
fn a_stream_returns_a_character_with_its_last_token() {
    let tokenizer = Tokenizer::new(byte_level()).unwrap();
    let ids = tokenizer.encode("a🦙b", PLAIN).unwrap();
    let mut stream = tokenizer.decode_stream();
    let texts: Vec<_> = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
    assert_eq!(texts, [Some("a".to_owned()), None, None, None, Some("🦙".to_owned()), Some("b".to_owned())]);
    assert_eq!(stream.flush(), None);
    stream.push(ids[1]).unwrap();
    assert_eq!(stream.flush().as_deref(), Some("\u{FFFD}"));
}

#[test]
fn tokens_end_where_their_last_character_does() {
    let tokenizer = Tokenizer::new(byte_level()).unwrap();
    let ends = |text: &str| tokenizer.token_ends(text).unwrap();
    // The four bytes of the llama are four tokens, and all arrive with its last one.
    assert_eq!(ends("a🦙b"), Some(vec![1, 5, 5, 5, 5, 6]));
    assert_eq!(ends("hello world").unwrap().last(), Some(&11));
    assert_eq!(ends("a<|im_end|>"), Some(vec![1, 11]), "a special token is one token, with its text");
    assert_eq!(ends(""), Some(vec![]));
    // The space that encoding adds has no bytes of the text.
    let sentencepiece = Tokenizer::new(spm()).unwrap();
    assert_eq!(sentencepiece.token_ends("b").unwrap(), Some(vec![1, 1]));
}

#[test]
fn errors_of_damaged_vocabularies_name_the_place() {
    type Damage = fn(&mut TokenizerData);
    let cases: &[(&str, Damage)] = &[
        ("unknown model", |data| data.model = "bert".to_owned()),
        ("unknown pre-tokenizer", |data| data.pre = Some("a-new-one".to_owned())),
        ("no merges", |data| data.merges.clear()),
        ("merge of one word", |data| data.merges[1] = "ll".to_owned()),
        ("merge of an unknown token", |data| data.merges[1] = "l zz".to_owned()),
        ("merge into an unknown token", |data| data.merges[1] = "h o".to_owned()),
        ("the same token twice", |data| data.tokens[9] = "he".to_owned()),
        ("too few types", |data| data.kinds.truncate(3)),
        ("score without a value", |data| data.scores[7] = f32::NAN),
        ("no tokens", |data| {
            data.tokens.clear();
            data.scores.clear();
            data.kinds.clear();
        }),
    ];
    let report: Vec<_> = cases
        .iter()
        .map(|(what, damage)| {
            let mut data = byte_level();
            damage(&mut data);
            format!("{what}\n  {}", Tokenizer::new(data).unwrap_err().with_advice())
        })
        .collect();
    insta::assert_snapshot!(report.join("\n"));
}

#[test]
fn encoding_and_decoding_errors() {
    let mut data = spm();
    data.tokens[3 + 0xC3] = "[gone]".to_owned();
    data.ids.bos = None;
    let tokenizer = Tokenizer::new(data).unwrap();
    insta::assert_snapshot!(tokenizer.encode("é", PLAIN).unwrap_err().with_advice(), @"tokenizer small.gguf: tokenizer.ggml.tokens: expected a byte token for characters without a token, found none for byte 0xC3; take another conversion of the model");
    insta::assert_snapshot!(tokenizer.decode(&[9999]).unwrap_err().with_advice(), @"tokenizer small.gguf: the ids to decode: expected an id below 267, found 9999; check that the ids come from this model");
    let mut data = byte_level();
    data.ids.bos = None;
    let options = EncodeOptions { add_bos: true, parse_special: false };
    let tokenizer = Tokenizer::new(data).unwrap();
    insta::assert_snapshot!(tokenizer.encode("h", options).unwrap_err().with_advice(), @"tokenizer small.gguf: BOS: expected a vocabulary with a BOS token, found none; encode without BOS");
    let blank = " ".repeat(600_000);
    insta::assert_snapshot!(tokenizer.encode(&blank, PLAIN).unwrap_err().with_advice(), @"tokenizer small.gguf: the text to encode: expected at most 500000 characters of white space in a row, found 600000; shorten the run");
}

#[test]
fn half_a_million_spaces_are_encoded() {
    let tokenizer = Tokenizer::new(byte_level()).unwrap();
    let text = format!("{}hello 1", " ".repeat(499_999));
    let ids = tokenizer.encode(&text, PLAIN).unwrap();
    assert_eq!(ids[ids.len() - 3..], [260, 256 - 224, 0x31]);
    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
}

proptest! {
    #[test]
    fn byte_level_text_is_decoded_back(text in "\\PC*|[ \\r\\n\\t]*|(hello| w|<\\|im_end\\|>|\\[USER\\]|[0-9é🦙'])*") {
        let tokenizer = Tokenizer::new(byte_level()).unwrap();
        for options in [PLAIN, SPECIAL] {
            let ids = tokenizer.encode(&text, options).unwrap();
            prop_assert_eq!(tokenizer.decode_with_special(&ids).unwrap(), &*text);
        }
    }

    #[test]
    fn sentencepiece_text_is_decoded_back(text in "[ abc]*|\\PC*") {
        // U+2581 stands for a space and cannot be decoded as itself.
        prop_assume!(!text.contains('\u{2581}'));
        let tokenizer = Tokenizer::new(spm()).unwrap();
        let ids = tokenizer.encode(&text, PLAIN).unwrap();
        prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }

    #[test]
    fn random_vocabularies_are_refused_or_work(
        tokens in prop::collection::hash_set("[ab▁é]{1,3}|<0x[0-9A-F]{2}>|<s>|</s>", 1..20),
        kinds in prop::collection::vec(0..7usize, 20),
        scores in prop::collection::vec(prop_oneof![-9.0f32..0.0, Just(-0.0), Just(f32::NEG_INFINITY), Just(f32::INFINITY)], 20),
        pairs in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..8),
        llama in any::<bool>(),
        ids in prop::collection::vec(prop::option::of(0u32..30), 2),
        text in "[ab é]*(<s>)?[ab é]*",
    ) {
        use TokenKind::{Byte, Control, Normal, Undefined, Unknown, Unused, UserDefined};
        let tokens: Vec<String> = tokens.into_iter().collect();
        let n = tokens.len();
        let merges = pairs.iter().map(|(one, other)| format!("{} {}", one.get(&tokens), other.get(&tokens))).collect();
        let data = TokenizerData {
            file: "random.gguf".into(),
            model: if llama { "llama" } else { "gpt2" }.to_owned(),
            pre: None,
            kinds: kinds[..n].iter().map(|kind| [Normal, Byte, Control, Undefined, Unknown, Unused, UserDefined][*kind]).collect(),
            scores: scores[..n].to_vec(),
            merges,
            tokens,
            ids: SpecialIds { bos: ids[0].filter(|id| (*id as usize) < n), eos: ids[1], ..SpecialIds::default() },
            add_bos: None,
            add_space_prefix: None,
        };
        if let Ok(tokenizer) = Tokenizer::new(data)
            && let Ok(ids) = tokenizer.encode(&text, SPECIAL)
        {
            prop_assert!(tokenizer.decode(&ids).is_ok());
        }
    }

    #[test]
    fn a_stream_gives_the_text_of_decode(ids in prop::collection::vec(0u32..264, 0..60)) {
        for data in [byte_level(), spm()] {
            let tokenizer = Tokenizer::new(data).unwrap();
            let mut stream = tokenizer.decode_stream();
            let mut text = String::new();
            for id in &ids {
                let piece = stream.push(*id).unwrap();
                prop_assert_ne!(piece.as_deref(), Some(""));
                text.extend(piece);
            }
            text.extend(stream.flush());
            prop_assert_eq!(text, tokenizer.decode(&ids).unwrap());
        }
    }
}
