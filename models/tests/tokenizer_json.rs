//! Folders in the Hugging Face layout: `tokenizer.json` and the files that name special tokens.

#![allow(clippy::unwrap_used, reason = "helper functions of tests; only test functions themselves are exempt")]

mod tokenizer_files;

use std::fs;

use models::{EncodeOptions, TokenKind, Tokenizer, TokenizerData, gguf};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const PLAIN: EncodeOptions = EncodeOptions { add_bos: false, parse_special: false };
const SPECIAL: EncodeOptions = EncodeOptions { add_bos: false, parse_special: true };

fn folder(files: &[(&str, &Value)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in files {
        fs::write(folder.path().join(name), value.to_string()).unwrap();
    }
    folder
}

fn open(files: &[(&str, &Value)]) -> Result<Tokenizer, models::Error> {
    Tokenizer::from_folder(folder(files).path())
}

/// A `tokenizer.json` around a model.
fn document(model: &Value, pre_tokenizer: &Value, decoder: &Value, added: &Value) -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": decoder, "model": model,
    })
}

fn added(id: usize, content: &str, special: bool) -> Value {
    json!({"id": id, "content": content, "special": special, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
}

fn byte_level() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})
}

/// Ten tokens with BOS from a template.
fn small() -> Value {
    let vocabulary = json!({"h": 0, "e": 1, "he": 2, "Ġ": 3, "Ã": 4, "©": 5, "<s>": 6, "</s>": 7, "[U]": 8, "he2": 12});
    let model = json!({"type": "BPE", "vocab": vocabulary, "merges": [["h", "e"]]});
    let tokens = json!([added(6, "<s>", true), added(7, "</s>", true), added(8, "[U]", false)]);
    let mut document = document(&model, &byte_level(), &byte_level(), &tokens);
    document["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [6], "tokens": ["<s>"]}},
    });
    document
}

#[test]
fn bos_and_eos_come_from_the_other_files() {
    let config = json!({"bos_token": {"content": "<s>"}, "eos_token": "</s>"});
    let generation = json!({"eos_token_id": [7, 2]});
    let tokenizer = open(&[
        ("tokenizer.json", &small()),
        ("tokenizer_config.json", &config),
        ("generation_config.json", &generation),
    ])
    .unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.add_bos()), (Some(6), Some(7), true));
    assert_eq!((tokenizer.end_of_generation(), tokenizer.vocab_size()), (&[2, 7][..], 13));
    let with_bos = EncodeOptions { add_bos: true, parse_special: true };
    assert_eq!(tokenizer.encode("he é</s>[U]", with_bos).unwrap(), [6, 2, 3, 4, 5, 7, 8]);
    assert_eq!(tokenizer.encode("[U]he", PLAIN).unwrap(), [8, 2]);
    assert!(!tokenizer.encode("</s>", PLAIN).unwrap().contains(&7));
    assert_eq!(tokenizer.decode(&[6, 2, 3, 4, 5, 8, 7, 9]).unwrap(), "he é[U]");
    assert_eq!(tokenizer.decode_with_special(&[6, 2]).unwrap(), "<s>he");

    let config = json!({"bos_token": "<s>", "add_bos_token": false});
    assert!(!open(&[("tokenizer.json", &small()), ("tokenizer_config.json", &config)]).unwrap().add_bos());
    assert_eq!(
        open(&[("tokenizer.json", &small()), ("config.json", &json!({"bos_token_id": 6}))]).unwrap().bos(),
        Some(6)
    );
}

#[test]
fn sentencepiece_with_byte_fallback() {
    let mut vocabulary = Map::new();
    for byte in 0..=255u8 {
        vocabulary.insert(format!("<0x{byte:02X}>"), json!(byte));
    }
    for (id, token) in (256..).zip(["▁", "a", "b", "▁a", "<s>"]) {
        vocabulary.insert(token.to_owned(), json!(id));
    }
    let model = json!({"type": "BPE", "vocab": vocabulary, "merges": ["▁ a"], "byte_fallback": true, "fuse_unk": true, "unk_token": "<0x00>"});
    let decoder = json!({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]});
    let mut document = document(&model, &Value::Null, &decoder, &json!([added(260, "<s>", true)]));
    document["normalizer"] = json!({"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ]});
    let tokenizer = open(&[("tokenizer.json", &document)]).unwrap();
    let ids = tokenizer.encode("a bé", PLAIN).unwrap();
    assert_eq!(ids, [259, 256, 258, 0xC3, 0xA9]);
    assert_eq!(tokenizer.decode(&ids).unwrap(), "a bé");
    let mut stream = tokenizer.decode_stream();
    let texts: Vec<_> = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
    assert_eq!(texts, [Some("a"), Some(" "), Some("b"), None, Some("é")].map(|text| text.map(str::to_owned)));
}

/// The real vocabularies of llama.cpp, written as `tokenizer.json`, give the ids that llama.cpp gives.
#[test]
#[ignore = "needs INFEROMETER_SMOLLM2 and INFEROMETER_VOCABULARIES: the model and llama.cpp's vocabularies"]
fn real_vocabularies_agree_with_llama_cpp() {
    let fixture = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tokenizer_ids.json")).unwrap();
    let fixture: Value = serde_json::from_slice(&fixture).unwrap();
    let digits = json!({"type": "Digits", "individual_digits": true});
    let split = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let split = json!({"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": false});
    let mut bytes = byte_level();
    bytes["use_regex"] = json!(false);
    for (name, steps, ignore_merges) in [("smollm", [digits, byte_level()], false), ("llama-bpe", [split, bytes], true)]
    {
        let expected = &fixture["vocabularies"][name];
        let path = tokenizer_files::path(expected["file"].as_str().unwrap());
        let data = TokenizerData::from_gguf(&gguf::File::open(&path).unwrap().header.metadata).unwrap();
        let vocabulary: Map<String, Value> = data.tokens.iter().cloned().zip((0..).map(|id: u32| json!(id))).collect();
        let model = json!({"type": "BPE", "vocab": vocabulary, "merges": data.merges, "ignore_merges": ignore_merges});
        let tokens: Vec<_> = data
            .tokens
            .iter()
            .enumerate()
            .filter(|(id, _)| data.kinds[*id] != TokenKind::Normal)
            .map(|(id, text)| added(id, text, data.kinds[id] == TokenKind::Control))
            .collect();
        let steps = json!({"type": "Sequence", "pretokenizers": steps});
        let tokenizer = open(&[("tokenizer.json", &document(&model, &steps, &byte_level(), &json!(tokens)))]).unwrap();
        for (text, case) in fixture["texts"].as_array().unwrap().iter().zip(expected["cases"].as_array().unwrap()) {
            for (way, options) in [("plain", PLAIN), ("special", SPECIAL)] {
                let ids = tokenizer.encode(text.as_str().unwrap(), options).unwrap();
                let wanted = case[way]["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap());
                let bos = usize::from(way == "special" && expected["add_bos"] == true);
                let wanted: Vec<_> = wanted.skip(bos).collect();
                assert_eq!(ids.iter().map(|id| u64::from(*id)).collect::<Vec<_>>(), wanted, "{name}, {way}: {text}");
            }
        }
    }
}

/// Documents for which the `tokenizers` crate panics or fails, and files that are no tokenizers.
#[test]
fn damaged_files_are_errors() {
    let bad = |model: Value| document(&model, &byte_level(), &byte_level(), &json!([]));
    let vocabulary = json!({"h": 0, "e": 1});
    let mut missing_token = small();
    missing_token["post_processor"]["special_tokens"] = json!({});
    let mut wild_id = small();
    wild_id["model"]["vocab"]["z"] = json!(4_000_000_000u32);
    let mut no_decoder = small();
    no_decoder["decoder"] = Value::Null;
    let cases = [
        ("merge into an unknown token", bad(json!({"type": "BPE", "vocab": vocabulary, "merges": [["h", "e"]]}))),
        ("merge of an unknown token", bad(json!({"type": "BPE", "vocab": vocabulary, "merges": [["h", "x"]]}))),
        (
            "prefix longer than the token",
            bad(
                json!({"type": "BPE", "vocab": vocabulary, "merges": [["h", "e"]], "continuing_subword_prefix": "####"}),
            ),
        ),
        ("template with a missing token", missing_token),
        ("id out of bounds", wild_id),
        ("no decoder", no_decoder),
        ("no vocabulary", bad(json!({"type": "BPE", "vocab": {}, "merges": []}))),
        ("unknown model", bad(json!({"type": "Nothing"}))),
        ("not an object", json!([1, 2])),
    ];
    let mut report = Vec::new();
    for (what, document) in &cases {
        let folder = folder(&[("tokenizer.json", document)]);
        let error = Tokenizer::from_folder(folder.path()).unwrap_err().with_advice();
        // The message of a panic depends on the build (overflow checks).
        let error = error.split_once("found a panic: ").map_or(error.as_str(), |(before, _)| before).to_owned();
        report.push(format!("{what}\n  {}", error.replace(folder.path().to_str().unwrap(), "FOLDER")));
    }
    let empty = tempfile::tempdir().unwrap();
    let error = Tokenizer::from_folder(empty.path()).unwrap_err().with_advice();
    report.push(format!("no file\n  {}", error.replace(empty.path().to_str().unwrap(), "FOLDER")));
    let broken = folder(&[("tokenizer.json", &small())]);
    fs::write(broken.path().join("config.json"), "{\n \"x\": }").unwrap();
    let error = Tokenizer::from_folder(broken.path()).unwrap_err().with_advice();
    report.push(format!("invalid config.json\n  {}", error.replace(broken.path().to_str().unwrap(), "FOLDER")));
    insta::assert_snapshot!(report.join("\n"));
}
